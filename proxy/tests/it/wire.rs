//! HTTP/1.1 as it is on the wire: what no well-behaved client or upstream sends, and when who may
//! say what.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use serde_json::json;
use silverback_e2e::upstream::Upstream;

use crate::kit::{Gateway, Setup};

/// Sends bytes and gives all that comes back until the gateway closes.
fn exchange(gateway: &Gateway, sent: &[u8]) -> String {
    let mut stream = connect(gateway);
    stream.write_all(sent).unwrap();
    rest(&mut stream)
}

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(&gateway.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // What matters is what came before the end.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads up to the end of a head.
fn head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// An upstream that says this to every request and closes; its port.
fn says(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            head(&mut stream);
            let _ = stream.write_all(answer);
            let _ = stream.shutdown(Shutdown::Write);
            // Until the gateway has had enough, so that nothing is lost.
            std::thread::spawn(move || rest(&mut stream));
        }
    });
    port
}

fn serving(port: u16) -> Gateway {
    let mut setup = Setup::new();
    let service = setup.service(json!({"port": port, "retries": 0, "read_timeout": 2000}));
    setup.route(json!({"paths": ["/"], "service": service}));
    setup.start()
}

#[test]
fn what_is_no_request_is_refused_and_reaches_nobody() {
    let upstream = Upstream::start();
    let gateway = Setup::new().serve(upstream.port()).start();
    let check = |sent: &[u8], status: u16| {
        let begin = Instant::now();
        let answer = exchange(&gateway, sent);
        let shown = String::from_utf8_lossy(sent);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
        assert!(answer.contains("Connection: close\r\n"), "{shown:?}: {answer}");
        assert!(answer.to_lowercase().contains("x-kong-request-id: "), "{shown:?}: {answer}");
        assert!(begin.elapsed() < Duration::from_secs(8), "{shown:?}");
    };
    check(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400);
    check(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501);
    check(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400);
    check(b"GET / HTTP/1.1\nHost: a\n\n", 400);
    check(b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505);
    // Not even a method: there is nothing to wait for.
    check(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400);
    check(&[b"GET /", &[b'a'; 70_000][..]].concat(), 414);
    check(&[b"GET / HTTP/1.1\r\nX: ", &[b'a'; 70_000][..]].concat(), 400);
    check(&[b"GET /", &[b'a'; 8_200][..]].concat(), 414);
    check(&[b"GET / HTTP/1.1\r\nX: ", &[b'a'; 8_200][..], b"\r\n\r\n"].concat(), 400);
    assert!(upstream.take_seen().is_empty());
}

/// Plugins for all requests see what was asked for, as far as it could be read.
#[test]
fn what_is_refused_is_logged_with_what_could_be_read() {
    let (lines, logged) = std::sync::mpsc::channel();
    let lines = std::sync::Mutex::new(lines);
    let mut setup = Setup::new();
    let lines = std::sync::Arc::new(lines);
    setup.plugin("log", 1, move |_| {
        let lines = lines.clone();
        silverback_pdk::Phases {
            log: Some(silverback_pdk::Handler::now(move |exchange| {
                let request = &exchange.request;
                let line = format!("{} {} {:?}", request.method, request.target, request.query);
                lines.lock().unwrap().send((exchange.response.status.as_u16(), line)).unwrap();
                silverback_pdk::Flow::Next
            })),
            ..silverback_pdk::Phases::default()
        }
    });
    setup.using(json!({"name": "log"}));
    let gateway = setup.start();
    let check = |sent: &[u8], status: u16, line: &str| {
        exchange(&gateway, sent);
        let got = logged.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(got, (status, line.to_owned()));
    };
    let long = [b'a'; 9_000];
    check(&[b"POST /", &long[..]].concat(), 414, "POST  None");
    let sent = [b"POST /x?foo=bar HTTP/1.1\r\nX: ", &long[..], b"\r\n\r\n"].concat();
    check(&sent, 400, "POST /x?foo=bar Some(\"foo=bar\")");
    check(b"PUT /y HTTP/1.1\r\nno colon\r\n\r\n", 400, "PUT /y None");
}

/// As nginx has it: what bounds headers is their size.
#[test]
fn there_may_be_many_headers() {
    let upstream = Upstream::start();
    let gateway = Setup::new().serve(upstream.port()).start();
    let many: String = (0..900).map(|number| format!("X-{number}: {number}\r\n")).collect();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{many}\r\n");
    let answer = exchange(&gateway, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"899\""), "{answer}");
}

