//! `/metrics`: the numbers of `/status` for Prometheus. Names of connections and requests are
//! those of Kong's prometheus plugin; plugin servers, which it does not know, are ours.

use std::fmt::Write;

use http::StatusCode;
use serde_json::{Map, Value};

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
    let text = page(&(call.service.facts.status)());
    Ok(Answer::text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
}

fn page(status: &Map<String, Value>) -> String {
    let mut page = String::new();
    connections(&mut page, status.get("server"));
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

fn connections(page: &mut String, server: Option<&Value>) {
    let number = |field: &str| server.and_then(|s| s.get(field)?.as_u64()).unwrap_or(0);
    metric(page, "kong_nginx_connections_total", "gauge", "Client connections by state");
    for state in ["accepted", "active", "handled", "reading", "waiting", "writing"] {
        let labels = format!("state=\"{state}\"");
        let count = number(&format!("connections_{state}"));
        line(page, "kong_nginx_connections_total", &labels, count);
    }
    metric(page, "kong_nginx_requests_total", "counter", "Requests");
    line(page, "kong_nginx_requests_total", "", number("total_requests"));
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
        let page = page(&status);
        for expect in [
            "kong_nginx_requests_total 7\n",
            "silverback_plugin_server_up{server=\"py\"} 0\n",
            "silverback_plugin_server_restarts_total{server=\"py\"} 3\n",
        ] {
            assert!(page.contains(expect), "{page}");
        }
        assert!(!page.contains("resident_bytes{"), "{page}");
    }
}
