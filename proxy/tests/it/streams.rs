//! Streams: TCP and TLS connections, proxied as they are.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use silverback_e2e::{
    http::{Connection, Request},
    upstream::Upstream,
    wait::{wait_for, wait_until},
};
use silverback_pdk::{Answer, Exchange, Flow, Handler, Phase, Phases, Target, kong};
use silverback_proxy::{Listener, Snapshot};

use crate::{
    kit::{Gateway, Setup, dead_port},
    tls::{pair, server},
};

const LIMIT: Duration = Duration::from_secs(10);

/// A server that sends back what it gets, and remembers it: a text for each connection.
struct Echo {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    fn start() -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let all = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, mut stream) = (all.clone(), stream.unwrap());
                let mut texts = seen.lock().unwrap();
                let number = texts.len();
                texts.push(String::new());
                drop(texts);
                thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(size @ 1..) = stream.read(&mut buffer) {
                        let text = String::from_utf8_lossy(&buffer[..size]);
                        seen.lock().unwrap()[number].push_str(&text);
                        let _ = stream.write_all(&buffer[..size]);
                    }
                    let _ = stream.write_all(b" bye");
                });
            }
        });
        Echo { port, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// A listener for streams on a free port.
fn listener(ssl: bool) -> Listener {
    let address: SocketAddr = ([127, 0, 0, 1], 0).into();
    Listener { stream: true, ssl, ..Listener::new(address) }
}

/// A gateway with one listener for streams, and a route of them to a port.
fn setup(port: u16, service: Value) -> Setup {
    let mut setup = Setup::new();
    setup.config.listeners = vec![listener(false)];
    route(&mut setup, port, service, json!({"sources": [{"ip": "127.0.0.1"}]}));
    setup
}

#[expect(clippy::needless_pass_by_value, reason = "literals read best without a borrow")]
fn route(setup: &mut Setup, port: u16, service: Value, route: Value) -> Value {
    let mut fields = json!({"protocol": "tcp", "port": port, "retries": 0});
    fields.as_object_mut().unwrap().extend(service.as_object().unwrap().clone());
    let service = setup.service(fields);
    let mut fields = json!({"protocols": ["tcp"], "service": service});
    fields.as_object_mut().unwrap().extend(route.as_object().unwrap().clone());
    setup.route(fields)
}

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(&gateway.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Sends a text and its end; what comes back until the other end.
fn ask(gateway: &Gateway, text: &str) -> String {
    let mut stream = connect(gateway);
    // Where the gateway closes first, writing may fail.
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8(answer).unwrap(),
    }
}

/// A plugin that does what its configuration says in preread, and remembers its phases.
fn plugin(setup: &mut Setup, name: &'static str, priority: i32) -> Arc<Mutex<Vec<String>>> {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let all = told.clone();
    setup.plugin(name, priority, move |config| {
        let (config, preread, log) = (config.clone(), all.clone(), all.clone());
        Phases {
            preread: Some(Handler::now(move |exchange| {
                preread.lock().unwrap().push("preread".to_owned());
                act(exchange, &config)
            })),
            access: Some(Handler::now(|_| panic!("a stream has no access phase"))),
            log: Some(Handler::now(move |exchange| {
                let document = kong::serialize(exchange).unwrap();
                let session = &document["session"];
                let counts = ["received", "sent", "status"].map(|name| session[name].to_string());
                let phase = exchange.phase;
                assert_eq!(phase, Phase::Log);
                log.lock().unwrap().push(format!("log {}", counts.join(" ")));
                Flow::Next
            })),
            ..Phases::default()
        }
    });
    told
}

fn act(exchange: &mut Exchange, config: &Value) -> Flow {
    assert_eq!(exchange.client.peer.ip().to_string(), "127.0.0.1");
    if let Some(port) = config["target"].as_u64() {
        let port = u16::try_from(port).unwrap();
        exchange.upstream.target = Some(Target::Address { host: "127.0.0.1".to_owned(), port });
    }
    let status = |code: u64| http::StatusCode::from_u16(u16::try_from(code).unwrap()).unwrap();
    match config["exit"].as_u64() {
        Some(code) => Flow::Exit(Answer::new(status(code), "enough")),
        None if config["fail"] == true => Flow::Fail("broken".to_owned()),
        None if config["panic"] == true => panic!("a bug"),
        None => Flow::Next,
    }
}

fn told(told: &Mutex<Vec<String>>, count: usize) -> Vec<String> {
    wait_for("the plugin's phases", LIMIT, || {
        let told = told.lock().unwrap();
        (told.len() >= count).then(|| told.clone())
    })
}

#[test]
fn bytes_go_both_ways_until_both_have_ended() {
    let echo = Echo::start();
    let gateway = setup(echo.port, json!({})).start();
    let mut stream = connect(&gateway);
    for text in ["one", "two"] {
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, text.as_bytes());
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, " bye");
    let large = "x".repeat(1 << 20);
    assert_eq!(ask(&gateway, &large), format!("{large} bye"));
}

