//! Upstreams and clients that stop where they should go on, one stage after the other; how often
//! such a request is tried, and that none is whose body can't be sent again.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use silverback_e2e::{http::Request, wait::wait_until};
use socket2::{Domain, SockRef, Socket, Type};

use crate::kit::{Gateway, Setup, read_head};

/// How long the gateway waits here.
const SHORT: u64 = 200;
/// What no wait of the gateway may come near: its own limits are a minute, or an hour.
const LONG: Duration = Duration::from_secs(30);

/// A server that does this with each connection; its port, and how many there were.
fn server(act: fn(TcpStream)) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Relaxed);
            thread::spawn(move || act(stream));
        }
    });
    (port, count)
}

/// Until the gateway has had enough.
fn wait_for_end(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
}

/// A gateway with a service of these fields on a port.
fn gateway(port: u16, service: &Value, buffering: bool) -> Gateway {
    let mut setup = Setup::new();
    let mut fields = json!({"port": port, "connect_timeout": 60_000, "write_timeout": 60_000});
    fields["read_timeout"] = 60_000.into();
    fields.as_object_mut().unwrap().extend(service.as_object().unwrap().clone());
    let service = setup.service(fields);
    setup.route(json!({"paths": ["/"], "service": service, "request_buffering": buffering}));
    setup.start()
}

#[test]
fn a_server_that_takes_no_connection_gives_504() {
    // Connections beyond those that it would still take wait for ever.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let waiting: Vec<Socket> = (0..4)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address);
            socket
        })
        .collect();
    let port = address.as_socket().unwrap().port();
    let gateway = gateway(port, &json!({"connect_timeout": SHORT, "retries": 2}), true);
    for method in ["GET", "POST"] {
        let began = Instant::now();
        assert_eq!(gateway.ask(&Request::new(method, "/").body("x")).status, 504);
        let tries = began.elapsed().as_millis() / u128::from(SHORT);
        assert!(tries >= 3 && began.elapsed() < LONG, "{tries}");
    }
    drop(waiting);
}

#[test]
fn a_handshake_that_comes_to_nothing_fails_the_try() {
    let reset = |stream: TcpStream| {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    };
    let garbage = |mut stream: TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        wait_for_end(stream);
    };
    let cases = [
        ("silent", wait_for_end as fn(TcpStream), 504),
        ("closed", drop, 502),
        ("reset", reset, 502),
        ("plain", garbage, 502),
    ];
    for (name, act, status) in cases {
        let (port, count) = server(act);
        let fields = json!({
            "connect_timeout": SHORT, "retries": 2, "protocol": "https", "host": "localhost",
        });
        let gateway = gateway(port, &fields, true);
        for (method, tries) in [("GET", 3), ("POST", 6)] {
            let began = Instant::now();
            let answer = gateway.ask(&Request::new(method, "/").body("x"));
            assert_eq!(answer.status, status, "{name} {method}");
            assert!(began.elapsed() < LONG, "{name} {method}");
            // Nothing of the request was sent, so that a POST is as good as a GET.
            assert_eq!(count.load(Relaxed), tries, "{name} {method}");
        }
    }
}

/// More than all buffers between two ends take.
const LARGE: usize = 32 << 20;

#[test]
fn a_server_that_does_not_read_the_body_gives_504() {
    let (port, count) = server(|mut stream| {
        read_head(&mut stream);
        // It has not gone; it only takes nothing any more.
        thread::sleep(LONG * 2);
        drop(stream);
    });
    for buffering in [true, false] {
        let tried = count.load(Relaxed);
        let gateway = gateway(port, &json!({"write_timeout": SHORT, "retries": 3}), buffering);
        let began = Instant::now();
        let answer = gateway.ask(&Request::new("PUT", "/").body(vec![b'x'; LARGE]));
        assert_eq!(answer.status, 504);
        assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
        // What has been passed on can't be sent again.
        assert_eq!(count.load(Relaxed) - tried, 1);
    }
}

