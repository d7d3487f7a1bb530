//! Many routes and consumers with key-auth and rate-limiting, beside bare proxying by the same
//! gateway, and plugins that have nothing to do.

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

/// The row that is to cost no more than so much.
pub(crate) const LIMITED: &str = "100 routes, key-auth and rate-limiting, 100 consumers";
/// How many plugins have nothing to do.
const IDLE: usize = 30;

/// Plugins that need no configuration.
const OTHERS: [&str; 6] =
    ["cors", "bot-detection", "correlation-id", "request-transformer", "key-auth", "prometheus"];

/// What the routes have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    Nothing,
    Idle,
    KeyAuth,
    Limits,
}

/// Measures one route without plugins, then many without, then many with them.
pub(crate) fn run(stage: &Stage<'_>) -> Result<KeyAuth> {
    gateways::need("wrk")?;
    let connections = stage.options.connections.first().copied().unwrap_or(CONNECTIONS);
    let effort = stage.options.effort(SECONDS);
    let settings = [
        ("one route", Settings::bare(stage)),
        ("100 routes", routes(stage, With::Nothing)),
        ("100 routes, 30 plugins for others", routes(stage, With::Idle)),
        ("100 routes, key-auth, 100 consumers", routes(stage, With::KeyAuth)),
        (LIMITED, routes(stage, With::Limits)),
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

fn routes(stage: &Stage<'_>, with: With) -> Settings {
    let with_key_auth = matches!(with, With::KeyAuth | With::Limits);
    let mut routes = String::from("  - name: probe\n    paths: [/probe]\n");
    let mut consumers = String::from("consumers:\n");
    for i in 0..COUNT {
        let _ = writeln!(routes, "  - name: r{i}\n    paths: [/r{i}/]\n    strip_path: false");
        if with_key_auth {
            routes.push_str("    plugins:\n    - name: key-auth\n");
            if with == With::Limits {
                routes.push_str(
                    "    - name: rate-limiting\n      config: {second: 1e6, hour: 1e9}\n",
                );
            }
            let _ = writeln!(
                consumers,
                "- username: c{i}\n  keyauth_credentials:\n  - key: secret-{i}"
            );
        }
    }
    for i in 0..if with == With::Idle { IDLE } else { 0 } {
        let _ = writeln!(
            routes,
            "  - name: other{i}\n    paths: [/other{i}/]\n    plugins:\n    - name: {}",
            OTHERS[i % OTHERS.len()]
        );
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
