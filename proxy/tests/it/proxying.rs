//! What upstreams get, and what clients get of them.

use std::io::{Read, Write};

use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use silverback_e2e::{http::Request, upstream::Upstream};
use silverback_proxy::AddedHeader;

use crate::kit::Setup;

/// The headers that an upstream got, less those that differ from run to run.
fn seen(answer: &silverback_e2e::http::Answer) -> Vec<(String, String)> {
    let account = answer.json();
    let lines = account["headers"].as_array().unwrap().iter();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let mut lines: Vec<_> = lines.map(|l| (text(&l[0]).to_lowercase(), text(&l[1]))).collect();
    lines.retain(|(name, _)| name != "x-kong-request-id" && name != "connection");
    lines.sort();
    lines
}

#[test]
fn upstreams_are_told_of_the_client() {
    let upstream = Upstream::start();
    let mut setup = Setup::new();
    let service = setup.service(json!({"port": upstream.port(), "path": "/base"}));
    setup.route(json!({"paths": ["/p"], "service": service}));
    let gateway = setup.start();
    let port = gateway.address.rsplit(':').next().unwrap().to_owned();
    let request = Request::get("/p/x?a=1")
        .header("Host", "Shop.Test:8080")
        .header("X-Forwarded-For", "203.0.113.9")
        .header("X-Forwarded-Proto", "https")
        .header("Connection", "keep-alive, X-Drop")
        .header("X-Drop", "1")
        .header("Keep-Alive", "timeout=5")
        .header("TE", "gzip")
        .header("Upgrade", "h2c")
        .header("X-MiXeD", "1");
    let answer = gateway.ask(&request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expect = [
        ("host", format!("127.0.0.1:{}", upstream.port())),
        ("via", "1.1 silverback/0.1.0".to_owned()),
        ("x-forwarded-for", "203.0.113.9, 127.0.0.1".to_owned()),
        ("x-forwarded-host", "shop.test".to_owned()),
        ("x-forwarded-path", "/p/x".to_owned()),
        ("x-forwarded-port", port),
        ("x-forwarded-prefix", "/p".to_owned()),
        ("x-forwarded-proto", "http".to_owned()),
        ("x-mixed", "1".to_owned()),
        ("x-real-ip", "127.0.0.1".to_owned()),
    ];
    assert_eq!(seen(&answer), expect.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!(answer.json()["target"], "/base/x?a=1");
    let names = answer.json()["headers"].to_string();
    assert!(names.contains("X-MiXeD") && names.contains("X-Forwarded-For"), "{names}");
    assert_eq!(answer.header("via"), Some("1.1 silverback/0.1.0"));
    assert_eq!(answer.header("x-kong-request-id").map(str::len), Some(32));
    assert!(answer.header("x-kong-upstream-latency").is_some());
    assert!(answer.header("x-kong-proxy-latency").is_some());
    assert!(answer.header("x-kong-response-latency").is_none());
}

#[test]
fn connections_are_used_again_on_both_sides() {
    let upstream = Upstream::start();
    let gateway = Setup::new().serve(upstream.port()).start();
    let mut connection = gateway.connect();
    for n in 0..5 {
        let answer = connection.ask(&Request::get(&format!("/{n}")), true).unwrap();
        assert_eq!(answer.json()["target"], format!("/{n}"));
    }
    let totals = gateway.handle.as_ref().unwrap().stats().totals();
    assert_eq!((totals.accepted, totals.requests, totals.active), (1, 5, 1));
}

#[test]
fn no_route_is_answered_by_the_gateway() {
    let gateway = Setup::new().start();
    let answer = gateway.get("/");
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["message"], "no Route matched with those values");
    assert_eq!(answer.header("server"), Some("silverback/0.1.0"));
    assert!(answer.header("x-kong-response-latency").is_some());
    assert!(answer.header("via").is_none());
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
}

#[test]
fn bodies_pass_both_ways() {
    let upstream = Upstream::start();
    let gateway = Setup::new().serve(upstream.port()).start();
    let big = "y".repeat(3 << 20);
    let answer = gateway.ask(&Request::new("POST", "/").body(big.clone()));
    assert_eq!(answer.json()["body"].as_str().map(str::len), Some(big.len()));
    let answer = gateway.get("/bytes/1000000");
    assert_eq!((answer.body.len(), answer.truncated), (1_000_000, false));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
    let answer = gateway.get("/chunked/3");
    assert_eq!(answer.text(), "chunk 1\nchunk 2\nchunk 3\n");
    let chunked = Request::new("POST", "/")
        .header("Transfer-Encoding", "chunked")
        .body("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    let answer = gateway.ask(&chunked);
    assert_eq!(answer.json()["body"], "hello world");
    assert!(seen(&answer).contains(&("content-length".to_owned(), "11".to_owned())));
    let answer = gateway.ask(&Request::new("HEAD", "/bytes/5000"));
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("5000")));
    for status in [204, 304] {
        assert_eq!(gateway.get(&format!("/status/{status}")).status, status);
    }
}

