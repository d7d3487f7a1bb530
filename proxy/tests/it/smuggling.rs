//! Requests and answers that two parsers could understand differently (RFC 9112, 11.2): each is
//! refused, or reaches the other side in one form that can't be. The tables say which, by the
//! bytes that come in and those that go out. `http1/tests/it` has more of the same for the parser
//! alone.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde_json::json;

use crate::kit::{Gateway, Setup, read_head};

/// How long a side may keep silent before it is taken for done.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends bytes, and gives all that comes back until the gateway closes. What is `cut` off stays so:
/// the gateway learns that there is no more.
fn exchange(gateway: &Gateway, sent: &[u8], cut: bool) -> String {
    let mut stream = TcpStream::connect(&gateway.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(sent).unwrap();
    if cut {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut answer = Vec::new();
    // A reset takes nothing back that came before it.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Takes away what the gateway says of itself and of the moment.
fn plain(text: &str) -> String {
    const OWN: [&str; 12] = [
        "x-forwarded-",
        "x-real-ip",
        "via",
        "x-kong-",
        "date",
        "server",
        "connection",
        "x-request-id",
        "ratelimit",
        "keep-alive",
        "user-agent",
        "age",
    ];
    let own = |line: &str| {
        let name = line.split(':').next().unwrap_or_default().to_lowercase();
        line.contains(": ") && OWN.iter().any(|own| name.starts_with(own))
    };
    text.split_inclusive("\r\n").filter(|line| !own(line)).collect()
}

/// An upstream that keeps what it is sent, byte by byte, and answers each head with 200.
struct Recorder {
    port: u16,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    fn start() -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let kept = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                thread::spawn(move || Recorder::record(stream, &kept));
            }
        });
        Recorder { port, seen }
    }

    /// Answers as soon as a request is whole, as the plainest of parsers sees it.
    fn record(mut stream: TcpStream, kept: &Mutex<Vec<u8>>) {
        loop {
            let head = read_head(&mut stream);
            if head.is_empty() {
                return;
            }
            let mut all = head.clone().into_bytes();
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let length = length.map_or(0, |length| length.parse::<usize>().unwrap());
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            all.extend(body);
            if head.contains("Transfer-Encoding: chunked") {
                let mut byte = [0];
                while !all.ends_with(b"\r\n0\r\n\r\n") {
                    stream.read_exact(&mut byte).unwrap();
                    all.push(byte[0]);
                }
            }
            kept.lock().unwrap_or_else(PoisonError::into_inner).extend(all);
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
                return;
            }
        }
    }

    fn take(&self) -> String {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        plain(&String::from_utf8_lossy(&seen))
    }
}

