//! What log plugins send, received: by servers of HTTP, TCP, TLS and UDP, and in files.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use silverback_e2e::gateway::{Builder, Gateway, free_port};
use silverback_e2e::redis::{Redis, private_key};
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_for, wait_until};

use crate::uses::{plugin, routes};

fn start(upstream: &Upstream, plugins: &str) -> Gateway {
    Builder::new().declarative(&routes(upstream, &[("r", plugins)])).start()
}

/// What a document says of a request.
fn told(document: &Value) -> (u64, String) {
    let uri = document["request"]["uri"].as_str().unwrap_or_default().to_owned();
    (document["response"]["status"].as_u64().unwrap_or_default(), uri)
}

/// The documents that http-log has sent in requests so far.
fn documents(logs: &Upstream) -> Vec<Vec<Value>> {
    let bodies = logs.take_seen().into_iter().map(|seen| seen.body);
    bodies
        .map(|body| match serde_json::from_slice(&body).unwrap() {
            Value::Array(documents) => documents,
            document => vec![document],
        })
        .collect()
}

#[test]
fn http_log_sends_batches() {
    let (upstream, logs) = (Upstream::start(), Upstream::start());
    let queue = "queue: {max_batch_size: 3, max_coalescing_delay: 0.3}";
    let endpoint = format!("http_endpoint: 'http://user:key@127.0.0.1:{}/in?a=1'", logs.port());
    let config = format!("{endpoint}, method: PUT, headers: {{X-Source: here}}, {queue}");
    let gateway = start(&upstream, &plugin("http-log", &config));
    for target in ["/r/1", "/r/status/404", "/r/3", "/r/4"] {
        gateway.get(target);
    }
    let mut seen = Vec::new();
    wait_until("two batches", PATIENCE, || {
        seen.extend(logs.take_seen());
        seen.len() == 2
    });
    let first = &seen[0];
    assert_eq!((first.method.as_str(), first.target.as_str()), ("PUT", "/in?a=1"));
    let header = |name: &str| first.header(name).unwrap_or_default();
    assert_eq!(header("authorization"), "Basic dXNlcjprZXk=");
    assert_eq!(header("host"), format!("127.0.0.1:{}", logs.port()));
    assert_eq!((header("content-type"), header("x-source")), ("application/json", "here"));
    let batches: Vec<Value> =
        seen.iter().map(|seen| serde_json::from_slice(&seen.body).unwrap()).collect();
    let batch = |at: usize| batches[at].as_array().unwrap().iter().map(told).collect::<Vec<_>>();
    let expect = [(200, "/r/1"), (404, "/r/status/404"), (200, "/r/3"), (200, "/r/4")];
    let expect: Vec<_> = expect.iter().map(|(status, uri)| (*status, (*uri).to_owned())).collect();
    assert_eq!((batch(0), batch(1)), (expect[..3].to_vec(), expect[3..].to_vec()));
}

