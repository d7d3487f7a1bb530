//! `/` and `/endpoints` (`kong/api/routes/kong.lua`).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{Answer, Request, Service};

/// Who this is, which plugins there are, and every setting.
pub(super) fn root(service: &Service, _: &Request, _: &[String]) -> Answer {
    let facts = &service.facts;
    let entities = service.entities();
    let in_use: BTreeSet<&str> =
        entities.of("plugins").iter().filter_map(|plugin| plugin.get("name")?.as_str()).collect();
    let available: Map<String, Value> = service
        .registry
        .in_order()
        .into_iter()
        .map(|p| (p.name.clone(), json!({ "version": p.version, "priority": p.priority })))
        .collect();
    Answer::ok(json!({
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
        "configuration": facts.configuration,
    }))
}

/// Every path of this API.
pub(super) fn endpoints(service: &Service, _: &Request, _: &[String]) -> Answer {
    Answer::ok(json!({ "data": service.patterns() }))
}
