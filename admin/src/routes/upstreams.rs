//! The health of upstreams and their targets (`kong/api/routes/upstreams.lua`,
//! `kong/db/dao/targets.lua`).

use http::StatusCode;
use serde_json::{Map, Value, json};
use silverback_model::Record;

use super::targets;
use crate::{
    Answer,
    call::{Call, Outcome},
    collection::{lookup::id_of, page},
};

/// The health of each target, or of the whole (`?balancer_health=1`).
pub(super) async fn health(call: &Call<'_>) -> Outcome {
    let upstream = targets::upstream(call).await?;
    let (health, id) = (&call.service.facts.health, id_of(&upstream));
    let node_id = &call.service.facts.node_id;
    if call.request.argument("balancer_health") == Some("1") {
        let data = health.whole(id);
        return Ok(Answer::ok(json!({ "data": data, "next": null, "node_id": node_id })));
    }
    let (targets, next) = targets::newest(call, id).await?;
    let known = health.targets(id);
    let show = |target: &Record| match &known {
        Some(known) => with_health(target, known),
        None => Value::Object(target.clone()),
    };
    let data = targets.iter().map(show).collect();
    let path = format!("/upstreams/{}/health", page::escaped(call.parameter(0)));
    let mut answer = page::answer(data, next.as_deref(), &path, "");
    answer.add("node_id", node_id.as_str().into());
    Ok(answer)
}

/// A target with what is known of its addresses: one of them that is healthy makes it so. One that
/// the data plane does not know has no addresses, since DNS gave none.
fn with_health(target: &Record, known: &Map<String, Value>) -> Value {
    let mut shown = target.clone();
    let data = target.get("target").and_then(Value::as_str).and_then(|name| known.get(name));
    let addresses = data.and_then(|data| data.get("addresses")?.as_array());
    let addresses = addresses.map(Vec::as_slice).unwrap_or_default();
    let any = |health: &&str| addresses.iter().any(|address| address["health"] == **health);
    let words = ["HEALTHY", "UNHEALTHY", "HEALTHCHECKS_OFF"];
    let health = words.iter().find(|word| any(word)).unwrap_or(&"DNS_ERROR");
    shown.insert("health".to_owned(), (*health).into());
    if let Some(data) = data {
        shown.insert("data".to_owned(), data.clone());
    }
    Value::Object(shown)
}

/// Says that a target, or one of its addresses, is healthy.
pub(super) async fn set_healthy(call: &Call<'_>) -> Outcome {
    set(call, true).await
}

/// Says that a target, or one of its addresses, is not.
pub(super) async fn set_unhealthy(call: &Call<'_>) -> Outcome {
    set(call, false).await
}

async fn set(call: &Call<'_>, healthy: bool) -> Outcome {
    let upstream = targets::upstream(call).await?;
    let target = targets::existing(call, &upstream).await?;
    let name = targets::name(&target);
    let address = call.parameters.get(2).map(String::as_str);
    match call.service.facts.health.set(id_of(&upstream), name, address, healthy) {
        Ok(()) => Ok(Answer::empty(StatusCode::NO_CONTENT)),
        Err(why) => Err(Answer::message(StatusCode::BAD_REQUEST, &why).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: &Value, expect: &str) {
        let target = Record::from_iter([("target".to_owned(), "a:1".into())]);
        let known = Map::from_iter([("a:1".to_owned(), json!({ "addresses": addresses }))]);
        assert_eq!(with_health(&target, &known)["health"], expect, "{addresses}");
    }

    #[test]
    fn a_target_is_healthy_if_one_of_its_addresses_is() {
        let address = |health: &str| json!({ "health": health });
        check(&json!([]), "DNS_ERROR");
        check(&json!([address("UNHEALTHY"), address("HEALTHY")]), "HEALTHY");
        check(&json!([address("UNHEALTHY"), address("HEALTHCHECKS_OFF")]), "UNHEALTHY");
        check(&json!([address("HEALTHCHECKS_OFF")]), "HEALTHCHECKS_OFF");
        let target = Record::from_iter([("target".to_owned(), "b:1".into())]);
        assert_eq!(
            with_health(&target, &Map::new()),
            json!({"target": "b:1", "health": "DNS_ERROR"})
        );
    }
}