#[test]
fn a_server_that_reads_slowly_is_waited_for() {
    let (port, _) = server(|mut stream| {
        let head = read_head(&mut stream);
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut left: usize = length.unwrap().parse().unwrap();
        let mut buffer = vec![0; 1 << 18];
        while left > 0 {
            // In all far longer than the gateway may wait at once.
            thread::sleep(Duration::from_millis(30));
            left -= stream.read(&mut buffer).unwrap();
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let mut setup = Setup::new();
    let mut node = silverback_pdk::Node::clone(&setup.config.node);
    // The whole of it is at hand before the upstream is asked.
    node.body_buffer_max = 2 * LARGE as u64;
    setup.config.node = Arc::new(node);
    let service = setup.service(json!({"port": port, "write_timeout": 2000, "retries": 0}));
    setup.route(json!({"paths": ["/"], "service": service, "request_buffering": true}));
    let gateway = setup.start();
    let answer = gateway.ask(&Request::new("PUT", "/").body(vec![b'x'; LARGE]));
    assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()));
}

/// How often an upstream is asked that closes once it has read a request's head.
#[test]
fn what_can_not_be_sent_again_is_not() {
    let (port, count) = server(|mut stream| drop(read_head(&mut stream)));
    let small = || b"small".to_vec();
    let large = || vec![b'x'; LARGE];
    let cases: [(&str, Option<Vec<u8>>, bool, usize); 9] = [
        ("GET", None, true, 4),
        ("GET", None, false, 4),
        ("PUT", Some(small()), true, 4),
        ("DELETE", Some(small()), true, 4),
        // It may have done what it was asked.
        ("POST", Some(small()), true, 1),
        ("POST", None, true, 1),
        ("PATCH", Some(small()), true, 1),
        // What was passed on is gone.
        ("PUT", Some(large()), true, 1),
        ("PUT", Some(small()), false, 1),
    ];
    for (method, body, buffering, tries) in cases {
        let gateway = gateway(port, &json!({"retries": 3}), buffering);
        let before = count.load(Relaxed);
        let size = body.as_ref().map(Vec::len);
        let request = Request { body, ..Request::new(method, "/") };
        assert_eq!(gateway.ask(&request).status, 502, "{method} {size:?} {buffering}");
        let tried = count.load(Relaxed) - before;
        assert_eq!(tried, tries, "{method} {size:?} {buffering}");
    }
}

/// A connection that served before, and is reset as the next request comes in.
#[test]
fn a_connection_that_is_closed_as_it_is_used_again_is_no_try() {
    let (port, count) = server(|mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        if !read_head(&mut stream).is_empty() {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    });
    let gateway = {
        let mut setup = Setup::new();
        let mut node = silverback_pdk::Node::clone(&setup.config.node);
        node.workers = 1;
        setup.config.node = Arc::new(node);
        let service = setup.service(json!({"port": port, "retries": 0}));
        setup.route(json!({"paths": ["/"], "service": service}));
        setup.start()
    };
    // The first makes the connection, the second finds it broken and makes another.
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(count.load(Relaxed), 2);
    // A POST may have been done by then.
    assert_eq!(gateway.ask(&Request::new("POST", "/").body("x")).status, 502);
    assert_eq!(count.load(Relaxed), 2);
}

#[test]
fn a_client_that_does_not_go_on_is_given_up() {
    let (port, count) = server(wait_for_end);
    let mut setup = Setup::new();
    setup.config.limits.body_timeout = Duration::from_millis(SHORT);
    setup.config.limits.header_timeout = Duration::from_millis(SHORT);
    let service = setup.service(json!({"port": port}));
    setup.route(json!({"paths": ["/"], "service": service}));
    let stream = json!({"paths": ["/stream"], "service": service, "request_buffering": false});
    setup.route(stream);
    let gateway = setup.start();
    let check = |sent: &str, expect: &str| {
        let mut stream = TcpStream::connect(&gateway.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(expect), "{sent:?}: {answer}");
        assert_eq!(answer.is_empty(), expect.is_empty(), "{sent:?}: {answer}");
    };
    check("", "");
    check("GET / HTTP/1.1\r\nHo", "");
    check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbody", "HTTP/1.1 408 ");
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nb",
        "HTTP/1.1 408 ",
    );
    assert_eq!(count.load(Relaxed), 0);
    check("POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbody", "HTTP/1.1 408 ");
    assert_eq!(count.load(Relaxed), 1);
    let stats = gateway.handle.as_ref().unwrap().stats();
    wait_until("no connection", LONG, || stats.totals().active == 0);
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let (port, _) = server(|mut stream| {
        read_head(&mut stream);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&vec![b'x'; LARGE]);
    });
    let mut setup = Setup::new().serve(port);
    setup.config.limits.send_timeout = Duration::from_secs(1);
    let gateway = setup.start();
    let mut stream = TcpStream::connect(&gateway.address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let stats = gateway.handle.as_ref().unwrap().stats();
    wait_until("the connection", LONG, || stats.totals().active == 1);
    wait_until("no connection", LONG, || stats.totals().active == 0);
    drop(stream);
}
