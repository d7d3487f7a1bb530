//! Many routes and consumers with key-auth, beside bare proxying by the same gateway.

use std::fmt::Write;

use anyhow::{Context, Result};

use crate::gateways::{self, Settings, services};
use crate::proxy::in_turns;
use crate::results::{KeyAuth, Row};
use crate::stage::Stage;

/// Routes, and as many consumers.
const COUNT: usize = 100;
/// Connections of the load unless told.
const CONNECTIONS: usize = 64;
/// Seconds of load per measurement unless told.
const SECONDS: u64 = 2;

/// Measures one route without plugins, then many without, then many with key-auth.
pub(crate) fn run(stage: &Stage<'_>) -> Result<KeyAuth> {
    gateways::need("wrk")?;
    let connections = stage.options.connections.first().copied().unwrap_or(CONNECTIONS);
    let effort = stage.options.effort(SECONDS);
    let settings = [
        ("one route", Settings::bare(stage)),
        ("100 routes", routes(stage, false)),
        ("100 routes, key-auth, 100 consumers", routes(stage, true)),
    ];
    let mut nodes = Vec::new();
    for (name, settings) in &settings {
        let own = gateways::silverback(stage, settings)?;
        nodes.push((*name, own.context("there is no Silverback to measure")?));
    }
    println!("\nkey-auth, {connections} connections");
    let contenders: Vec<(&str, String, Vec<u32>)> = nodes
        .iter()
        .map(|(name, node)| {
            (*name, format!("http://127.0.0.1:{}/", node.port), node.running.family())
        })
        .collect();
    let rows: Vec<Row> = in_turns(stage, effort, &contenders, connections, Some(&script()))?;
    Ok(KeyAuth { effort, connections, rows })
}

fn routes(stage: &Stage<'_>, with_key_auth: bool) -> Settings {
    let mut routes = String::from("  - name: probe\n    paths: [/probe]\n");
    let mut consumers = String::from("consumers:\n");
    for i in 0..COUNT {
        let _ = writeln!(routes, "  - name: r{i}\n    paths: [/r{i}/]\n    strip_path: false");
        if with_key_auth {
            routes.push_str("    plugins:\n    - name: key-auth\n");
            let _ = writeln!(
                consumers,
                "- username: c{i}\n  keyauth_credentials:\n  - key: secret-{i}"
            );
        }
    }
    let mut declarative = services(stage, &routes);
    if with_key_auth {
        declarative.push_str(&consumers);
    }
    Settings { conf: String::new(), declarative, probe: "/probe".into() }
}

/// wrk's script: each request takes the next route and the next key.
fn script() -> String {
    format!(
        "local requests, i = {{}}, 0
function init()
  for n = 0, {COUNT} - 1 do
    local headers = {{ apikey = 'secret-' .. n, Host = 'bench.test' }}
    requests[n] = wrk.format('GET', '/r' .. n .. '/', headers)
  end
end
function request()
  i = (i + 1) % {COUNT}
  return requests[i]
end
"
    )
}