#[test]
fn requests_that_are_wrong_are_refused() {
    let upstream = Upstream::start();
    let gateway = Setup::new().serve(upstream.port()).start();
    let check = |request: &str, expect: &str| {
        let mut stream = std::net::TcpStream::connect(&gateway.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // What matters is what came before the end.
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with(expect), "{request:?}: {answer}");
    };
    check("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 400");
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", "HTTP/1.1 400");
    check("GET /%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 400");
    check("GET /../.. HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 400");
    check("TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 405");
    check("GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n 2\r\nConnection: close\r\n\r\n", "HTTP/1.1 400");
    check("get / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 400");
    check("GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200");
    assert!(upstream.take_seen().len() == 1);
}

#[test]
fn bodies_over_the_limit_are_refused() {
    let upstream = Upstream::start();
    let mut setup = Setup::new().serve(upstream.port());
    let mut node = (*setup.config.node).clone();
    node.body_max = 1024;
    setup.config.node = node.into();
    let gateway = setup.start();
    let body = |size| Request::new("POST", "/").body("x".repeat(size));
    assert_eq!(gateway.ask(&body(1024)).status, 200);
    let refused = gateway.ask(&body(1025));
    assert_eq!(refused.status, 413);
    assert!(refused.header("x-kong-response-latency").is_some());
    let chunk = format!("401\r\n{}\r\n0\r\n\r\n", "y".repeat(1025));
    let chunked = Request::new("POST", "/").header("Transfer-Encoding", "chunked").body(chunk);
    let refused = gateway.ask(&chunked);
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(refused.header("x-kong-proxy-latency").is_some());
}

#[test]
fn https_routes_send_plain_requests_elsewhere() {
    let mut setup = Setup::new();
    let service = setup.service(json!({"port": 9}));
    setup.route(json!({"paths": ["/up"], "protocols": ["https"], "service": service}));
    setup.route(json!({
        "paths": ["/move"], "protocols": ["https"], "service": service,
        "https_redirect_status_code": 301,
    }));
    setup.route(json!({"paths": ["/none"]}));
    let gateway = setup.start();
    let answer = gateway.get("/up");
    assert_eq!((answer.status, answer.header("upgrade")), (426, Some("TLS/1.2, HTTP/1.1")));
    let answer = gateway.get("/move/x?y=1");
    assert_eq!(answer.status, 301);
    assert_eq!(answer.header("location"), Some("https://example.test/move/x?y=1"));
    assert_eq!(answer.header("content-type"), Some("text/html"));
    let answer = gateway.get("/none");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["message"], "no Service found with those values");
}

#[test]
fn other_protocols_pass_once_both_sides_agree() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstream = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                      Connection: Upgrade\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(&word).unwrap();
        String::from_utf8(head).unwrap()
    });
    let gateway = Setup::new().serve(port).start();
    let mut stream = std::net::TcpStream::connect(&gateway.address).unwrap();
    let request = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    stream.write_all(b"ping").unwrap();
    let mut word = [0; 4];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"ping");
    let head = upstream.join().unwrap().to_lowercase();
    assert!(head.contains("upgrade: websocket"), "{head}");
}