#[test]
fn plugins_of_every_scope_run_if_they_are_for_streams() {
    let (first, second) = (Echo::start(), Echo::start());
    let mut setup = setup(first.port, json!({}));
    let route = json!({"id": setup.parts.routes[0].id.to_string()});
    let moves = plugin(&mut setup, "moves", 3);
    let http_only = plugin(&mut setup, "http-only", 2);
    let last = plugin(&mut setup, "last", 1);
    let tcp = json!(["tcp", "http"]);
    let config = json!({"target": second.port});
    setup.using(json!({"name": "moves", "protocols": tcp, "route": route, "config": config}));
    setup.using(json!({"name": "moves", "protocols": tcp, "config": {"exit": 500}}));
    setup.using(json!({"name": "http-only"}));
    setup.using(json!({"name": "last", "protocols": ["tls"]}));
    let gateway = setup.start();
    assert_eq!(ask(&gateway, "hello"), "hello bye");
    assert_eq!(told(&moves, 2), ["preread", "log 5 9 200"]);
    assert_eq!(told(&last, 2), ["preread", "log 5 9 200"]);
    assert!(http_only.lock().unwrap().is_empty());
    assert_eq!((first.seen(), second.seen()), (vec![], vec!["hello".to_owned()]));
}

#[test]
fn what_a_plugin_stops_never_reaches_the_upstream() {
    let check = |config: Value, answer: &str, expect: &[&str]| {
        let echo = Echo::start();
        let mut setup = setup(echo.port, json!({}));
        let stops = plugin(&mut setup, "stops", 2);
        let after = plugin(&mut setup, "after", 1);
        setup.using(json!({"name": "stops", "protocols": ["tcp"], "config": config}));
        setup.using(json!({"name": "after", "protocols": ["tcp"]}));
        let gateway = setup.start();
        // It waits for the end and says nothing: a reset would lose what it is told.
        let mut stream = connect(&gateway);
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        assert_eq!(got, answer, "{config}");
        assert_eq!(told(&stops, 2), expect, "{config}");
        assert_eq!(told(&after, 1), expect[1..], "{config}");
        assert!(echo.seen().is_empty(), "{config}");
    };
    check(json!({"exit": 403}), "", &["preread", "log 0 0 403"]);
    check(json!({"exit": 200}), "enough", &["preread", "log 0 6 200"]);
    check(json!({"fail": true}), "", &["preread", "log 0 0 500"]);
    check(json!({"panic": true}), "", &["preread", "log 0 0 500"]);
}

#[test]
fn a_plugin_sees_what_a_stream_has() {
    let echo = Echo::start();
    let mut setup = setup(echo.port, json!({}));
    let found: Arc<Mutex<Vec<String>>> = Arc::default();
    let all = found.clone();
    setup.plugin("asks", 1, move |_| {
        let ask = |all: Arc<Mutex<Vec<String>>>| {
            Handler::now(move |exchange| {
                for (name, args) in [
                    ("kong.nginx.get_subsystem", vec![]),
                    ("kong.nginx.get_var", vec!["protocol".into()]),
                    ("kong.nginx.get_var", vec!["request_uri".into()]),
                    ("kong.client.get_ip", vec![]),
                    ("kong.client.get_protocol", vec![]),
                    ("kong.request.get_method", vec![]),
                    ("kong.response.exit", vec![401_i64.into()]),
                ] {
                    let answer = match kong::find(name).unwrap().call_now(exchange, &args).unwrap()
                    {
                        Ok(value) => value.to_json().to_string(),
                        Err(stop) => stop.to_string(),
                    };
                    all.lock().unwrap().push(answer);
                }
                Flow::Next
            })
        };
        Phases { preread: Some(ask(all.clone())), log: Some(ask(all.clone())), ..Phases::default() }
    });
    setup.using(json!({"name": "asks", "protocols": ["tcp"]}));
    let gateway = setup.start();
    ask(&gateway, "");
    let found = told(&found, 14);
    let common = ["\"stream\"", "\"TCP\"", "null", "\"127.0.0.1\""];
    assert_eq!(
        (&found[..4], &found[7..11]),
        (&common.map(str::to_owned)[..], &common.map(str::to_owned)[..])
    );
    let only = "function cannot be called in preread phase (only in:";
    assert!(found[4].starts_with(only) && found[5].starts_with(only), "{found:?}");
    assert_eq!(found[6], "unacceptable code, only 200, 400, 403, 500, 502 and 503 are accepted");
    assert_eq!(found[11], "\"tcp\"");
    assert_eq!(found[12], "function cannot be called for a stream");
    assert!(found[13].starts_with("function cannot be called in log phase"), "{found:?}");
}