/// What becomes of a request.
enum Expect {
    /// It is answered with this status, reaches nobody, and the connection closes.
    Refused(u16),
    /// The upstream is sent this, but for what the gateway says of itself.
    Sent(&'static str),
    /// The client breaks off: nobody hears of it, and if there is an answer, it is 400.
    Nothing,
}

use Expect::{Nothing, Refused, Sent};

/// What follows each request on its connection. It is answered where that goes on.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

const PLAIN: Expect = Sent("GET / HTTP/1.1\r\nHost: up\r\n\r\n");

/// Requests, each with what becomes of it. `GET /evil` stands where a second request would be
/// seen by whoever takes the first for shorter than it is.
const REQUESTS: &[(&str, Expect)] = &[
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN),
    // How long the body is.
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
        Sent("POST / HTTP/1.1\r\nHost: up\r\nContent-Length: 4\r\n\r\nbody"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         2;x=y\r\nbo\r\n002\r\ndy\r\n0\r\nContent-Length: 9\r\nHost: evil\r\n\r\n",
        Sent("POST / HTTP/1.1\r\nHost: up\r\nContent-Length: 4\r\n\r\nbody"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
        Refused(400),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 36\r\n\r\n\
         GET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
        Refused(400),
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nbody", Refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nbody", Refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nbody", Refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4 0\r\n\r\nbody", Refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nbody", Refused(400)),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0004\r\n\r\nbody",
        Sent("POST / HTTP/1.1\r\nHost: up\r\nContent-Length: 4\r\n\r\nbody"),
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
        Sent("GET / HTTP/1.1\r\nHost: up\r\nContent-Length: 4\r\n\r\nbody"),
    ),
    // Codings.
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", Refused(501)),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x, chunked\r\n\r\n", Refused(501)),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", Refused(501)),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", Refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", Refused(400)),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", Refused(501)),
    ("POST / HTTP/1.1\r\nHost: a\r\n\x20Transfer-Encoding: chunked\r\n\r\n", Refused(400)),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tCHUNKED\t\r\n\r\n0\r\n\r\n",
        Sent("POST / HTTP/1.1\r\nHost: up\r\nContent-Length: 0\r\n\r\n"),
    ),
    (
        // A name of its own, as to any parser.
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n",
        Sent("POST / HTTP/1.1\r\nHost: up\r\nTransfer_Encoding: chunked\r\n\r\n"),
    ),
    // Chunks.
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\nbody\n0\n\n",
        Refused(400),
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", Refused(400)),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x4\r\nbody\r\n",
        Refused(400),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4;\nx\r\nbody\r\n",
        Refused(400),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         10000000000000004\r\nbody\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nbody\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
        Refused(400),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\nX: 1\r\n folded\r\n\r\n",
        Refused(400),
    ),
    // Lines.
    ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\nHost: a\n\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\rGET /evil HTTP/1.1\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\0\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", Refused(400)),
    ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    // The first line.
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /\r\n\r\n", Refused(400)),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Refused(505)),
    (
        "GET /a\\..\\b?\\# HTTP/1.1\r\nHost: a\r\n\r\n",
        Sent("GET /a%5C..%5Cb?\\ HTTP/1.1\r\nHost: up\r\n\r\n"),
    ),
    ("get / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    // Whom it is for.
    ("GET / HTTP/1.1\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.0\r\n\r\n", PLAIN),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a:80:90\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", Refused(400)),
    ("GET /host HTTP/1.1\r\nHost: a\r\n\r\n", Sent("GET / HTTP/1.1\r\nHost: a\r\n\r\n")),
    (
        "GET http://b:81/host?x HTTP/1.1\r\nHost: a\r\n\r\n",
        Sent("GET /?x HTTP/1.1\r\nHost: b:81\r\n\r\n"),
    ),
    ("GET http://u@b/host HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET http://:81/host HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET http://b/host HTTP/1.1\r\n\r\n", Refused(400)),
    ("GET http://b/host HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refused(400)),
    ("GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET b:80 HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("CONNECT b:80 HTTP/1.1\r\nHost: a\r\n\r\n", Refused(405)),
    ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(405)),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    // What is the connection's own.
    (
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-drop, host, content-length\r\nX-Drop: 1\r\n\
         Keep-Alive: 1\r\nProxy-Connection: x\r\nX-Keep: 1\r\n\r\n",
        Sent("GET / HTTP/1.1\r\nHost: up\r\nX-Keep: 1\r\n\r\n"),
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAA\r\n\r\n",
        PLAIN,
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\n\r\n",
        Sent("GET / HTTP/1.1\r\nHost: up\r\nTE: trailers\r\n\r\n"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
        Sent("POST / HTTP/1.1\r\nHost: up\r\nContent-Length: 4\r\n\r\nbody"),
    ),
    // What breaks off.
    ("GET / HTTP/1.1\r\nHost: a\r\n", Nothing),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nbody", Nothing),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbody", Nothing),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n", Nothing),
];

#[test]
fn each_request_has_one_meaning_or_none() {
    let recorder = Recorder::start();
    let mut setup = Setup::new();
    let service = setup.service(json!({"port": recorder.port, "retries": 0}));
    let upstream = json!({"paths": ["/"], "service": service});
    setup.route(upstream);
    setup.route(json!({"paths": ["/host"], "service": service, "preserve_host": true}));
    let gateway = setup.start();
    let own = format!("Host: 127.0.0.1:{}\r\n", recorder.port);
    for (request, expect) in REQUESTS {
        let cut = matches!(expect, Nothing);
        let next = if cut { "" } else { NEXT };
        let answer = exchange(&gateway, [request, next].concat().as_bytes(), cut);
        let seen = recorder.take().replace(&own, "Host: up\r\n");
        let final_answer = answer.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
        let status = final_answer.get(9..12).and_then(|status| status.parse::<u16>().ok());
        match expect {
            Refused(expect) => {
                assert_eq!(status, Some(*expect), "{request:?}: {answer}");
                assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answer}");
                assert_eq!(seen, "", "{request:?}");
            }
            Sent(expect) => {
                let goes_on = !request.contains(" HTTP/1.0");
                let next = "GET /next HTTP/1.1\r\nHost: up\r\n\r\n";
                let next = if goes_on { next } else { "" };
                assert_eq!(seen, [expect, next].concat(), "{request:?}: {answer}");
                assert_eq!(status, Some(200), "{request:?}: {answer}");
            }
            Nothing => {
                assert!(status.is_none_or(|status| status == 400), "{request:?}: {answer}");
                assert_eq!(seen, "", "{request:?}");
            }
        }
    }
}

