//! Upstreams that refuse, keep silent, break off; clients that go away.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;
use silverback_e2e::{http::Request, upstream::Upstream, wait::wait_until};
use silverback_pdk::{Flow, Handler, Phases};

use crate::kit::{Setup, dead_port, read_head};

#[test]
fn an_upstream_that_refuses_gives_502() {
    let mut setup = Setup::new();
    let service = setup.service(json!({"port": dead_port(), "retries": 2}));
    setup.route(json!({"paths": ["/"], "service": service}));
    let answer = setup.start().get("/");
    assert_eq!(answer.status, 502);
    assert!(answer.text().starts_with("An invalid response was received from the upstream server"));
    assert!(answer.header("via").is_some());
}

#[test]
fn an_upstream_that_keeps_silent_gives_504() {
    let upstream = Upstream::start();
    let mut setup = Setup::new();
    let service =
        setup.service(json!({"port": upstream.port(), "retries": 0, "read_timeout": 100}));
    setup.route(json!({"paths": ["/"], "service": service}));
    let gateway = setup.start();
    let begin = Instant::now();
    assert_eq!(gateway.get("/delay/3000").status, 504);
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(gateway.get("/delay/10").status, 200);
}

#[test]
fn an_upstream_that_closes_gives_502() {
    let upstream = Upstream::start();
    let mut setup = Setup::new();
    let service = setup.service(json!({"port": upstream.port(), "retries": 1}));
    setup.route(json!({"paths": ["/"], "service": service}));
    let gateway = setup.start();
    assert_eq!(gateway.get("/close").status, 502);
    // Once more, since a GET is safe to send again; a POST is not.
    assert_eq!(upstream.take_seen().len(), 2);
    assert_eq!(gateway.ask(&Request::new("POST", "/close").body("x")).status, 502);
    assert_eq!(upstream.take_seen().len(), 1);
}

#[test]
fn another_target_is_asked_where_one_refuses() {
    let upstream = Upstream::start();
    let mut setup = Setup::new();
    let host = "some.up";
    setup.upstream(host, &[dead_port(), upstream.port()]);
    let service = setup.service(json!({"host": host, "port": 80, "retries": 5}));
    setup.route(json!({"paths": ["/"], "service": service}));
    setup.upstream("empty.up", &[]);
    let service = setup.service(json!({"host": "empty.up", "port": 80}));
    setup.route(json!({"paths": ["/empty"], "service": service}));
    let gateway = setup.start();
    for _ in 0..4 {
        assert_eq!(gateway.get("/").status, 200);
        let answer = gateway.ask(&Request::new("POST", "/").body("data"));
        assert_eq!(answer.json()["body"], "data");
    }
    let answer = gateway.get("/empty");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["message"], "failure to get a peer from the ring-balancer");
}

#[test]
fn a_name_without_an_address_gives_503() {
    let mut setup = Setup::new();
    let service = setup.service(json!({"host": "nothing.invalid", "port": 80}));
    setup.route(json!({"paths": ["/"], "service": service}));
    let answer = setup.start().get("/");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["message"], "name resolution failed");
}

/// An upstream that closes each connection after its first answer, without saying so.
fn forgetful() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            read_head(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            // Left open for a moment, so that the gateway takes it for an idle one.
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    port
}

#[test]
fn an_idle_connection_that_was_closed_is_no_failure() {
    let mut setup = Setup::new();
    let service = setup.service(json!({"port": forgetful(), "retries": 0}));
    setup.route(json!({"paths": ["/"], "service": service}));
    let gateway = setup.start();
    for pause in [0, 19, 20, 21, 40] {
        assert_eq!(gateway.get("/").text(), "ok");
        std::thread::sleep(Duration::from_millis(pause));
    }
}

#[test]
fn an_answer_that_breaks_off_is_cut_short() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
    });
    let answer = Setup::new().serve(port).start().get("/");
    assert_eq!((answer.status, answer.truncated), (200, true));
}

#[test]
fn a_client_that_goes_away_is_logged() {
    let upstream = Upstream::start();
    let logged: Arc<Mutex<Vec<u16>>> = Arc::default();
    let lines = logged.clone();
    let mut setup = Setup::new().serve(upstream.port());
    setup.plugin("log", 1, move |_| {
        let lines = lines.clone();
        Phases {
            log: Some(Handler::now(move |exchange| {
                lines.lock().unwrap().push(exchange.response.status.as_u16());
                Flow::Next
            })),
            ..Phases::default()
        }
    });
    setup.using(json!({"name": "log"}));
    let gateway = setup.start();
    let mut stream = TcpStream::connect(&gateway.address).unwrap();
    stream.write_all(b"GET /delay/1000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(stream);
    wait_until("the line", Duration::from_secs(5), || !logged.lock().unwrap().is_empty());
    assert_eq!(*logged.lock().unwrap(), [499]);
    let stats = gateway.handle.as_ref().unwrap().stats().clone();
    wait_until("no connection", Duration::from_secs(5), || stats.totals().active == 0);
    assert_eq!(stats.totals().writing, 0);
}