#[test]
fn routes_go_by_port_source_and_name() {
    let upstream = Upstream::start();
    let echo = Echo::start();
    let mut setup = Setup::new();
    setup.config.listeners = vec![listener(false), listener(false), listener(true)];
    setup.config.tls.default_certificates = vec![pair(&["localhost"])];
    let named = json!({"protocols": ["tls"], "snis": ["a.test"]});
    route(&mut setup, upstream.port(), json!({}), named);
    let mut gateway = setup.start();
    let addresses = gateway.handle.as_ref().unwrap().addresses().to_vec();
    let port = addresses[0].port();
    let to_echo = json!({"destinations": [{"port": port}], "sources": [{"ip": "127.0.0.0/8"}]});
    route(&mut gateway.setup, echo.port, json!({}), to_echo);
    gateway.reload();
    assert_eq!(ask(&gateway, "x"), "x bye");
    gateway.address = addresses[1].to_string();
    assert_eq!(ask(&gateway, "x"), "", "no route for this port");
    let address = addresses[2].to_string();
    let status = |name| {
        let (mut connection, _) = Connection::open_tls(&address, Some(name), LIMIT).unwrap();
        connection.ask(&Request::get("/"), false).map(|answer| answer.status).ok()
    };
    assert_eq!((status("a.test"), status("b.test")), (Some(200), None));
}

#[test]
fn certificate_handlers_are_those_for_streams() {
    let upstream = Upstream::start();
    let mut setup = setup(upstream.port(), json!({}));
    setup.config.listeners = vec![listener(true)];
    setup.config.tls.default_certificates = vec![pair(&["localhost"])];
    route(
        &mut setup,
        upstream.port(),
        json!({}),
        json!({"protocols": ["tls"], "snis": ["*.test"]}),
    );
    for name in ["picky", "http-only"] {
        setup.plugin(name, 1, move |_| Phases {
            certificate: Some(Handler::now(move |exchange| {
                let asked = exchange.client.tls.as_ref().and_then(|tls| tls.server_name.clone());
                let bad = asked.as_deref() == Some("bad.test") || name == "http-only";
                if bad { Flow::Fail("no".to_owned()) } else { Flow::Next }
            })),
            ..Phases::default()
        });
    }
    setup.using(json!({"name": "picky", "protocols": ["tls"]}));
    setup.using(json!({"name": "http-only"}));
    let gateway = setup.start();
    let opens = |name| Connection::open_tls(&gateway.address, Some(name), LIMIT).is_ok();
    assert_eq!((opens("good.test"), opens("bad.test")), (true, false));
}

/// What goes on within TLS is for client and upstream to know: ALPN does not stand in its way.
#[test]
fn tls_is_ended_whatever_is_spoken_within() {
    let echo = Echo::start();
    let (cert, key) = pair(&["localhost"]);
    let mut setup = Setup::new();
    setup.config.listeners = vec![listener(true)];
    setup.config.tls.default_certificates = vec![(cert.clone(), key)];
    route(&mut setup, echo.port, json!({}), json!({"protocols": ["tls"], "snis": ["localhost"]}));
    let gateway = setup.start();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"mqtt".to_vec()];
    let name = "localhost".try_into().unwrap();
    let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = rustls::StreamOwned::new(client, connect(&gateway));
    stream.write_all(b"hello").unwrap();
    stream.conn.send_close_notify();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello bye");
    assert_eq!(stream.conn.alpn_protocol(), None);
}

