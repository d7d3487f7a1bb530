//! What does not start says why: the path, the setting or the field, and what came of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use silverback_e2e::gateway::{Builder, free_port, said};
use silverback_e2e::process;
use silverback_e2e::servers;
use silverback_e2e::setup;
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

use crate::uses::{plugin, routes};

/// A gateway that must not start, and what it must say.
fn check_refused(builder: Builder, expect: &[&str]) {
    let upstream = Upstream::start();
    let why = match builder.declarative(&routes(&upstream, &[("r", "")])).try_start() {
        Ok(_) => panic!("it started; expected it to say {expect:?}"),
        Err(why) => why,
    };
    for text in expect {
        assert!(why.contains(text), "{text:?} is not in: {why}");
    }
}

/// A script of this text under the prefix; its path.
fn script(builder: &Builder, name: &str, text: &str, mode: u32) -> String {
    let path = builder.prefix().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
}

#[test]
fn a_listener_for_udp() {
    let builder = Builder::new().set("stream_listen", "127.0.0.1:9053 udp");
    let expect = "stream_listen: UDP is not available yet; remove the entry for port 9053/udp";
    check_refused(builder, &[expect]);
}

#[test]
fn a_query_command_that_is_missing() {
    let builder = Builder::new().plugin_server("x", "", "/no/such/x", "/no/such/x -dump");
    check_refused(servers::enable(builder, &["x"]), &["/no/such/x", "x"]);
}

#[test]
fn a_query_command_without_permission() {
    let builder = Builder::new();
    let path = script(&builder, "locked", "#!/bin/sh\necho '[]'\n", 0o600);
    let builder = builder.plugin_server("x", "", &path, &path);
    check_refused(servers::enable(builder, &["x"]), &[&path, "ermission denied"]);
}

#[test]
fn a_query_command_that_prints_garbage() {
    let builder = Builder::new();
    let path = script(&builder, "garbage", "#!/bin/sh\necho WARN - what a mess\n", 0o700);
    let builder = builder.plugin_server("x", "", &path, &path);
    check_refused(servers::enable(builder, &["x"]), &[&path, "what a mess"]);
}

#[test]
fn a_query_command_that_fails() {
    let builder = Builder::new();
    let path = script(&builder, "fails", "#!/bin/sh\necho no license >&2\nexit 7\n", 0o700);
    let builder = builder.plugin_server("x", "", &path, &path);
    check_refused(servers::enable(builder, &["x"]), &[&path, "no license", "7"]);
}

#[test]
fn a_plugin_that_nobody_has() {
    check_refused(servers::enable(Builder::new(), &["no-such-plugin"]), &["no-such-plugin"]);
}

#[test]
fn a_setting_that_is_wrong() {
    let expect = ["log_level", "loud", "debug"];
    check_refused(Builder::new().set("log_level", "loud"), &expect);
}

#[test]
fn a_declarative_file_that_is_wrong() {
    let builder = Builder::new();
    let yaml =
        "_format_version: '3.0'\nservices:\n- {name: echo, url: 'http://a', retries: many}\n";
    match builder.declarative(yaml).try_start() {
        Ok(_) => panic!("it started"),
        Err(why) => {
            for text in ["kong.yml", "retries", "expected an integer"] {
                assert!(why.contains(text), "{text:?} is not in: {why}");
            }
        }
    }
}

/// The server of a plugin does not come up: the gateway starts and says so, requests that need the
/// plugin are refused, others pass.
fn check_server_down(start: impl Fn(&Builder) -> String, expect: &[&str]) {
    let upstream = Upstream::start();
    let builder = Builder::new();
    let go = setup::go_plugin("go-hello").display().to_string();
    let start = start(&builder);
    let builder = builder.plugin_server("go-hello", "", &start, &format!("{go} -dump"));
    let with = plugin("go-hello", "message: x");
    let yaml = routes(&upstream, &[("with", &with), ("without", "")]);
    let gateway = servers::enable(builder, &["go-hello"]).declarative(&yaml).start();
    assert_eq!(gateway.get("/without").status, 200);
    upstream.take_seen();
    let answer = gateway.get("/with");
    assert!(matches!(answer.status, 500 | 503), "{}", answer.status);
    assert_eq!(upstream.take_seen().len(), 0, "it reached the upstream without its plugin");
    for text in expect {
        gateway.wait_log(text);
    }
}

#[test]
fn a_server_that_is_missing() {
    check_server_down(|_| "/no/such/server".into(), &["/no/such/server", "go-hello"]);
}

#[test]
fn a_server_without_permission() {
    let locked = |builder: &Builder| script(builder, "locked", "#!/bin/sh\n", 0o600);
    check_server_down(locked, &["locked", "ermission denied"]);
}

