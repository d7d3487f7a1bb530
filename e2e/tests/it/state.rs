//! How plugin servers are, as /status, /metrics and `silverback plugins` tell.

use serde_json::{Value, json};
use silverback_e2e::gateway::{Builder, Gateway, said};
use silverback_e2e::http::Request;
use silverback_e2e::process;
use silverback_e2e::servers;
use silverback_e2e::setup;
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_for, wait_until};

use crate::uses::{plugin, routes};

/// What /status says of a server.
fn server(gateway: &Gateway, name: &str) -> Value {
    let status = gateway.ask_admin(&Request::get("/status")).json();
    let servers = status["plugin_servers"].as_array().cloned().unwrap_or_default();
    let found = servers.into_iter().find(|server| server["name"] == name);
    found.unwrap_or_else(|| panic!("no server '{name}' in {status}"))
}

/// The number behind a metric of a server.
fn metric(gateway: &Gateway, name: &str, server: &str) -> Option<f64> {
    let page = gateway.ask_admin(&Request::get("/metrics")).text();
    let start = format!("silverback_plugin_server_{name}{{server=\"{server}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
}

#[test]
fn status_and_metrics_tell_of_servers() {
    let upstream = Upstream::start();
    let go = setup::go_plugin("go-fault").display().to_string();
    let builder = servers::go(Builder::new(), "go-hello");
    let builder = builder.plugin_server("down", "", "sh -c 'exit 7'", &format!("{go} -dump"));
    let yaml = routes(&upstream, &[("r", &plugin("go-hello", "message: hi"))]);
    let gateway = servers::enable(builder, &["go-hello"]).declarative(&yaml).start();
    gateway.wait_status("/r", 200);

    let first = server(&gateway, "go-hello");
    let told = ["state", "protocol", "plugins", "restarts", "instances", "events", "failures"];
    let told: Vec<&Value> = told.iter().map(|field| &first[field]).collect();
    assert_eq!(json!(told), json!(["running", "ProtoBuf:1", ["go-hello"], 0, 1, 1, 0]));
    assert!(first["calls"].as_u64() >= Some(3), "{first}");
    assert!(first["rss"].as_u64() > Some(1 << 20), "{first}");
    let pids = gateway.servers("/go/bin/go-hello");
    assert!(pids.contains(&(first["pid"].as_u64().unwrap() as u32)), "{first}, {pids:?}");
    assert_eq!(metric(&gateway, "up", "go-hello"), Some(1.0));
    assert_eq!(metric(&gateway, "events_total", "go-hello"), Some(1.0));

    process::signal("KILL", &pids);
    let second = wait_for("the server's return", PATIENCE, || {
        let second = server(&gateway, "go-hello");
        (second["state"] == "running" && second["restarts"] == 1).then_some(second)
    });
    assert_ne!(second["pid"], first["pid"]);
    let error = second["last_error"].as_str().unwrap_or_default();
    assert!(error.contains("signal") && error.contains('9'), "{error:?}");
    assert_eq!(metric(&gateway, "restarts_total", "go-hello"), Some(1.0));

    wait_until("the crash loop to be told", PATIENCE, || {
        server(&gateway, "down")["state"] == "crash_loop"
    });
    let error = server(&gateway, "down")["last_error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("exit status 7"), "{error:?}");
    assert_eq!(metric(&gateway, "up", "down"), Some(0.0));
}

/// `plugins` lists servers and plugins, with the state of a running node or without.
#[test]
fn plugins_lists_servers_and_plugins() {
    let upstream = Upstream::start();
    let builder = servers::js(servers::go(Builder::new(), "go-hello"));
    let builder = servers::enable(builder, &["go-hello", "js-hello"]);
    let yaml = routes(&upstream, &[("r", &plugin("js-hello", "message: hi"))]);
    let gateway = builder.declarative(&yaml).start();
    gateway.wait_status("/r", 200);
    wait_until("both to run", PATIENCE, || {
        ["go-hello", "js"].iter().all(|name| server(&gateway, name)["state"] == "running")
    });
    let pid = |name: &str| server(&gateway, name)["pid"].to_string();
    let rows = rows(&gateway);
    let socket = |name: &str| gateway.prefix().join(name).display().to_string();
    let expect: [&[&str]; 5] = [
        &["SERVER", "STATE", "PID", "RESTARTS", "SOCKET", "LAST", "ERROR"],
        &["go-hello", "running", &pid("go-hello"), "0", &socket("go-hello.socket"), "-"],
        &["js", "running", &pid("js"), "0", &socket("js_pluginserver.sock"), "-"],
        &["PLUGIN", "PRIORITY", "VERSION", "FROM", "PHASES"],
        &["key-auth", "1250", "3.10.0", "bundled", "access"],
    ];
    for row in expect {
        assert!(rows.iter().any(|r| r == row), "{row:?} is not in {rows:#?}");
    }
    let of = |name: &str| rows.iter().rfind(|row| row[0] == name).unwrap().join(" ");
    assert_eq!(of("go-hello"), "go-hello 30 1.0.0 server go-hello access");
    assert!(of("js-hello").contains(" server js "), "{}", of("js-hello"));

    assert!(gateway.command("stop").status.success());
    let rows = self::rows(&gateway);
    let stopped = ["go-hello", "node", "not", "running", "-", "-"];
    assert!(rows.iter().any(|row| row.starts_with(&stopped.map(String::from))), "{rows:#?}");
}

/// The words of each line of `plugins`.
fn rows(gateway: &Gateway) -> Vec<Vec<String>> {
    let output = gateway.command("plugins");
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    text.lines().map(words).filter(|row| !row.is_empty()).collect()
}
