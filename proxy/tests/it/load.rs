//! Change under load.

use std::{io::Write, net::TcpStream, time::Duration};

use serde_json::json;
use silverback_e2e::{
    http::Request,
    load::{Load, tally},
    upstream::Upstream,
};
use silverback_pdk::{Handler, Phases};

use crate::kit::Setup;

#[test]
fn a_change_of_configuration_fails_no_request() {
    let upstream = Upstream::listen(0, None, false).unwrap();
    let mut setup = Setup::new().serve(upstream.port());
    let mut node = (*setup.config.node).clone();
    node.workers = 2;
    setup.config.node = node.into();
    let mut gateway = setup.start();
    let load = Load::start(&gateway.address, 4, &[Request::get("/a"), Request::get("/b")]);
    for n in 0..20 {
        let service = gateway.setup.service(json!({"port": upstream.port()}));
        let path = format!("/new-{n}");
        gateway.setup.route(json!({"paths": [path], "service": service}));
        gateway.reload();
        assert_eq!(gateway.get(&format!("{path}/x")).json()["target"], "/x");
    }
    let shots = load.stop();
    assert!(!shots.is_empty());
    assert_eq!(tally(&shots), format!("200: {}", shots.len()));
}

#[test]
fn an_unchanged_plugin_is_not_configured_again() {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    let made: Arc<AtomicUsize> = Arc::default();
    let count = made.clone();
    let mut setup = Setup::new();
    setup.plugin("p", 1, move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Phases { log: Some(Handler::now(|_| silverback_pdk::Flow::Next)), ..Phases::default() }
    });
    setup.using(json!({"name": "p", "config": {"a": 1}}));
    let mut gateway = setup.start();
    gateway.reload();
    assert_eq!(made.load(Ordering::Relaxed), 1);
    gateway.setup.using(json!({"name": "p", "config": {"a": 2}}));
    gateway.reload();
    assert_eq!(made.load(Ordering::Relaxed), 2);
}

#[test]
fn draining_lets_requests_come_to_their_end() {
    let upstream = Upstream::start();
    let mut gateway = Setup::new().serve(upstream.port()).start();
    let address = gateway.address.clone();
    let slow = std::thread::spawn({
        let address = address.clone();
        move || silverback_e2e::http::send(&address, &Request::get("/delay/500")).unwrap()
    });
    let mut idle = gateway.connect();
    idle.ask(&Request::get("/"), true).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    gateway.handle.take().unwrap().drain();
    assert_eq!(slow.join().unwrap().status, 200);
    let refused = TcpStream::connect(&address).and_then(|mut s| s.write_all(b"GET "));
    assert!(refused.is_err());
}

#[test]
fn ten_thousand_routes_compile_soon() {
    let mut setup = Setup::new();
    let service = setup.service(json!({"port": 80}));
    for n in 0..10_000 {
        let hosts = [format!("h{}.test", n % 500)];
        setup.route(json!({"paths": [format!("/p{n}")], "hosts": hosts, "service": service}));
    }
    setup.plugin("p", 1, |_| Phases::default());
    setup.using(json!({"name": "p"}));
    let begin = std::time::Instant::now();
    let gateway = setup.start();
    // Ten times what an optimised build may take.
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    drop(gateway);
}