/// The other side is down, then up: nothing is lost and no request waits. What waits when the node
/// stops is sent before its end.
#[test]
fn http_log_tries_again_and_flushes_at_the_end() {
    let upstream = Upstream::start();
    let port = free_port();
    let queue = "queue: {initial_retry_delay: 0.05, max_retry_delay: 0.2}";
    let config = format!("http_endpoint: 'http://127.0.0.1:{port}/', {queue}");
    let long = "queue: {max_batch_size: 100, max_coalescing_delay: 60}";
    let later = format!("http_endpoint: 'http://127.0.0.1:{port}/late', {long}");
    let plugins = [("r", plugin("http-log", &config)), ("late", plugin("http-log", &later))];
    let pairs = plugins.each_ref().map(|(name, plugin)| (*name, plugin.as_str()));
    let gateway = Builder::new().declarative(&routes(&upstream, &pairs)).start();
    let began = Instant::now();
    for at in 0..20 {
        assert_eq!(gateway.get(&format!("/r/{at}")).status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    gateway.wait_log("entries could not be sent");
    let logs = Upstream::listen(port, None, true).unwrap();
    let mut received = Vec::new();
    wait_until("what waited", PATIENCE, || {
        received.extend(documents(&logs).into_iter().flatten());
        received.len() == 20
    });
    let uris: Vec<String> = received.iter().map(|document| told(document).1).collect();
    assert_eq!(uris, (0..20).map(|at| format!("/r/{at}")).collect::<Vec<_>>());

    for at in 0..5 {
        gateway.get(&format!("/late/{at}"));
    }
    assert!(logs.take_seen().is_empty());
    drop(gateway);
    assert_eq!(documents(&logs).concat().len(), 5);
}

#[test]
fn http_log_says_what_it_drops() {
    let (upstream, logs) = (Upstream::start(), Upstream::start());
    let endpoint = format!("http_endpoint: 'http://127.0.0.1:{}/delay/1000'", logs.port());
    let config = format!("{endpoint}, queue: {{max_entries: 3, max_coalescing_delay: 0}}");
    let gateway = start(&upstream, &plugin("http-log", &config));
    for at in 0..10 {
        assert_eq!(gateway.get(&format!("/r/{at}")).status, 200);
    }
    gateway.wait_log("is full: the oldest entries are dropped");
    gateway.wait_log("entries were dropped");
    let mut uris = Vec::new();
    wait_until("the newest", PATIENCE, || {
        uris.extend(documents(&logs).concat().iter().map(|document| told(document).1));
        uris.last().is_some_and(|last| last == "/r/9")
    });
    assert!(uris.len() < 10, "{uris:?}");
}

/// Accepts connections and gives the lines that come on them, with the name that TLS asked for.
fn lines(tls: Option<Arc<ServerConfig>>) -> (u16, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut name = None;
            let reader: Box<dyn BufRead> = match &tls {
                None => Box::new(BufReader::new(stream)),
                Some(config) => {
                    let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                    let mut stream = StreamOwned::new(connection, stream);
                    stream.conn.complete_io(&mut stream.sock).unwrap();
                    name = stream.conn.server_name().map(str::to_owned);
                    Box::new(BufReader::new(stream))
                }
            };
            for line in reader.lines().map_while(Result::ok) {
                let mut document: Value = serde_json::from_str(&line).unwrap();
                document["sni"] = name.clone().into();
                if sender.send(document).is_err() {
                    return;
                }
            }
        }
    });
    (port, receiver)
}

fn server_config() -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(Redis::certificate()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&private_key()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(vec![certificate], key).unwrap())
}

#[test]
fn tcp_log_sends_lines_in_clear_and_within_tls() {
    let upstream = Upstream::start();
    let tls = || Some(server_config());
    for (config, more, name) in [
        (None, "", None),
        (tls(), ", tls: true, tls_sni: x.test", Some("x.test")),
        (tls(), ", tls: true", None),
    ] {
        let (port, documents) = lines(config);
        let config = format!("host: localhost, port: {port}{more}");
        let gateway = start(&upstream, &plugin("tcp-log", &config));
        for target in ["/r/1", "/r/status/503"] {
            gateway.get(target);
            let document = documents.recv_timeout(PATIENCE).unwrap();
            assert_eq!(told(&document).1, target);
            assert_eq!(document["service"]["name"], "echo", "{document}");
            assert_eq!(document["sni"].as_str(), name);
        }
    }
}

#[test]
fn udp_log_sends_datagrams() {
    let upstream = Upstream::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let config = format!("host: localhost, port: {}", socket.local_addr().unwrap().port());
    let gateway = start(&upstream, &plugin("udp-log", &config));
    for target in ["/r/1", "/r/2"] {
        gateway.get(target);
        let mut buffer = [0; 65_536];
        let length = socket.recv(&mut buffer).unwrap();
        let document: Value = serde_json::from_slice(&buffer[..length]).unwrap();
        assert_eq!(told(&document), (200, target.to_owned()));
    }
}

#[test]
fn file_log_writes_lines_and_opens_the_file_again() {
    let upstream = Upstream::start();
    let builder = Builder::new();
    let file = builder.prefix().join("requests.log");
    let moved = builder.prefix().join("moved.log");
    let config = format!("path: {}, reopen: true", file.display());
    let yaml = routes(&upstream, &[("r", &plugin("file-log", &config))]);
    let gateway = builder.declarative(&yaml).start();
    let read = |count: usize| {
        let uris = wait_for("lines in the file", PATIENCE, || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let parse = |line: &&str| told(&serde_json::from_str(line).unwrap()).1;
            (lines.len() == count && text.ends_with('\n'))
                .then(|| lines.iter().map(parse).collect::<Vec<_>>())
        });
        uris.join(" ")
    };
    gateway.get("/r/1");
    gateway.get("/r/2");
    assert_eq!(read(2), "/r/1 /r/2");
    std::fs::rename(&file, &moved).unwrap();
    gateway.get("/r/3");
    assert_eq!(read(1), "/r/3");
}