#[test]
fn a_trusted_proxy_speaks_for_its_client() {
    let upstream = Upstream::start();
    let mut setup = Setup::new().serve(upstream.port());
    let mut node = (*setup.config.node).clone();
    node.trusted_ips = vec!["127.0.0.1/32".parse().unwrap()];
    setup.config.node = node.into();
    let gateway = setup.start();
    let check = |headers: &[(&str, &str)], expect: [(&str, &str); 3]| {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let seen = seen(&gateway.ask(&request));
        for (name, value) in expect {
            assert!(seen.contains(&(name.to_owned(), value.to_owned())), "{name}: {seen:?}");
        }
    };
    check(
        &[("X-Real-IP", "203.0.113.5"), ("X-Forwarded-Proto", "https")],
        [
            ("x-real-ip", "203.0.113.5"),
            ("x-forwarded-for", "203.0.113.5"),
            ("x-forwarded-proto", "https"),
        ],
    );
    check(
        &[("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Host", "a.b")],
        [
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-for", "203.0.113.7, 127.0.0.1"),
            ("x-forwarded-host", "a.b"),
        ],
    );
}

#[test]
fn a_proxy_header_names_the_client() {
    let upstream = Upstream::start();
    let mut setup = Setup::new().serve(upstream.port());
    setup.config.listeners[0].proxy_protocol = true;
    setup.config.real_ip.header = None;
    let mut node = (*setup.config.node).clone();
    node.trusted_ips = vec!["127.0.0.1/32".parse().unwrap()];
    setup.config.node = node.into();
    let gateway = setup.start();
    let mut stream = std::net::TcpStream::connect(&gateway.address).unwrap();
    let head = "PROXY TCP4 203.0.113.5 10.0.0.1 4000 80\r\n\
                GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(r#"["X-Real-IP","203.0.113.5"]"#), "{answer}");
}

#[test]
fn every_request_has_a_line_in_the_access_log() {
    let upstream = Upstream::start();
    let mut setup = Setup::new().serve(upstream.port());
    let file = format!("silverback-access-{}.log", std::process::id());
    let file = std::env::temp_dir().join(file);
    setup.config.access_log = Some(file.clone().into());
    let gateway = setup.start();
    let request = Request::get("/bytes/10?a=1").header("User-Agent", "me \"too\"");
    let id = gateway.ask(&request).header("x-kong-request-id").unwrap().to_owned();
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    let limit = std::time::Duration::from_secs(5);
    silverback_e2e::wait::wait_until("a line", limit, || read().ends_with('\n'));
    let line = read();
    std::fs::remove_file(&file).unwrap();
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    let expect = format!(
        "] \"GET /bytes/10?a=1 HTTP/1.1\" 200 10 \"-\" \"me \\x22too\\x22\" \
         kong_request_id: \"{id}\"\n"
    );
    assert!(line.ends_with(&expect), "{line}");
}

#[test]
fn users_add_headers_to_answers() {
    let upstream = Upstream::start();
    let mut setup = Setup::new();
    let header = |name, value, always| AddedHeader {
        name: HeaderName::from_static(name),
        value: HeaderValue::from_static(value),
        always,
    };
    setup.config.added_headers =
        vec![header("x-good", "1", false), header("x-all", "2", true), header("x-all", "3", true)];
    let service = setup.service(json!({"port": upstream.port()}));
    setup.route(json!({"paths": ["/p"], "service": service}));
    let gateway = setup.start();
    let check = |target: &str, good: Option<&str>| {
        let answer = gateway.get(target);
        assert_eq!(answer.header("x-good"), good, "{target}");
        let all = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-all"));
        assert_eq!(all.count(), 2, "{target}");
    };
    check("/p", Some("1"));
    check("/nowhere", None);
}