#[test]
fn upstreams_are_spoken_to_with_tls_where_the_service_says_so() {
    let (cert, key) = pair(&["localhost"]);
    let upstream = Upstream::listen(0, Some(server(&cert, &key)), true).unwrap();
    let service = json!({"protocol": "tls", "host": "localhost"});
    let gateway = setup(upstream.port(), service).start();
    assert_eq!(gateway.get("/").status, 200);
    let service = json!({"protocol": "tls", "host": "localhost", "tls_verify": true});
    let gateway = setup(upstream.port(), service).start();
    assert_eq!(ask(&gateway, "GET / HTTP/1.0\r\n\r\n"), "");
}

#[test]
fn the_next_target_is_tried_where_one_can_not_be_reached() {
    let echo = Echo::start();
    let mut setup = setup(1, json!({"host": "pool", "retries": 1}));
    setup.upstream("pool", &[dead_port(), echo.port]);
    let gateway = setup.start();
    for _ in 0..4 {
        assert_eq!(ask(&gateway, "x"), "x bye");
    }
    assert_eq!(echo.seen().len(), 4);
}

#[test]
fn silence_ends_a_stream() {
    let echo = Echo::start();
    let gateway = setup(echo.port, json!({"read_timeout": 300})).start();
    let mut stream = connect(&gateway);
    let began = Instant::now();
    // What moves keeps it open: longer than the limit in all.
    for _ in 0..4 {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    let took = began.elapsed();
    assert!(took > Duration::from_millis(600) && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_stream_has_a_line_in_its_log() {
    let echo = Echo::start();
    let path = std::env::temp_dir().join(format!("stream-log-{}", std::process::id()));
    let mut setup = setup(echo.port, json!({}));
    setup.config.stream_access_log = Some(path.clone().into());
    let mut gateway = setup.start();
    ask(&gateway, "hello");
    wait_until("the line", LIMIT, || {
        std::fs::read_to_string(&path).is_ok_and(|log| log.contains("] TCP 200 9 5 0."))
    });
    if let Some(handle) = gateway.handle.take() {
        handle.stop();
    }
    let log = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(log.starts_with("127.0.0.1 [") && log.lines().count() == 1, "{log}");
}

#[test]
fn the_proxy_header_says_who_asks() {
    let echo = Echo::start();
    let mut setup = Setup::new();
    setup.config.listeners = vec![Listener { proxy_protocol: true, ..listener(false) }];
    setup.config.node = Arc::new(silverback_pdk::Node {
        trusted_ips: vec!["127.0.0.0/8".parse().unwrap()],
        ..(*setup.config.node).clone()
    });
    route(&mut setup, echo.port, json!({}), json!({"destinations": [{"port": 4321}]}));
    let found: Arc<Mutex<Vec<String>>> = Arc::default();
    let all = found.clone();
    setup.plugin("asks", 1, move |_| {
        let all = all.clone();
        Phases {
            preread: Some(Handler::now(move |exchange| {
                let client = &exchange.client;
                let text = format!("{} for {}", client.peer.ip(), client.forwarded_ip);
                all.lock().unwrap().push(text);
                Flow::Next
            })),
            ..Phases::default()
        }
    });
    setup.using(json!({"name": "asks", "protocols": ["tcp"]}));
    let gateway = setup.start();
    let header = "PROXY TCP4 192.0.2.9 192.0.2.1 1234 4321\r\n";
    assert_eq!(ask(&gateway, &format!("{header}x")), "x bye");
    assert_eq!(told(&found, 1), ["127.0.0.1 for 192.0.2.9"]);
}

#[test]
fn passing_tls_on_unopened_is_refused_when_it_is_configured() {
    let mut setup = setup(1, json!({}));
    let fields = json!({"protocols": ["tls_passthrough"], "snis": ["a.test"], "name": "through"});
    route(&mut setup, 1, json!({}), fields);
    let Setup { parts, registry, config, .. } = &setup;
    let error = Snapshot::compile(parts.clone(), registry, config, None).unwrap_err().to_string();
    let expect =
        "route 'through': tls_passthrough is not available yet; use 'tls', which ends TLS here";
    assert_eq!(error, expect);
}
