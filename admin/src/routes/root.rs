//! `/`, `/endpoints` and `/timers` (`kong/api/routes/kong.lua`).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::debug;
use crate::{
    Answer,
    call::{Call, Outcome},
};

/// Who this is, which plugins there are, and every setting.
pub(super) async fn root(call: &Call<'_>) -> Outcome {
    let facts = &call.service.facts;
    let mut in_use = BTreeSet::new();
    let note = |plugin: std::sync::Arc<Map<String, Value>>| {
        in_use.extend(plugin.get("name").and_then(Value::as_str).map(str::to_owned));
    };
    call.service.store.each("plugins", note).await?;
    let plugins = call.service.registry.in_order().into_iter();
    let available: Map<String, Value> = plugins
        .map(|p| (p.name.clone(), json!({ "version": p.version, "priority": p.priority })))
        .collect();
    let mut configuration = facts.configuration.clone();
    let level = debug::shown(silverback_pdk::log_level());
    configuration.insert("log_level".to_owned(), level.into());
    Ok(Answer::ok(json!({
        "tagline": "Welcome to kong",
        "version": facts.version,
        "silverback_version": facts.silverback_version,
        "edition": "community",
        "hostname": facts.hostname,
        "node_id": facts.node_id,
        "lua_version": "LuaJIT 2.1.0-20250117",
        "timers": { "running": 0, "pending": 0 },
        "pids": (facts.pids)(),
        "plugins": { "available_on_server": available, "enabled_in_cluster": in_use },
        "configuration": configuration,
    })))
}

/// Every path of this API.
pub(super) fn endpoints(call: &Call<'_>) -> Outcome {
    Ok(Answer::ok(json!({ "data": call.service.patterns() })))
}

/// Which worker answers. The timers are those of Lua, of which there are none here.
pub(super) fn timers(call: &Call<'_>) -> Outcome {
    let none = json!({ "running": 0, "pending": 0, "waiting": 0, "total": 0, "runs": 0 });
    let flames = json!({ "running": "", "pending": "", "elapsed_time": "" });
    Ok(Answer::ok(json!({
        "worker": { "id": 0, "count": call.service.facts.workers },
        "stats": { "flamegraph": flames, "sys": none, "timers": {} },
    })))
}
