//! What users of Kong's PDKs have today, each with its real plugin server.

use silverback_e2e::gateway::{Builder, Gateway};
use silverback_e2e::http::Request;
use silverback_e2e::servers::{self, PythonMode};
use silverback_e2e::setup;
use silverback_e2e::upstream::{Seen, Upstream};

/// A declarative file: one service, and a route `/NAME` for each entry with these plugins. The
/// upstream sees the path as it was sent.
pub(crate) fn routes(upstream: &Upstream, routes: &[(&str, &str)]) -> String {
    let mut yaml = format!(
        "_format_version: '3.0'\nservices:\n- name: echo\n  url: {}\n  routes:\n",
        upstream.url()
    );
    for (name, plugins) in routes {
        let route = format!("name: {name}, paths: [/{name}], strip_path: false");
        yaml += &format!("  - {{{route}, plugins: [{plugins}]}}\n");
    }
    yaml
}

/// A plugin with a configuration, as an entry of [`routes`].
pub(crate) fn plugin(name: &str, config: &str) -> String {
    format!("{{name: {name}, config: {{{config}}}}}")
}

/// Asks for `target`; the answer's status and what the upstream saw of it.
fn through(gateway: &Gateway, upstream: &Upstream, target: &str) -> (u16, Vec<Seen>) {
    upstream.take_seen();
    let answer = gateway.get(target);
    (answer.status, upstream.take_seen())
}

/// One plugin on one route greets in the answer and marks the upstream's request.
fn check_greets(builder: Builder, name: &str, greeting: &str) {
    let upstream = Upstream::start();
    let plugins = plugin(name, "message: hi");
    let builder = servers::enable(builder, &[name]);
    let gateway = builder.declarative(&routes(&upstream, &[("r", &plugins)])).start();
    let answer = gateway.get("/r");
    let header = format!("x-{name}");
    assert_eq!((answer.status, answer.header(&header)), (200, Some(greeting)));
    assert_eq!(upstream.take_seen()[0].header(&header), Some("hi"));
}

#[test]
fn go_with_the_newest_pdk() {
    check_greets(servers::go(Builder::new(), "go-hello"), "go-hello", "Go says hi to example.test");
}

#[test]
fn go_with_pdk_0_8() {
    let builder = servers::go(Builder::new(), "go-hello-old");
    check_greets(builder, "go-hello-old", "Go says hi to example.test");
}

/// The socket's default is NAME.socket under the prefix, which is where a Go server listens.
#[test]
fn go_without_a_socket_setting() {
    let path = setup::go_plugin("go-hello").display().to_string();
    let builder = Builder::new();
    let start = format!("{path} -kong-prefix {}", builder.prefix().display());
    let builder = builder.plugin_server("go-hello", "", &start, &format!("{path} -dump"));
    check_greets(builder, "go-hello", "Go says hi to example.test");
}

#[test]
fn several_go_servers() {
    let upstream = Upstream::start();
    let builder = servers::go(servers::go(Builder::new(), "go-hello"), "go-hello-old");
    let builder = servers::enable(builder, &["go-hello", "go-hello-old"]);
    let both = [plugin("go-hello", "message: a"), plugin("go-hello-old", "message: b")].join(",");
    let gateway = builder.declarative(&routes(&upstream, &[("r", &both)])).start();
    let (status, seen) = through(&gateway, &upstream, "/r");
    assert_eq!(status, 200);
    assert_eq!(seen[0].header("x-go-hello"), Some("a"));
    assert_eq!(seen[0].header("x-go-hello-old"), Some("b"));
}

