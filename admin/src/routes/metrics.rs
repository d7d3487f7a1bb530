//! `/metrics`: the numbers of `/status` for Prometheus. Names of connections and requests are
//! those of Kong's prometheus plugin; plugin servers, which it does not know, are ours.

use std::{collections::BTreeMap, fmt::Write};

use http::StatusCode;
use serde_json::{Map, Value};
use silverback_model::Record;

use crate::{
    Answer,
    call::{Call, Outcome},
};

/// A number of each plugin server: its field in `/status`, the metric, its kind, what it is.
const OF_SERVERS: &[(&str, &str, &str, &str)] = &[
    ("restarts", "restarts_total", "counter", "Times that it was started again after it ended"),
    ("events", "events_total", "counter", "Events that it was given"),
    ("calls", "pdk_calls_total", "counter", "Functions of the PDK that it called"),
    ("failures", "failures_total", "counter", "Events that failed"),
    ("timeouts", "timeouts_total", "counter", "Events that failed because it did not answer"),
    ("refused", "refused_total", "counter", "Events refused because too many waited"),
    ("instances", "instances", "gauge", "Configured plugins that it holds"),
    ("rss", "resident_bytes", "gauge", "Memory of its process"),
];

/// `GET /metrics`.
pub(super) fn metrics(call: &Call<'_>) -> Outcome {
    let service = call.service;
    let mut text = page(&(service.facts.status)(), &service.facts.node_id);
    let reachable = service.store.trouble().is_none();
    node(&mut text, &service.facts.node_id, service.facts.version, reachable);
    let entities = service.store.entities();
    let plugins = entities.of("plugins");
    let is_on = |plugin: &Record| plugin["name"] == "prometheus" && plugin["enabled"] == true;
    let asks = |plugin: &Record| plugin["config"]["upstream_health_metrics"] == true;
    if plugins.iter().any(|plugin| is_on(plugin) && asks(plugin)) {
        for upstream in entities.of("upstreams").iter() {
            let id = upstream.get("id").and_then(Value::as_str).unwrap_or_default();
            let name = upstream.get("name").and_then(Value::as_str).unwrap_or_default();
            health(&mut text, name, &service.facts.health.targets(id).unwrap_or_default());
        }
    }
    // What was counted is shown as long as the plugin is there, as in Kong.
    if plugins.iter().any(|plugin| is_on(plugin)) {
        text.push_str(&silverback_plugins::counts());
    }
    Ok(Answer::text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
}

fn page(status: &Map<String, Value>, node_id: &str) -> String {
    let mut page = String::new();
    connections(&mut page, status.get("server"), node_id);
    if let Some(bytes) = status.get("memory").and_then(|m| m["resident_bytes"].as_u64()) {
        metric(&mut page, "silverback_resident_bytes", "gauge", "Memory of the gateway");
        line(&mut page, "silverback_resident_bytes", "", bytes);
    }
    if let Some(Value::Array(servers)) = status.get("plugin_servers")
        && !servers.is_empty()
    {
        plugin_servers(&mut page, servers);
    }
    page
}

fn connections(page: &mut String, server: Option<&Value>, node_id: &str) {
    let of = format!("node_id=\"{node_id}\",subsystem=\"http\"");
    let number = |field: &str| server.and_then(|s| s.get(field)?.as_u64()).unwrap_or(0);
    metric(page, "kong_nginx_connections_total", "gauge", "Client connections by state");
    for state in ["accepted", "active", "handled", "reading", "waiting", "writing"] {
        let labels = format!("{of},state=\"{state}\"");
        let count = number(&format!("connections_{state}"));
        line(page, "kong_nginx_connections_total", &labels, count);
    }
    // As in Kong, requests stand among the connections too.
    let labels = format!("{of},state=\"total\"");
    line(page, "kong_nginx_connections_total", &labels, number("total_requests"));
    metric(page, "kong_nginx_requests_total", "gauge", "Requests");
    line(page, "kong_nginx_requests_total", &of, number("total_requests"));
}

/// What Kong says of itself.
fn node(page: &mut String, node_id: &str, version: &str, reachable: bool) {
    metric(page, "kong_datastore_reachable", "gauge", "Whether the database can be asked");
    line(page, "kong_datastore_reachable", "", u64::from(reachable));
    let lua = silverback_pdk::lua_memory();
    shared_memory(page, node_id, &lua.dicts);
    states(page, node_id, &lua.states);
    metric(page, "kong_nginx_timers", "gauge", "Timers of Lua");
    line(page, "kong_nginx_timers", "state=\"running\"", lua.timers.running);
    line(page, "kong_nginx_timers", "state=\"pending\"", lua.timers.pending);
    metric(page, "kong_node_info", "gauge", "The node");
    line(page, "kong_node_info", &format!("node_id=\"{node_id}\",version=\"{version}\""), 1);
}

/// What Kong keeps in shared dictionaries, and we in memories of the same names; and those of Lua.
fn shared_memory(page: &mut String, node_id: &str, dicts: &[(String, u64, u64)]) {
    let (name, total) =
        ("kong_memory_lua_shared_dict_bytes", "kong_memory_lua_shared_dict_total_bytes");
    let of = |dictionary: &str| {
        format!("node_id=\"{node_id}\",shared_dict=\"{dictionary}\",kong_subsystem=\"http\"")
    };
    let mut all: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for memory in silverback_plugins::memories_in_use() {
        all.insert(memory.name.to_string(), (memory.used, memory.most));
    }
    for (dict, capacity, in_use) in dicts {
        // Where both have one of a name, it is the two together.
        let (used, most) = all.entry(dict.clone()).or_default();
        *used += in_use;
        *most += capacity;
    }
    metric(page, name, "gauge", "Memory in use of what is shared by all workers");
    for (dict, (used, _)) in &all {
        line(page, name, &of(dict), *used);
    }
    metric(page, total, "gauge", "How much may be used of it");
    for (dict, (_, most)) in &all {
        line(page, total, &of(dict), *most);
    }
}

/// What the states of workers occupy (kong/plugins/prometheus/exporter.lua).
fn states(page: &mut String, node_id: &str, states: &[(u32, u64)]) {
    const NAME: &str = "kong_memory_workers_lua_vms_bytes";
    metric(page, NAME, "gauge", "Memory of the states of Lua");
    for (pid, bytes) in states {
        let labels = format!("node_id=\"{node_id}\",pid=\"{pid}\",kong_subsystem=\"http\"");
        line(page, NAME, &labels, *bytes);
    }
}

/// The health of the addresses of an upstream's targets: 1 for the state that each is in.
fn health(page: &mut String, upstream: &str, targets: &Map<String, Value>) {
    const NAME: &str = "kong_upstream_target_health";
    if !page.contains(NAME) {
        metric(page, NAME, "gauge", "Health of targets of upstreams");
    }
    for (target, health) in targets {
        let addresses = health["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut known: Vec<(String, String)> = addresses
            .iter()
            .map(|address| {
                let ip = address["ip"].as_str().unwrap_or_default();
                let state = address["health"].as_str().unwrap_or_default().to_lowercase();
                (format!("{ip}:{}", address["port"]), state)
            })
            .collect();
        if known.is_empty() {
            known.push((String::new(), "dns_error".to_owned()));
        }
        for (address, found) in known {
            for state in ["healthchecks_off", "healthy", "unhealthy", "dns_error"] {
                let labels = format!(
                    "upstream=\"{upstream}\",target=\"{target}\",address=\"{address}\",\
                     state=\"{state}\",subsystem=\"http\""
                );
                line(page, NAME, &labels, u64::from(state == found));
            }
        }
    }
}

fn plugin_servers(page: &mut String, servers: &[Value]) {
    let name =
        |server: &Value| format!("server=\"{}\"", server["name"].as_str().unwrap_or_default());
    metric(page, "silverback_plugin_server_up", "gauge", "Whether the plugin server answers");
    for server in servers {
        let up = matches!(server["state"].as_str(), Some("running" | "reloading" | "external"));
        line(page, "silverback_plugin_server_up", &name(server), u64::from(up));
    }
    for (field, short, kind, help) in OF_SERVERS {
        let full = format!("silverback_plugin_server_{short}");
        metric(page, &full, kind, help);
        for server in servers {
            if let Some(number) = server[field].as_u64() {
                line(page, &full, &name(server), number);
            }
        }
    }
}

fn metric(page: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(page: &mut String, name: &str, labels: &str, number: u64) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(page, "{name}{labels} {number}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn servers_are_labelled() {
        let Value::Object(status) = json!({
            "server": { "total_requests": 7 },
            "plugin_servers": [{ "name": "py", "state": "crash_loop", "restarts": 3, "rss": null }],
        }) else {
            unreachable!()
        };
        let page = page(&status, "n");
        for expect in [
            "kong_nginx_requests_total{node_id=\"n\",subsystem=\"http\"} 7\n",
            "kong_nginx_connections_total{node_id=\"n\",subsystem=\"http\",state=\"total\"} 7\n",
            "silverback_plugin_server_up{server=\"py\"} 0\n",
            "silverback_plugin_server_restarts_total{server=\"py\"} 3\n",
        ] {
            assert!(page.contains(expect), "{page}");
        }
        assert!(!page.contains("resident_bytes{"), "{page}");
    }

    #[test]
    fn lua_is_measured() {
        let mut page = String::new();
        shared_memory(&mut page, "n", &[("d".to_owned(), 20, 10)]);
        states(&mut page, "n", &[(7, 4096)]);
        let of = "node_id=\"n\"";
        for expect in [
            format!("_shared_dict_bytes{{{of},shared_dict=\"d\",kong_subsystem=\"http\"}} 10\n"),
            format!("_total_bytes{{{of},shared_dict=\"d\",kong_subsystem=\"http\"}} 20\n"),
            format!("_lua_vms_bytes{{{of},pid=\"7\",kong_subsystem=\"http\"}} 4096\n"),
        ] {
            assert!(page.contains(&expect), "{page}");
        }
    }

    #[test]
    fn targets_are_in_one_state() {
        let Value::Object(targets) = json!({
            "a.test:80": { "addresses": [{ "ip": "10.0.0.1", "port": 80, "health": "UNHEALTHY" }] },
            "b.test:80": {},
        }) else {
            unreachable!()
        };
        let mut page = String::new();
        health(&mut page, "up", &targets);
        let ones: Vec<&str> = page.lines().filter(|line| line.ends_with(" 1")).collect();
        let line = |target: &str, address: &str, state: &str| {
            format!(
                "kong_upstream_target_health{{upstream=\"up\",target=\"{target}\",\
                 address=\"{address}\",state=\"{state}\",subsystem=\"http\"}} 1"
            )
        };
        let first = line("a.test:80", "10.0.0.1:80", "unhealthy");
        assert_eq!(ones, [first, line("b.test:80", "", "dns_error")]);
        assert_eq!(page.lines().count(), 2 + 8);
    }
}
