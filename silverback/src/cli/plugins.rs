//! `plugins`: which plugin servers and plugins there are, and how they are.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use silverback_pdk::{Origin, Plugin};

use super::{Args, CONF, Command, PREFIX};
use crate::{conf::Conf, node::plugins};

pub(super) const COMMAND: Command = Command {
    name: "plugins",
    operands: "",
    summary: "List plugin servers and plugins: version, priority, phases, schema, state.",
    flags: &[CONF, PREFIX],
    run,
};

fn run(args: &Args) -> Result<()> {
    let conf = args.node_conf()?;
    let registry = plugins::registry_of(&conf)?;
    print!("{}", servers_table(&conf, running_servers(&conf).ok().as_ref()));
    print!("{}", plugins_table(registry.in_order().into_iter().map(AsRef::as_ref)));
    Ok(())
}

/// What the running node says of its servers.
fn running_servers(conf: &Conf) -> Result<Value> {
    let plain = conf.admin_listen.iter().filter(|listener| !listener.ssl);
    let mut address: SocketAddr =
        plain.filter_map(|l| l.address()).next().context("no plain admin_listen")?;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status: Value = serde_json::from_str(body)?;
    status.get("plugin_servers").cloned().context("no plugin servers")
}

fn servers_table(conf: &Conf, running: Option<&Value>) -> String {
    let mut rows =
        vec![["SERVER", "STATE", "PID", "RESTARTS", "SOCKET", "LAST ERROR"].map(str::to_owned)];
    for server in &conf.pluginservers {
        let known = running.and_then(Value::as_array).into_iter().flatten();
        let known = known.into_iter().find(|s| s["name"] == server.name.as_str());
        let shown = |field: &str| match known.map(|s| &s[field]) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => "-".to_owned(),
            Some(other) => other.to_string(),
        };
        let state = if known.is_some() { shown("state") } else { "node not running".to_owned() };
        rows.push([
            server.name.clone(),
            state,
            shown("pid"),
            shown("restarts"),
            server.socket.display().to_string(),
            shown("last_error"),
        ]);
    }
    if rows.len() == 1 { String::new() } else { table(&rows) + "\n" }
}

fn plugins_table<'a>(plugins: impl Iterator<Item = &'a Plugin>) -> String {
    let mut rows = vec![["PLUGIN", "PRIORITY", "VERSION", "FROM", "PHASES"].map(str::to_owned)];
    for plugin in plugins {
        let from = match &plugin.origin {
            Origin::Bundled => "bundled".to_owned(),
            Origin::Server(server) => format!("server {server}"),
            Origin::Lua(_) => "lua".to_owned(),
        };
        rows.push([
            plugin.name.clone(),
            plugin.priority.to_string(),
            plugin.version.clone(),
            from,
            plugin.phases.to_string(),
        ]);
    }
    table(&rows)
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["A", "B"], ["long", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A     B\nlong  x\n");
    }

    #[test]
    fn bundled_plugins_are_listed() {
        let bundled = silverback_plugins::bundled(&silverback_plugins::Config::default());
        let table = plugins_table(bundled.iter());
        let row = table.lines().find(|line| line.starts_with("key-auth")).unwrap_or_default();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells[..4], ["key-auth", "1250", "3.10.0", "bundled"], "{table}");
    }
}