#[test]
fn what_follows_a_broken_request_is_no_request() {
    let upstream = Upstream::start();
    let gateway = Setup::new().serve(upstream.port()).start();
    for broken in [
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
    ] {
        let answer =
            exchange(&gateway, format!("{broken}GET /b HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{broken:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{broken:?}: {answer}");
    }
    assert!(upstream.take_seen().is_empty());
}

#[test]
fn a_client_that_breaks_off_reaches_nobody() {
    let upstream = Upstream::start();
    let gateway = Setup::new().serve(upstream.port()).start();
    for piece in [
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        let mut stream = connect(&gateway);
        stream.write_all(piece.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = rest(&mut stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{piece:?}: {answer}");
    }
    assert!(upstream.take_seen().is_empty());
}

#[test]
fn an_answer_that_could_mean_two_things_is_none() {
    let check = |answer: &'static [u8], status: u16| {
        let gateway = serving(says(answer));
        let shown = String::from_utf8_lossy(answer);
        let got = gateway.get("/");
        assert_eq!(got.status, status, "{shown:?}");
    };
    check(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200);
    check(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200);
    check(b"HTTP/1.1 200\r\n\r\nok", 200);
    check(
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n\
          HTTP/1.1 201 Ok\r\nContent-Length: 0\r\n\r\n",
        201,
    );
    check(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        502,
    );
    check(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", 502);
    check(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", 502);
    check(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502);
    check(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 502);
    check(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 502);
    check(b"HTTP/1.1 200 OK\r\nContent-Le", 502);
    check(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", 502);
    check(b"\x15\x03\x01\x00\x02\x02\x50", 502);
    check(b"", 502);
}

#[test]
fn answers_that_break_off_are_cut_short() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxx\r\n",
    ] {
        let got = serving(says(answer)).get("/");
        let shown = String::from_utf8_lossy(answer);
        assert_eq!((got.status, got.truncated), (200, true), "{shown:?}");
    }
}

#[test]
fn requests_that_come_at_once_are_answered_in_order() {
    let upstream = Upstream::start();
    let gateway = Setup::new().serve(upstream.port()).start();
    let one =
        |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    let last = "\r\nGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = exchange(&gateway, [&one("/1"), &one("/2"), last].concat().as_bytes());
    let places: Vec<_> = ["\"/1\"", "\"/2\"", "\"/3\""].iter().map(|p| answer.find(p)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 3, "{answer}");
}

#[test]
fn the_connection_stays_open_as_the_client_has_it() {
    let upstream = Upstream::start();
    let gateway = Setup::new().serve(upstream.port()).start();
    let check = |first: &str, stays: bool| {
        let mut stream = connect(&gateway);
        stream.write_all(first.as_bytes()).unwrap();
        let answer = head(&mut stream).to_lowercase();
        let length = answer.split("content-length: ").nth(1).and_then(|l| l.lines().next());
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let more = rest(&mut stream);
        assert_eq!(more.starts_with("HTTP/1.1 200"), stays, "{first:?}: {answer} {more}");
        assert_eq!(answer.contains("connection: close"), !stays, "{first:?}: {answer}");
    };
    check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
    check("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", false);
    check("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n", false);
    check("GET / HTTP/1.0\r\nHost: a\r\n\r\n", false);
    check("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n", true);
    // A body that nobody wanted is read nevertheless: the next request starts after it.
    check("GET /bytes/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", true);
}

#[test]
fn a_connection_serves_so_many_requests() {
    let upstream = Upstream::start();
    let mut setup = Setup::new().serve(upstream.port());
    setup.config.limits.requests_per_connection = 2;
    let gateway = setup.start();
    let answer = exchange(&gateway, "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3).as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    assert_eq!(answer.matches("Connection: close").count(), 1, "{answer}");
}

#[test]
fn who_waits_for_a_go_ahead_gets_it_if_the_body_is_wanted() {
    let upstream = Upstream::start();
    let gateway = Setup::new().serve(upstream.port()).start();
    let request = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n"
        )
    };
    let mut stream = connect(&gateway);
    stream.write_all(request("/").as_bytes()).unwrap();
    assert_eq!(head(&mut stream), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").unwrap();
    let answer = head(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // Where it is not wanted, the answer comes at once, and the connection ends.
    let mut stream = connect(&gateway);
    stream.write_all(request("/%zz").as_bytes()).unwrap();
    let answer = head(&mut stream);
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("Connection: close"),
        "{answer}"
    );
}

#[test]
fn an_upstream_may_answer_before_it_has_been_sent_everything() {
    let gateway = serving(says(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"));
    let mut stream = connect(&gateway);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[b'x'; 50_000]).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nno"), "{answer}");
}

#[test]
fn trailers_pass_where_they_were_announced() {
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                   2\r\nok\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n";
    let gateway = serving(says(answer));
    let asked = |te: &str| {
        exchange(
            &gateway,
            format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{te}\r\n").as_bytes(),
        )
    };
    let got = asked("TE: trailers\r\n");
    assert!(got.ends_with("2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"), "{got}");
    let got = asked("");
    assert!(got.ends_with("2\r\nok\r\n0\r\n\r\n"), "{got}");
}

#[test]
fn old_clients_get_no_chunks() {
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let gateway = serving(says(answer));
    let got = exchange(&gateway, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(got.starts_with("HTTP/1.0 200") && got.ends_with("\r\n\r\nok"), "{got}");
    assert!(!got.to_lowercase().contains("transfer-encoding"), "{got}");
}

#[test]
fn what_no_uri_may_hold_passes_as_it_came() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstream = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        head
    });
    let gateway = serving(port);
    let request = b"GET /x?\xe9=\"<{|}>`^\xc3\xa9 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = exchange(&gateway, request);
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    let head = upstream.join().unwrap();
    assert!(head.starts_with(b"GET /x?\xe9=\"<{|}>`^\xc3\xa9 HTTP/1.1\r\n"));
    // Bytes in the path that are no text lead nowhere.
    let answer = exchange(&gateway, b"GET /\xe9 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}
