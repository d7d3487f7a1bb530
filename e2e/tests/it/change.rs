//! Configurations side by side, and configurations that change, under load.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use silverback_e2e::gateway::{Builder, Gateway};
use silverback_e2e::http::Request;
use silverback_e2e::load::{Load, Shot, tally};
use silverback_e2e::servers::{self, PythonMode};
use silverback_e2e::upstream::Upstream;

use crate::uses::{plugin, routes};

const PLUGINS: [&str; 3] = ["go-hello", "js-hello", "py-hello"];

fn start(yaml: &str) -> Gateway {
    let builder = servers::go(Builder::new(), "go-hello");
    let builder = servers::python(servers::js(builder), PythonMode::Threads);
    servers::enable(builder, &PLUGINS).declarative(yaml).start()
}

/// All three greeters with a message that names the route.
fn greeters(message: &str) -> String {
    let all = PLUGINS.iter().map(|name| plugin(name, &format!("message: {message}")));
    all.collect::<Vec<_>>().join(",")
}

/// The messages that the upstream saw on the requests whose path starts with `path`.
fn messages_of(upstream: &Upstream, path: &str) -> BTreeSet<String> {
    let seen = upstream.take_seen();
    let seen = seen.iter().filter(|seen| seen.target.starts_with(path));
    seen.flat_map(|seen| {
        PLUGINS.map(|name| seen.header(&format!("x-{name}")).unwrap_or("NOT RUN").to_string())
    })
    .collect()
}

fn requests(paths: &[&str]) -> Vec<Request> {
    paths.iter().map(|path| Request::get(path)).collect()
}

fn assert_all_ok(shots: &[Shot]) {
    let good = shots.iter().all(|shot| shot.answer.as_ref().is_ok_and(|a| a.status == 200));
    assert!(good, "by status: {}", tally(shots));
    assert!(shots.len() > 100, "only {} requests", shots.len());
}

#[test]
fn one_plugin_on_several_routes() {
    let names: Vec<String> = (0..8).map(|i| format!("r{i}")).collect();
    let plugins: Vec<String> = names.iter().map(|name| greeters(name)).collect();
    let upstream = Upstream::start();
    let pairs: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(plugins.iter().map(String::as_str)).collect();
    let gateway = start(&routes(&upstream, &pairs));
    let paths: Vec<String> = names.iter().map(|name| format!("/{name}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    paths.iter().for_each(|path| gateway.wait_status(path, 200));
    upstream.take_seen();
    let load = Load::start(&gateway.proxy(), 8, &requests(&paths));
    std::thread::sleep(Duration::from_secs(3));
    assert_all_ok(&load.stop());
    for seen in upstream.take_seen() {
        let route = seen.target.trim_start_matches('/').to_string();
        for name in PLUGINS {
            let message = seen.header(&format!("x-{name}"));
            assert_eq!(message, Some(route.as_str()), "{name} on /{route}");
        }
    }
}

/// Under load every request sees one configuration or the other, and once a change is answered and
/// settled, only the new one. Another route never notices.
#[test]
fn configuration_changes_under_load() {
    let upstream = Upstream::start();
    let yaml = |message: &str| {
        routes(&upstream, &[("changing", &greeters(message)), ("staying", &greeters("same"))])
    };
    let gateway = start(&yaml("m0"));
    gateway.wait_status("/changing", 200);
    let load = Load::start(&gateway.proxy(), 8, &requests(&["/changing", "/staying"]));
    for i in 1..=10 {
        gateway.load(&yaml(&format!("m{i}"))).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let answer = gateway.get("/changing");
        let greeting = format!("Go says m{i} to example.test");
        assert_eq!(answer.header("x-go-hello"), Some(greeting.as_str()), "an old configuration");
    }
    assert_all_ok(&load.stop());
    let seen = upstream.take_seen();
    for seen in &seen {
        let messages: BTreeSet<_> = PLUGINS.map(|n| seen.header(&format!("x-{n}"))).into();
        assert_eq!(messages.len(), 1, "{}: half of a change: {messages:?}", seen.target);
        if seen.target == "/staying" {
            assert_eq!(messages.first(), Some(&Some("same")));
        }
    }
}

/// A file that is wrong changes nothing, and says what is wrong with it.
#[test]
fn a_wrong_configuration_changes_nothing() {
    let upstream = Upstream::start();
    let gateway = start(&routes(&upstream, &[("r", &greeters("good"))]));
    gateway.wait_status("/r", 200);
    let wrong = routes(&upstream, &[("r", &plugin("go-hello", "mesage: typo"))]);
    let why = gateway.load(&wrong).unwrap_err();
    assert!(why.contains("mesage"), "the error does not name the field: {why}");
    upstream.take_seen();
    assert_eq!(gateway.get("/r").status, 200);
    assert_eq!(messages_of(&upstream, "/r"), ["good".to_string()].into());
}

/// `reload` reads the declarative file anew, and no request is lost meanwhile.
#[test]
fn reload_under_load() {
    let upstream = Upstream::start();
    let gateway = start(&routes(&upstream, &[("r", &greeters("before"))]));
    gateway.wait_status("/r", 200);
    let load = Load::start(&gateway.proxy(), 4, &requests(&["/r"]));
    let after = routes(&upstream, &[("r", &greeters("after"))]);
    std::fs::write(gateway.prefix().join("kong.yml"), after).unwrap();
    let reload = gateway.command("reload");
    assert!(reload.status.success(), "{}", silverback_e2e::gateway::said(&reload));
    let deadline = Instant::now() + Duration::from_secs(5);
    let new = Some("Go says after to example.test");
    while gateway.get("/r").header("x-go-hello") != new {
        assert!(Instant::now() < deadline, "the reload is not seen");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_all_ok(&load.stop());
}
