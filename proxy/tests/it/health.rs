//! Health checks: targets that are asked how they are, targets that are watched.

use std::{
    io::Write,
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use silverback_e2e::{upstream::Upstream, wait::wait_until};
use silverback_proxy::{Snapshot, start_after};
use silverback_tls::Trust;
use uuid::Uuid;

use crate::{
    kit::{Gateway, Setup, dead_port, read_head},
    tls::{pair, server},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A target that answers with whatever status it holds now, and keeps what it was asked.
#[derive(Clone, Default)]
struct Patient {
    status: Arc<AtomicU16>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Patient {
    /// Listens, with TLS where there is a configuration for it. Status 0 never answers, status 1
    /// talks nonsense.
    fn listen(&self, status: u16, tls: Option<Arc<ServerConfig>>) -> u16 {
        self.status.store(status, SeqCst);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (own, tls, mut stream) = (own.clone(), tls.clone(), stream.unwrap());
                std::thread::spawn(move || match tls {
                    None => {
                        let head = read_head(&mut stream);
                        own.answer(head, stream);
                    }
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        let mut stream = StreamOwned::new(connection, stream);
                        let head = read_head(&mut stream);
                        own.answer(head, stream);
                    }
                });
            }
        });
        port
    }

    fn answer(&self, head: String, mut stream: impl Write) {
        if head.is_empty() {
            return;
        }
        self.asked.lock().unwrap().push(head);
        let answer = match self.status.load(SeqCst) {
            0 => {
                std::thread::sleep(Duration::from_secs(3));
                return;
            }
            1 => "nonsense\r\n\r\n".to_owned(),
            status => format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"),
        };
        // Who is impatient has gone.
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.flush();
    }
}

/// Asks ten times a second; one sign turns a target.
fn active(kind: &str) -> Value {
    json!({
        "type": kind, "timeout": 0.3, "concurrency": 2, "https_verify_certificate": false,
        "healthy": {"interval": 0.1, "successes": 1, "http_statuses": [200]},
        "unhealthy": {
            "interval": 0.1, "tcp_failures": 1, "timeouts": 1, "http_failures": 1,
            "http_statuses": [500],
        },
    })
}

fn gateway(active: &Value, targets: &[String]) -> (Gateway, Uuid) {
    let mut setup = Setup::new();
    setup.serve_host("a.up", 80, &json!({}));
    let targets: Vec<_> = targets.iter().map(|target| (target.as_str(), 100)).collect();
    let fields = json!({"name": "a.up", "healthchecks": {"active": active}});
    let id = setup.upstream_with(fields, &targets);
    (setup.start(), id)
}

fn health(snapshot: &Snapshot, id: Uuid, target: &str) -> String {
    let targets = snapshot.balancer(id).unwrap().targets_health();
    targets[target]["addresses"][0]["health"].as_str().unwrap_or_default().to_owned()
}

fn until(gateway: &Gateway, id: Uuid, target: &str, expect: &str) {
    let same = || health(&gateway.snapshots.load(), id, target) == expect;
    wait_until(&format!("{target} {expect}"), PATIENCE, same);
}

#[test]
fn targets_are_asked_how_they_are() {
    let (well, ill) = (Patient::default(), Patient::default());
    let ports = [well.listen(200, None), ill.listen(200, None), dead_port()];
    let targets = ports.map(|port| format!("localhost:{port}"));
    let mut checks = active("http");
    checks["http_path"] = json!("/up?x=1");
    checks["headers"] = json!({"X-Probe": ["a", "b"]});
    let (gateway, id) = gateway(&checks, &targets);
    until(&gateway, id, &targets[2], "UNHEALTHY");
    until(&gateway, id, &targets[0], "HEALTHY");
    for (status, expect) in [
        (500, "UNHEALTHY"),
        (200, "HEALTHY"),
        (0, "UNHEALTHY"),
        (404, "UNHEALTHY"),
        (200, "HEALTHY"),
        (404, "HEALTHY"),
        (1, "UNHEALTHY"),
    ] {
        ill.status.store(status, SeqCst);
        until(&gateway, id, &targets[1], expect);
    }
    // All requests go to the one that is left.
    well.asked.lock().unwrap().clear();
    for _ in 0..6 {
        assert_eq!(gateway.get("/a.up").status, 200);
    }
    let asked = well.asked.lock().unwrap().clone();
    assert_eq!(asked.iter().filter(|head| head.starts_with("GET / HTTP/1.1")).count(), 6);
    wait_until("a probe", PATIENCE, || {
        well.asked.lock().unwrap().iter().any(|head| {
            *head
                == "GET /up?x=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                      X-Probe: a\r\nX-Probe: b\r\n\r\n"
        })
    });
}

#[test]
fn a_connection_may_be_enough() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let targets = [listener.local_addr().unwrap().port(), dead_port()];
    let targets = targets.map(|port| format!("127.0.0.1:{port}"));
    for kind in ["tcp", "grpc"] {
        let (gateway, id) = gateway(&active(kind), &targets);
        until(&gateway, id, &targets[1], "UNHEALTHY");
        std::thread::sleep(Duration::from_millis(300));
        until(&gateway, id, &targets[0], "HEALTHY");
    }
}

