//! `/status` (`kong/api/routes/health.lua`).

use http::StatusCode;
use serde_json::{Value, json};
use silverback_model::declarative::EMPTY_HASH;

use crate::{
    Answer, Request,
    call::{Call, Outcome},
};

/// How the node is: connections, memory, plugin servers, the database or the configuration that it
/// serves.
pub(super) fn status(call: &Call<'_>) -> Outcome {
    let of_lua = lua_memory(call.request)
        .map_err(|refusal| Answer::message(StatusCode::BAD_REQUEST, &refusal))?;
    let mut status = (call.service.facts.status)();
    if let (Some(Value::Object(memory)), Value::Object(of_lua)) = (status.get_mut("memory"), of_lua)
    {
        memory.extend(of_lua);
    }
    let store = &call.service.store;
    if !store.is_writable() {
        status.insert("configuration_hash".into(), json!(store.hash()));
    } else if !status.contains_key("database") {
        status.insert("database".into(), json!({ "reachable": true }));
    }
    Ok(Answer::ok(Value::Object(status)))
}

/// Whether there is something to serve (`kong/status/ready.lua`).
pub(super) fn ready(call: &Call<'_>) -> Outcome {
    let store = &call.service.store;
    if !store.is_writable() && store.hash() == EMPTY_HASH {
        let text = "no configuration available (empty configuration present)";
        return Err(Answer::message(StatusCode::SERVICE_UNAVAILABLE, text).into());
    }
    Ok(Answer::message(StatusCode::OK, "ready"))
}

/// What resolving names has come to, on all workers (`kong/api/routes/dns.lua`). Kong's old client
/// does not count.
pub(super) fn dns(call: &Call<'_>) -> Outcome {
    let facts = &call.service.facts;
    let Some(stats) = (facts.dns)() else {
        let text = "not implemented with the legacy DNS client";
        return Err(Answer::message(StatusCode::NOT_IMPLEMENTED, text).into());
    };
    let worker = json!({ "id": 0, "count": facts.workers });
    Ok(Answer::ok(json!({ "worker": worker, "stats": stats })))
}

/// What Lua occupies, in the unit that is asked for (kong/tools/string.lua: bytes_to_str).
fn lua_memory(request: &Request) -> Result<Value, String> {
    let unit = request.argument("unit").unwrap_or("m");
    let scale = request.argument("scale").and_then(|scale| scale.parse().ok());
    silverback_pdk::lua_memory().shown(unit, scale.unwrap_or(2.0)).map(|shown| shown.to_json())
}
