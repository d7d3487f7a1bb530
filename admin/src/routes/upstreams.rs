//! The health of upstreams and their targets (`kong/api/routes/upstreams.lua`).

use std::{collections::HashSet, sync::Arc};

use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use silverback_model::{Record, entities::Target, errors::Fault, shown};

use crate::{
    Answer, Refusal, Request, Service,
    collection::{page_size, select},
};

/// The health of each target, or with `balancer_health=1` that of the whole.
pub(super) fn health(service: &Service, request: &Request, parameters: &[String]) -> Answer {
    answer(|| {
        let upstream = upstream(service, &parameters[0])?;
        let mut page = if request.argument("balancer_health") == Some("1") {
            json!({ "data": service.facts.health.whole(id(&upstream)), "next": null })
        } else {
            let mut page = targets(service, request, parameters, &upstream, "health")?;
            show_health(service, id(&upstream), &mut page["data"]);
            page
        };
        page["node_id"] = json!(service.facts.node_id);
        Ok(Answer::ok(page))
    })
}

/// The targets of an upstream, those without weight included.
pub(super) fn all_targets(service: &Service, request: &Request, parameters: &[String]) -> Answer {
    answer(|| {
        let upstream = upstream(service, &parameters[0])?;
        targets(service, request, parameters, &upstream, "targets/all").map(Answer::ok)
    })
}

/// Takes a target, or one of its addresses, for healthy.
pub(super) fn set_healthy(service: &Service, _: &Request, parameters: &[String]) -> Answer {
    answer(|| set(service, parameters, true))
}

/// Takes a target, or one of its addresses, for unhealthy.
pub(super) fn set_unhealthy(service: &Service, _: &Request, parameters: &[String]) -> Answer {
    answer(|| set(service, parameters, false))
}

fn set(service: &Service, parameters: &[String], healthy: bool) -> Result<Answer, Refusal> {
    let upstream = upstream(service, &parameters[0])?;
    let id = id(&upstream);
    let entities = service.entities();
    let own = entities.of("targets").children("upstream", id);
    let wanted = parameters[1].as_str();
    let place = |target: &Record| {
        Target::place(name(target)).map(|(host, port)| format!("{host}:{port}")).unwrap_or_default()
    };
    let named = |target: &&Arc<Record>| text(target, "id") == wanted || place(target) == wanted;
    let target = own.filter(named).last().ok_or_else(Answer::not_found)?;
    let address = parameters.get(2).map(String::as_str);
    match service.facts.health.set(id, &place(target), address, healthy) {
        Ok(()) => Ok(Answer::empty(StatusCode::NO_CONTENT)),
        Err(text) => Err(Answer::message(StatusCode::BAD_REQUEST, &text).into()),
    }
}

fn answer(ask: impl FnOnce() -> Result<Answer, Refusal>) -> Answer {
    ask().unwrap_or_else(Answer::from)
}

fn upstream(service: &Service, key: &str) -> Result<Arc<Record>, Refusal> {
    let schema = service.schema("upstreams").ok_or_else(Answer::not_found)?;
    Ok(select(service, schema, key)?.ok_or_else(Answer::not_found)?)
}

/// A page of an upstream's targets below `path`.
fn targets(
    service: &Service,
    request: &Request,
    parameters: &[String],
    upstream: &Record,
    below: &str,
) -> Result<Value, Refusal> {
    let key = utf8_percent_encode(&parameters[0], NON_ALPHANUMERIC);
    page(service, request, &format!("/upstreams/{key}/{below}"), id(upstream))
}

/// A page of an upstream's targets: the newest first, each with its port, of those for one place
/// the newest (`kong/db/dao/targets.lua`, `page_for_upstream`). Offsets are plain numbers.
pub(crate) fn page(
    service: &Service,
    request: &Request,
    path: &str,
    upstream: &str,
) -> Result<Value, Refusal> {
    let size = page_size(request)?;
    let offset = match request.argument("offset") {
        None => 0,
        Some(text) => text.parse().map_err(|_| {
            let error = format!("'{text}' is not a valid offset");
            Answer::fault(&Fault::invalid_offset(&error, "bad base64 encoding"))
        })?,
    };
    let entities = service.entities();
    let mut all: Vec<Record> =
        entities.of("targets").children("upstream", upstream).map(|t| shown(t)).collect();
    let age = |target: &Record| target.get("created_at").and_then(Value::as_f64).unwrap_or(0.0);
    all.sort_by(|a, b| age(b).total_cmp(&age(a)).then_with(|| id(b).cmp(id(a))));
    let mut seen = HashSet::new();
    for target in &mut all {
        if let Some((host, port)) = Target::place(name(target)) {
            target.insert("target".to_owned(), format!("{host}:{port}").into());
        }
    }
    all.retain(|target| seen.insert(name(target).to_owned()));
    let more = all.len() > offset + size;
    let data: Vec<Record> = all.into_iter().skip(offset).take(size).collect();
    let mut answer = json!({ "data": data, "next": null });
    if more {
        let offset = offset + size;
        answer["next"] = json!(format!("{path}?offset={offset}"));
        answer["offset"] = json!(offset.to_string());
    }
    Ok(answer)
}

/// Adds what is known of their health to the targets of a page. One address that is healthy makes
/// a target so; one that the data plane does not know has no addresses, since DNS gave none.
fn show_health(service: &Service, upstream: &str, page: &mut Value) {
    let Some(mut known) = service.facts.health.targets(upstream) else { return };
    for target in page.as_array_mut().into_iter().flatten() {
        let found = known.remove(target["target"].as_str().unwrap_or_default());
        let addresses = found.as_ref().and_then(|found| found["addresses"].as_array());
        let words: Vec<&str> =
            addresses.into_iter().flatten().filter_map(|a| a["health"].as_str()).collect();
        let word = ["HEALTHY", "UNHEALTHY", "HEALTHCHECKS_OFF"];
        let word = word.into_iter().find(|word| words.contains(word)).unwrap_or("DNS_ERROR");
        target["health"] = json!(word);
        if let Some(found) = found {
            target["data"] = found;
        }
    }
}

fn id(record: &Record) -> &str {
    text(record, "id")
}

fn name(target: &Record) -> &str {
    text(target, "target")
}

fn text<'a>(record: &'a Record, field: &str) -> &'a str {
    record.get(field).and_then(Value::as_str).unwrap_or_default()
}
