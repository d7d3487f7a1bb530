//! Lua plugins beside bare proxying by the same gateway: the classic first plugin, thirty plugins
//! that do nothing, and one that calls the PDK twenty times.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};

use crate::gateways::{self, Settings, services};
use crate::proxy::in_turns;
use crate::results::{Lua, Row};
use crate::stage::Stage;
use crate::wrk::HEADER;

/// Connections of the load unless told.
const CONNECTIONS: usize = 64;
/// Seconds of load per measurement unless told.
const SECONDS: u64 = 2;
/// How many plugins do nothing.
const IDLE: usize = 30;

/// The row that others are measured against, and those of plugins.
const BARE: &str = "no plugin";
const ECHO: &str = "header-echo";
const ACCESS: &str = "30 plugins, access";
const ALL: &str = "30 plugins, five phases";
const EMPTY: &str = "one empty access handler";
const HEAVY: &str = "one of 20 PDK calls";

/// What one row may cost more than another: the row, the other, and microseconds.
pub(crate) const LIMITS: [(&str, &str, f64); 4] =
    [(ECHO, BARE, 4.0), (ACCESS, BARE, 10.0), (ALL, BARE, 10.0), (HEAVY, EMPTY, 5.0)];

const ECHO_HANDLER: &str = r#"
local BasePlugin = require "kong.plugins.base_plugin"
local Echo = BasePlugin:extend()
Echo.PRIORITY = 1000
Echo.VERSION = "1.0.0"
function Echo:new() Echo.super.new(self, "bench-echo") end
function Echo:access(conf)
  Echo.super.access(self)
  kong.ctx.plugin.echo = kong.request.get_header(conf.requestHeader)
end
function Echo:header_filter(conf)
  Echo.super.header_filter(self)
  local echo = kong.ctx.plugin.echo
  if echo then kong.response.set_header(conf.responseHeader, echo) end
end
return Echo
"#;

const HEAVY_HANDLER: &str = r#"
local Heavy = { PRIORITY = 1000, VERSION = "1.0.0" }
function Heavy:access()
  local request, client, ctx = kong.request, kong.client, kong.ctx
  local seen = request.get_method() .. request.get_scheme() .. request.get_host()
  local path, raw = request.get_path(), request.get_raw_query()
  local client_name, bench = request.get_header("user-agent"), request.get_header("x-bench")
  local query, none = request.get_query_arg("none"), request.get_header("x-none")
  kong.log.debug("asked for ", path, " by ", client_name)
  ctx.plugin.seen = seen
  ctx.shared.bench = bench or "none"
  local address, port = client.get_ip(), client.get_forwarded_ip()
  local service, consumer = kong.router.get_service(), client.get_consumer()
  kong.service.request.set_header("x-seen", address)
  kong.response.set_header("x-bench-seen", ctx.plugin.seen)
  kong.log.info("port ", port, raw, query, none, service, consumer)
end
return Heavy
"#;

/// Measures all of them in turns.
pub(crate) fn run(stage: &Stage<'_>) -> Result<Lua> {
    gateways::need("wrk")?;
    let connections = stage.options.connections.first().copied().unwrap_or(CONNECTIONS);
    let effort = stage.options.effort(SECONDS);
    let settings = [
        (BARE, Settings::bare(stage)),
        (ECHO, with(stage, &["bench-echo"])?),
        (ACCESS, idle(stage, "bench-access", &["access"])?),
        (
            ALL,
            idle(
                stage,
                "bench-all",
                &["rewrite", "access", "header_filter", "body_filter", "log"],
            )?,
        ),
        (EMPTY, with(stage, &["bench-access0"])?),
        (HEAVY, with(stage, &["bench-heavy"])?),
    ];
    let mut nodes = Vec::new();
    for (name, settings) in &settings {
        let own = gateways::silverback(stage, settings)?;
        nodes.push((*name, own.context("there is no Silverback to measure")?));
    }
    println!("\nLua, {connections} connections");
    let contenders: Vec<(&str, String, Vec<u32>)> = nodes
        .iter()
        .map(|(name, node)| {
            (*name, format!("http://127.0.0.1:{}/", node.port), node.running.family())
        })
        .collect();
    let rows = in_turns(stage, effort, &contenders, connections, None)?;
    Ok(Lua { effort, connections, rows })
}

/// What a row costs more than another, in microseconds: the difference of their medians.
pub(crate) fn more(rows: &[Row], row: &str, than: &str) -> Option<f64> {
    let of = |who: &str| rows.iter().find(|row| row.who == who).map(|row| row.sample.cpu_us);
    Some(of(row)? - of(than)?)
}

/// Thirty plugins whose handlers of these phases do nothing.
fn idle(stage: &Stage<'_>, name: &str, phases: &[&str]) -> Result<Settings> {
    let names: Vec<String> = (0..IDLE).map(|number| format!("{name}{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let mut handler = format!("local Idle = {{ PRIORITY = {number}, VERSION = \"1.0.0\" }}\n");
        for phase in phases {
            let _ = writeln!(handler, "function Idle:{phase}(conf) end");
        }
        write(stage, name, &(handler + "return Idle\n"), "")?;
    }
    with(stage, &names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The bare route with plugins for all requests.
fn with(stage: &Stage<'_>, names: &[&str]) -> Result<Settings> {
    let old = "no_consumer = true, fields = {
      requestHeader = { type = \"string\", default = \"X-Bench\" },
      responseHeader = { type = \"string\", default = \"X-Bench-Echo\" } }";
    write(stage, "bench-echo", ECHO_HANDLER, old)?;
    write(stage, "bench-heavy", HEAVY_HANDLER, "")?;
    debug_assert_eq!(HEADER.0, "x-bench", "the header that the plugins ask for");
    let directory = stage.directory.display();
    let conf = format!(
        "plugins = bundled,{}\nlua_package_path = {directory}/lua/?.lua;;\n",
        names.join(",")
    );
    let mut settings = Settings::bare(stage);
    settings.declarative =
        services(stage, "  - name: all\n    paths: [/]\n    strip_path: false\n") + "plugins:\n";
    for name in names {
        let _ = writeln!(settings.declarative, "- name: {name}");
    }
    settings.conf = conf;
    Ok(settings)
}

/// Writes a plugin where the nodes look for it. A schema is the inside of its table, or empty.
fn write(stage: &Stage<'_>, name: &str, handler: &str, schema: &str) -> Result<()> {
    let place = format!("lua/kong/plugins/{name}");
    fs::create_dir_all(stage.path(&place))?;
    stage.write(&format!("{place}/handler.lua"), handler)?;
    let none = format!(
        "name = \"{name}\", fields = {{ {{ config = {{ type = \"record\", fields = {{}} }} }} }}"
    );
    let inside = if schema.is_empty() { &none } else { schema };
    stage.write(&format!("{place}/schema.lua"), &format!("return {{ {inside} }}\n"))?;
    Ok(())
}