/// What becomes of an answer.
struct Seen {
    /// What the client is sent, but for what the gateway says of itself.
    client: &'static str,
    /// Whether another request goes over the same connection.
    reused: bool,
}

const fn seen(client: &'static str, reused: bool) -> Seen {
    Seen { client, reused }
}

/// 502, whatever its page says.
const BAD: Seen = seen("502", false);

/// Answers, by the method that was asked with. `HTTP/1.1 299 evil` stands where a second answer
/// would be seen by whoever takes the first for shorter than it is.
const ANSWERS: &[(&str, &str, Seen)] = &[
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        seen("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        seen("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n",
        seen("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true),
    ),
    // More than was said is the next answer to nobody.
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 299 evil\r\n\r\n",
        seen("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false),
    ),
    (
        "HEAD",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        seen("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true),
    ),
    (
        "HEAD",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        seen("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", false),
    ),
    ("GET", "HTTP/1.1 204 No Content\r\n\r\n", seen("HTTP/1.1 204 No Content\r\n\r\n", true)),
    (
        "GET",
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
        seen("HTTP/1.1 204 No Content\r\n\r\n", false),
    ),
    (
        "GET",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
        seen("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", true),
    ),
    (
        "GET",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        seen("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nConnection: X-Drop\r\nX-Drop: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\n\
         Content-Length: 0\r\n\r\n",
        seen("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        BAD,
    ),
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", BAD),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", BAD),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", BAD),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", BAD),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", BAD),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", BAD),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n", BAD),
    ("GET", "HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\nContent-Length: 0\r\n\r\n", BAD),
    ("GET", "HTTP/1.1 200 OK\r\nX: 1\rSet-Cookie: evil\r\nContent-Length: 0\r\n\r\n", BAD),
    ("GET", "HTTP/1.1 200 OK\r\nX: 1\0\r\nContent-Length: 0\r\n\r\n", BAD),
    ("GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\nPRI", BAD),
    ("GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
];

/// An upstream that says this to every request, on as many connections as the gateway likes; its
/// port, and how many there were.
fn says(answer: &'static str) -> (u16, Arc<Mutex<u32>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count: Arc<Mutex<u32>> = Arc::default();
    let counted = count.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            *counted.lock().unwrap() += 1;
            thread::spawn(move || {
                while !read_head(&mut stream).is_empty()
                    && stream.write_all(answer.as_bytes()).is_ok()
                {}
            });
        }
    });
    (port, count)
}

#[test]
fn each_answer_has_one_meaning_or_none() {
    for (method, answer, Seen { client, reused }) in ANSWERS {
        let (port, connections) = says(answer);
        let mut setup = Setup::new();
        std::sync::Arc::make_mut(&mut setup.config.node).workers = 1;
        let service = setup.service(json!({"port": port, "retries": 0}));
        setup.route(json!({"paths": ["/"], "service": service}));
        let gateway = setup.start();
        for _ in 0..2 {
            let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let got = exchange(&gateway, request.as_bytes(), false);
            match *client {
                "502" => assert!(got.starts_with("HTTP/1.1 502 "), "{method} {answer:?}: {got}"),
                client => assert_eq!(plain(&got), client, "{method} {answer:?}"),
            }
            assert!(!got.contains("evil"), "{method} {answer:?}: {got}");
        }
        let connections = *connections.lock().unwrap();
        assert_eq!(connections == 1, *reused, "{method} {answer:?}: {connections}");
    }
}

/// A client can't have taken away what plugins say of it (Kong does so last).
#[test]
fn what_plugins_add_is_not_the_clients_to_drop() {
    let recorder = Recorder::start();
    let gateway = Setup::new()
        .serve(recorder.port)
        .with("who", 1, |_| silverback_pdk::Phases {
            access: Some(silverback_pdk::Handler::now(|exchange| {
                let value = http::HeaderValue::from_static("me");
                exchange.request.headers.insert("x-consumer-id", value);
                silverback_pdk::Flow::Next
            })),
            ..silverback_pdk::Phases::default()
        })
        .start();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-consumer-id\r\n\
                   X-Consumer-Id: other\r\n\r\n";
    let answer = exchange(&gateway, request.as_bytes(), false);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = recorder.take();
    assert!(seen.ends_with("\r\nX-Consumer-Id: me\r\n\r\n"), "{seen}");
}