#[test]
fn targets_are_asked_with_tls() {
    let (cert, key) = pair(&["a.test"]);
    let tls = server(&cert, &key);
    let patient = Patient::default();
    let target = format!("127.0.0.1:{}", patient.listen(200, Some(tls)));
    let check = |verify: bool, trusted: bool, sni: &str, expect: &str| {
        let mut setup = Setup::new();
        if trusted {
            setup.config.tls.upstream.trust = Trust::of_pem([cert.as_bytes()], 1);
        }
        let mut checks = active("https");
        checks["https_verify_certificate"] = json!(verify);
        checks["https_sni"] = json!(sni);
        // It begins on the other side of what is expected.
        let fields = json!({"name": "a.up", "healthchecks": {"active": checks}});
        let id = setup.upstream_with(fields, &[(&target, 100)]);
        let gateway = setup.start();
        let balancer = gateway.snapshots.load().balancer(id).unwrap().clone();
        balancer.set_health(&target, None, expect == "UNHEALTHY").unwrap();
        until(&gateway, id, &target, expect);
    };
    check(false, false, "b.test", "HEALTHY");
    check(true, false, "a.test", "UNHEALTHY");
    check(true, true, "a.test", "HEALTHY");
    check(true, true, "b.test", "UNHEALTHY");
}

#[test]
fn traffic_tells_how_targets_are() {
    let check = |passive: Value, path: &str, requests: u32, status: u16| {
        let upstream = Upstream::start();
        let mut setup = Setup::new();
        let port = if path == "/refused" { dead_port() } else { upstream.port() };
        let target = format!("127.0.0.1:{port}");
        let fields = json!({
            "name": "a.up", "healthchecks": {"passive": {"unhealthy": passive}},
        });
        let id = setup.upstream_with(fields, &[(&target, 100)]);
        let service = json!({"host": "a.up", "port": 80, "retries": 0, "read_timeout": 200});
        let service = setup.service(service);
        setup.route(json!({"paths": ["/"], "service": service}));
        let gateway = setup.start();
        for _ in 0..requests {
            assert_eq!(health(&gateway.snapshots.load(), id, &target), "HEALTHY", "{path}");
            assert_eq!(gateway.get(path).status, status, "{path}");
        }
        until(&gateway, id, &target, "UNHEALTHY");
        assert_eq!(gateway.get("/").status, 503, "{path}");
    };
    check(json!({"http_failures": 2, "http_statuses": [500]}), "/status/500", 2, 500);
    check(json!({"tcp_failures": 3}), "/refused", 3, 502);
    check(json!({"tcp_failures": 2}), "/close", 2, 502);
    check(json!({"timeouts": 1}), "/delay/2000", 1, 504);
}

#[test]
fn what_is_known_survives_edits_and_reloads() {
    let upstream = Upstream::start();
    let mut setup = Setup::new();
    let targets = [upstream.port(), dead_port()].map(|port| format!("127.0.0.1:{port}"));
    let fields = |slots: u32| {
        let passive = json!({"unhealthy": {"tcp_failures": 1}});
        json!({"name": "a.up", "slots": slots, "healthchecks": {"passive": passive}})
    };
    let both = [(targets[0].as_str(), 100), (targets[1].as_str(), 100)];
    let id = setup.upstream_with(fields(1000), &both);
    setup.serve_host("a.up", 80, &json!({"retries": 5}));
    let mut gateway = setup.start();
    for _ in 0..4 {
        assert_eq!(gateway.get("/a.up").status, 200);
    }
    until(&gateway, id, &targets[1], "UNHEALTHY");
    // Another field of the upstream, and one more target.
    let edited = gateway.setup.edit_upstream(0, &fields(2000));
    assert_eq!(edited, id);
    gateway.reload();
    assert_eq!(health(&gateway.snapshots.load(), id, &targets[1]), "UNHEALTHY");
    // A new generation that has compiled everything anew.
    let Setup { parts, registry, config, .. } = &gateway.setup;
    let anew = Snapshot::compile(parts.clone(), registry, config, None).unwrap();
    let anew = Arc::new(arc_swap::ArcSwap::from_pointee(anew));
    let next = start_after(config.clone(), anew.clone(), gateway.handle.as_ref()).unwrap();
    assert_eq!(health(&anew.load(), id, &targets[1]), "UNHEALTHY");
    gateway.handle = Some(next);
    // Without checks nothing stays marked.
    gateway.snapshots = anew;
    gateway.setup.edit_upstream(0, &json!({"name": "a.up"}));
    gateway.reload();
    assert_eq!(health(&gateway.snapshots.load(), id, &targets[1]), "HEALTHCHECKS_OFF");
    let balancer = gateway.snapshots.load().balancer(id).unwrap().clone();
    assert_eq!(balancer.health()["details"]["weight"]["available"], 200);
}

#[test]
fn targets_are_set_by_hand() {
    let mut setup = Setup::new();
    let passive = json!({"unhealthy": {"tcp_failures": 1}});
    let fields = json!({"name": "a.up", "healthchecks": {"threshold": 50, "passive": passive}});
    let id = setup.upstream_with(fields, &[("127.0.0.1:1", 30), ("127.0.0.2:1", 70)]);
    let off = setup.upstream_with(json!({"name": "off.up"}), &[("127.0.0.1:1", 1)]);
    let gateway = setup.start();
    let snapshot = gateway.snapshots.load();
    let balancer = snapshot.balancer(id).unwrap();
    let check = |target: &str, address: Option<&str>, healthy: bool, whole: &str| {
        balancer.set_health(target, address, healthy).unwrap();
        assert_eq!(balancer.health()["balancer_health"], whole, "{target} {healthy}");
    };
    check("127.0.0.1:1", None, false, "HEALTHY");
    check("127.0.0.2:1", Some("127.0.0.2:2"), false, "HEALTHY");
    check("127.0.0.2:1", Some("127.0.0.2:1"), false, "UNHEALTHY");
    check("127.0.0.1:1", None, true, "UNHEALTHY");
    check("127.0.0.2:1", None, true, "HEALTHY");
    let refused = snapshot.balancer(off).unwrap().set_health("127.0.0.1:1", None, false);
    assert_eq!(refused, Err("no healthchecker found for off.up".to_owned()));
}