/// The key-checker, however it is built, refuses a wrong key and lets the right one through.
fn check_key_checker(builder: Builder, name: &str) {
    let upstream = Upstream::start();
    let builder = servers::enable(builder, &[name]);
    let plugins = plugin(name, "apikey: mysecretkey");
    let gateway = builder.declarative(&routes(&upstream, &[("r", &plugins)])).start();
    for wrong in ["/r", "/r?key=", "/r?key", "/r?key=wrong"] {
        let answer = gateway.get(wrong);
        assert_eq!(answer.status, 403, "{wrong}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{wrong}");
        assert_eq!(answer.text(), r#"{"error":"no such key"}"#, "{wrong}");
    }
    assert_eq!(upstream.take_seen().len(), 0, "a refused request reached the upstream");
    let (status, seen) = through(&gateway, &upstream, "/r?key=mysecretkey");
    assert_eq!(status, 200);
    assert_eq!(seen.len(), 1);
}

#[test]
fn key_checker_with_its_own_server() {
    check_key_checker(servers::go(Builder::new(), "key-checker"), "key-checker");
}

/// go-pdk 0.6: a server of its own that speaks MessagePack.
#[test]
fn key_checker_with_its_own_msgpack_server() {
    check_key_checker(servers::go(Builder::new(), "key-checker-msgpack"), "key-checker-msgpack");
}

#[test]
fn key_checker_in_go_pluginserver() {
    check_key_checker(servers::go_legacy(Builder::new()), "key-checker");
}

/// The settings of Kong 2.0 to 2.2.
#[test]
fn key_checker_by_go_plugins_dir() {
    let exe = setup::env("go/legacy/go-pluginserver").display().to_string();
    let builder = Builder::new()
        .set("go_plugins_dir", &setup::env("go/legacy/plugins").display().to_string())
        .set("go_pluginserver_exe", &exe);
    check_key_checker(builder, "key-checker");
}

#[test]
fn javascript_and_typescript_in_one_server() {
    let upstream = Upstream::start();
    let names = ["js-hello", "ts-hello", "own-modules"];
    let builder = servers::enable(servers::js(Builder::new()), &names);
    let plugins = [
        plugin("js-hello", "message: hi"),
        plugin("ts-hello", "message: ho"),
        plugin("own-modules", "time: 2 days"),
    ];
    let yaml = routes(&upstream, &[("r", &plugins.join(","))]);
    let gateway = builder.declarative(&yaml).start();
    let answer = gateway.get("/r");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-js-hello"), Some("JavaScript says hi to example.test"));
    assert_eq!(answer.header("x-ts-hello"), Some("TypeScript says ho"));
    assert_eq!(answer.header("x-own-modules"), Some("172800000"));
    assert_eq!(upstream.take_seen()[0].header("x-order"), Some("ts-hello js-hello"));
}

fn check_python(mode: PythonMode) {
    let upstream = Upstream::start();
    let builder = servers::python(Builder::new(), mode);
    let builder = servers::enable(builder, &["py-hello", "py-second"]);
    let plugins = [plugin("py-hello", "message: hi"), plugin("py-second", "")].join(",");
    let gateway = builder.declarative(&routes(&upstream, &[("r", &plugins)])).start();
    let answer = gateway.get("/r");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-py-hello"), Some("Python says hi to example.test"));
    assert_eq!(answer.header("x-py-second"), Some("second"), "the schema's default");
    assert_eq!(upstream.take_seen()[0].header("x-order"), Some("py-second py-hello"));
}

#[test]
fn python_with_threads() {
    check_python(PythonMode::Threads);
}

#[test]
fn python_with_gevent() {
    check_python(PythonMode::Gevent);
}

#[test]
fn python_with_processes() {
    check_python(PythonMode::Processes);
}

#[test]
fn python_without_lua_style() {
    let upstream = Upstream::start();
    let builder = servers::enable(servers::python_plain(Builder::new()), &["py-plain"]);
    let plugins = plugin("py-plain", "message: hi");
    let gateway = builder.declarative(&routes(&upstream, &[("r", &plugins)])).start();
    assert_eq!(gateway.get("/r").header("x-py-plain"), Some("hi to example.test"));
}

#[test]
fn python_with_its_own_server() {
    check_greets(servers::python_embedded(Builder::new()), "py-embedded", "hi");
}

/// All four kinds of server and a bundled plugin in one configuration, from the highest priority to
/// the lowest across kinds.
#[test]
fn all_kinds_in_the_order_of_their_priorities() {
    let upstream = Upstream::start();
    let names = ["go-hello", "ts-hello", "js-hello", "py-second", "py-hello", "legacy-hello"];
    let builder = servers::go(Builder::new(), "go-hello");
    let builder = servers::python(servers::js(builder), PythonMode::Threads);
    let builder = servers::enable(servers::go_legacy(builder), &names);
    let mut plugins: Vec<String> = names.iter().map(|name| plugin(name, "message: x")).collect();
    plugins.reverse(); // the file's order must not matter
    plugins.push("{name: key-auth}".into());
    let yaml = routes(&upstream, &[("r", &plugins.join(","))])
        + "consumers:\n- {username: ann, keyauth_credentials: [{key: secret}]}\n";
    let gateway = builder.declarative(&yaml).start();

    let refused = gateway.get("/r");
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("x-go-hello"), None, "key-auth comes first, and ends the request");
    assert_eq!(upstream.take_seen().len(), 0);

    let answer = gateway.send(&Request::get("/r").header("apikey", "secret")).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let order = upstream.take_seen()[0].header("x-order").map(str::to_owned);
    assert_eq!(order.as_deref(), Some(names.join(" ").as_str()));
}