#[test]
fn a_server_that_exits_at_once() {
    let boom = |builder: &Builder| {
        script(builder, "boom", "#!/bin/sh\necho out of cheese >&2\nexit 7\n", 0o700)
    };
    check_server_down(boom, &["out of cheese", "7"]);
}

/// Only the explicit setting lets requests pass without a plugin whose server is down.
#[test]
fn a_server_that_may_fail_open() {
    let upstream = Upstream::start();
    let go = setup::go_plugin("go-hello").display().to_string();
    let builder = Builder::new()
        .plugin_server("go-hello", "", "/no/such/server", &format!("{go} -dump"))
        .set("pluginserver_go_hello_fail_open", "on");
    let yaml = routes(&upstream, &[("r", &plugin("go-hello", "message: x"))]);
    let gateway = servers::enable(builder, &["go-hello"]).declarative(&yaml).start();
    assert_eq!(gateway.get("/r").status, 200);
    assert_eq!(upstream.take_seen()[0].header("x-go-hello"), None);
}

/// `make run`, with the binary that is there.
#[test]
fn the_demonstration_runs() {
    setup::env("js/plugins"); // installs, so that the script finds everything
    let output = std::process::Command::new(setup::root().join("e2e/run"))
        .env("SILVERBACK_BIN", setup::gateway())
        .env("PROXY_PORT", free_port().to_string())
        .env("ADMIN_PORT", free_port().to_string())
        .env("ONCE", "1")
        .output()
        .unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for expect in [
        "x-lua-hello: Lua says hello",
        "x-go-hello: Go says good morning",
        "x-js-hello: JavaScript says good day",
        "x-py-hello: Python says good evening",
        "lua-hello go-hello js-hello py-hello",
        "x-py-hello: Python says good night",
        "no Route matched with those values",
    ] {
        assert!(text.to_lowercase().contains(&expect.to_lowercase()), "{expect:?} not in: {text}");
    }
}

/// After a stop nothing of the gateway is left, its plugin servers included.
#[test]
fn nothing_is_left_after_a_stop() {
    let builder = servers::enable(servers::go(Builder::new(), "go-hello"), &["go-hello"]);
    let upstream = Upstream::start();
    let gateway = builder.declarative(&routes(&upstream, &[("r", "")])).start();
    let (pid, prefix) = (gateway.pid(), gateway.prefix().to_path_buf());
    assert!(gateway.command("health").status.success());
    assert!(gateway.command("stop").status.success());
    assert!(!silverback_e2e::process::is_alive(pid));
    let left = silverback_e2e::process::of_prefix(&prefix);
    let left: Vec<String> = left.into_iter().map(silverback_e2e::process::command_line).collect();
    assert!(left.is_empty(), "left: {left:?}");
    assert!(!gateway.command("health").status.success(), "healthy after its stop");
}

/// Plugin servers do not outlive a gateway that is killed.
#[test]
fn servers_die_with_the_gateway() {
    let builder = servers::enable(servers::go(Builder::new(), "go-hello"), &["go-hello"]);
    let upstream = Upstream::start();
    let gateway = builder.declarative(&routes(&upstream, &[("r", "")])).start();
    let prefix = gateway.prefix().to_path_buf();
    silverback_e2e::process::signal("KILL", &[gateway.pid()]);
    let limit = std::time::Duration::from_secs(5);
    silverback_e2e::wait::wait_until("the plugin servers to end", limit, || {
        silverback_e2e::process::of_prefix(&prefix).is_empty()
    });
}

/// A node that was killed does not keep the next from starting, whoever has its pid by now. One
/// that runs does.
#[test]
fn a_killed_node_is_not_running() {
    let mut gateway = Builder::new().start();
    gateway.keep_prefix();
    let again = said(&gateway.command("start"));
    assert!(again.contains("is already running in"), "{again}");
    process::signal("KILL", &[gateway.pid()]);
    // The pid of a process that lives: this one's.
    let file = gateway.prefix().join("pids/nginx.pid");
    fs::write(&file, format!("{}\n", std::process::id())).unwrap();
    wait_until("the node's end", PATIENCE, || !gateway.command("health").status.success());
    let stopped = said(&gateway.command("stop"));
    assert!(stopped.contains("Silverback is not running in"), "{stopped}");
    let started = gateway.command("start");
    assert!(started.status.success(), "{}", said(&started));
    assert!(gateway.command("health").status.success());
    assert!(gateway.command("restart").status.success());
    assert!(gateway.command("stop").status.success());
    let _ = fs::remove_dir_all(gateway.prefix());
}
