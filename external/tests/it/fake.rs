//! A server that answers wrongly on purpose.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use silverback_external::Config;
use silverback_pdk::Flow;

use crate::harness::{Prefix, Rig, access, block_on, failed, went_on};

/// Gets the number of the event and the id of its request; what it returns is sent, and then the
/// connection is closed if it says so.
type Script = Arc<dyn Fn(usize, u8, &mut UnixStream) -> bool + Send + Sync>;

pub(crate) struct FakeServer {
    prefix: Prefix,
    events: Arc<AtomicUsize>,
    starts: Arc<AtomicUsize>,
    connections: Arc<Mutex<usize>>,
}

/// The dump, and how instances are started, of either protocol.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Protocol {
    MsgPack,
    ProtoBuf,
}

impl FakeServer {
    /// Runs the script on each event.
    pub(crate) fn new(
        protocol: Protocol,
        script: impl Fn(usize, u8, &mut UnixStream) -> bool + Send + Sync + 'static,
    ) -> FakeServer {
        let prefix = Prefix::new();
        let listener = UnixListener::bind(prefix.join("fake.socket")).unwrap();
        let fake = FakeServer {
            prefix,
            events: Arc::default(),
            starts: Arc::default(),
            connections: Arc::default(),
        };
        let (events, starts) = (Arc::clone(&fake.events), Arc::clone(&fake.starts));
        let connections = Arc::clone(&fake.connections);
        let script: Script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                *connections.lock().unwrap() += 1;
                let (events, starts) = (Arc::clone(&events), Arc::clone(&starts));
                let script = Arc::clone(&script);
                std::thread::spawn(move || serve(protocol, stream, &events, &starts, &*script));
            }
        });
        fake
    }

    pub(crate) fn config(&self, protocol: Protocol) -> Config {
        let plugin = r#"{"Name":"fake","Phases":["access"],"Schema":{"name":"fake",
            "fields":[{"config":{"type":"record","fields":[]}}]}}"#;
        let dump = match protocol {
            Protocol::MsgPack => format!("[{plugin}]"),
            Protocol::ProtoBuf => {
                format!(r#"{{"Protocol":"ProtoBuf:1","Plugins":[{plugin}]}}"#)
            }
        };
        let socket = self.prefix.join("fake.socket");
        let mut config = Config::new("fake", socket, format!("echo '{dump}'"));
        config.timeout = Duration::from_secs(1);
        config
    }
}

/// Requests are small and come one at a time, so each read is one.
fn serve(
    protocol: Protocol,
    mut stream: UnixStream,
    events: &AtomicUsize,
    starts: &AtomicUsize,
    script: &dyn Fn(usize, u8, &mut UnixStream) -> bool,
) {
    let mut buffer = [0; 4096];
    loop {
        let length = match stream.read(&mut buffer) {
            Ok(length) if length > 0 => length,
            _ => return,
        };
        let request = &buffer[..length];
        let has = |what: &[u8]| request.windows(what.len()).any(|w| w == what);
        match protocol {
            Protocol::MsgPack if has(b"StartInstance") => {
                let n = starts.fetch_add(1, Ordering::SeqCst) as u8;
                let answer = [&[0x94, 1, request[2], 0xc0, 0x81, 0xa2], &b"Id"[..], &[n]].concat();
                stream.write_all(&answer).unwrap();
            }
            Protocol::ProtoBuf if has(b"__seq__") => {
                starts.fetch_add(1, Ordering::SeqCst);
                let status = [8, request[5], 0x8a, 2, 2, 0x10, 7];
                stream.write_all(&[&[7, 0, 0, 0], &status[..]].concat()).unwrap();
            }
            _ => {
                let n = events.fetch_add(1, Ordering::SeqCst);
                let id = if protocol == Protocol::MsgPack { request[2] } else { request[5] };
                if !script(n, id, &mut stream) {
                    return;
                }
            }
        }
    }
}

fn returned(id: u8) -> Vec<u8> {
    [&[0x94, 1, id, 0xc0, 0x82, 0xa4], &b"Data\xa3ret\xa7EventId"[..], &[0]].concat()
}

/// Runs one event against a script and looks at the failure.
fn check(
    protocol: Protocol,
    expect: &str,
    script: impl Fn(usize, u8, &mut UnixStream) -> bool + Send + Sync + 'static,
) {
    block_on(async {
        let fake = FakeServer::new(protocol, script);
        let rig = Rig::start(vec![fake.config(protocol)]).await;
        let phases = rig.configure("fake", &json!({}));
        let began = Instant::now();
        failed(&access(&phases).await.0, expect);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert_eq!(rig.status().failures, 1);
        rig.servers.stop().await;
    });
}

#[test]
fn messagepack_faults_fail_the_request() {
    use Protocol::MsgPack;
    let send = |bytes: &'static [u8], go_on: bool| {
        move |_: usize, _: u8, stream: &mut UnixStream| {
            stream.write_all(bytes).unwrap();
            go_on
        }
    };
    check(MsgPack, "a byte that begins no MessagePack value", send(b"\xc1", true));
    check(MsgPack, "expected an array", send(b"\xa3foo", true));
    check(MsgPack, "a message of type 7", send(b"\x91\x07", true));
    check(MsgPack, "the answer to 99 instead of", send(b"\x94\x01\x63\xc0\xc0", true));
    check(MsgPack, "closed the connection", send(b"\x94\x01", false));
    check(MsgPack, "closed the connection", send(b"", false));
    check(MsgPack, "no answer within 1s", send(b"\x94\x01", true));
    check(MsgPack, "no answer within 1s", send(b"", true));
    check(MsgPack, "more than 4000000 values", send(b"\x94\x01\x01\xdd\xff\xff\xff\xff", true));
    check(MsgPack, "a message of more than", send(b"\x94\x01\x01\xc6\xff\xff\xff\xff", true));
    check(MsgPack, "the server answered: oh", |_, id, stream| {
        stream.write_all(&[0x94, 1, id, 0xa2, b'o', b'h', 0xc0]).unwrap();
        true
    });
    check(MsgPack, "without EventId", |_, id, stream| {
        stream.write_all(&[0x94, 1, id, 0xc0, 0x80]).unwrap();
        true
    });
    check(MsgPack, "notifications without an end", |_, _, stream| {
        let _ = stream.write_all(&b"\x93\x02\xa1x\x01".repeat(100));
        true
    });
}

#[test]
fn protobuf_faults_fail_the_request() {
    use Protocol::ProtoBuf;
    let send = |bytes: &'static [u8], go_on: bool| {
        move |_: usize, _: u8, stream: &mut UnixStream| {
            stream.write_all(bytes).unwrap();
            go_on
        }
    };
    check(ProtoBuf, "a message of more than", send(&[0xff; 4], true));
    check(ProtoBuf, "no answer within", send(&[9, 0, 0, 0, 1], true));
    check(ProtoBuf, "closed the connection", send(&[9, 0, 0, 0, 1], false));
    check(ProtoBuf, "breaks off", send(&[0, 0, 0, 0, 1, 0, 0, 0, 8], true));
    check(ProtoBuf, "instead of", send(&[0, 0, 0, 0, 2, 0, 0, 0, 8, 99], true));
    let call = b"\x17\0\0\0kong.request.get_header\x02\0\0\0\x0a\x63";
    check(ProtoBuf, "breaks off", send(call, true));
}

#[test]
fn answers_may_come_in_pieces_and_behind_notifications() {
    block_on(async {
        let fake = FakeServer::new(Protocol::MsgPack, |_, id, stream| {
            let told = [&[0x93, 2, 0xa9], &b"serverPid"[..], &[0xcd, 0x12, 0x34]].concat();
            for byte in told.into_iter().chain(returned(id)) {
                stream.write_all(&[byte]).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
            true
        });
        let rig = Rig::start(vec![fake.config(Protocol::MsgPack)]).await;
        let phases = rig.configure("fake", &json!({}));
        for _ in 0..3 {
            went_on(&access(&phases).await.0);
        }
        // All on one connection, and one instance.
        assert_eq!(*fake.connections.lock().unwrap(), 1);
        assert_eq!(fake.starts.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_forgotten_instance_is_started_again_once() {
    block_on(async {
        let fake = FakeServer::new(Protocol::MsgPack, |n, id, stream| {
            if n == 1 || n > 2 {
                let text = b"No plugin instance 0";
                let answer = [&[0x94, 1, id, 0xa0 | text.len() as u8], &text[..], &[0xc0]].concat();
                stream.write_all(&answer).unwrap();
            } else {
                stream.write_all(&returned(id)).unwrap();
            }
            true
        });
        let rig = Rig::start(vec![fake.config(Protocol::MsgPack)]).await;
        let phases = rig.configure("fake", &json!({}));
        went_on(&access(&phases).await.0);
        went_on(&access(&phases).await.0);
        assert_eq!(fake.starts.load(Ordering::SeqCst), 2);
        assert_eq!(fake.events.load(Ordering::SeqCst), 3);
        // It is not tried for ever.
        failed(&access(&phases).await.0, "doesn't know the instance");
        assert_eq!(fake.events.load(Ordering::SeqCst), 5);
    });
}

/// A server that never forgets an instance and does not know one is another process: the numbers
/// of others are other instances there.
#[test]
fn an_unknown_instance_means_another_process() {
    block_on(async {
        let fake = FakeServer::new(Protocol::MsgPack, |n, id, stream| {
            let unknown = [&[0x94, 1, id, 0xb4], &b"no plugin instance 1"[..], &[0xc0]].concat();
            stream.write_all(&if n == 2 { unknown } else { returned(id) }).unwrap();
            true
        });
        let rig = Rig::start(vec![fake.config(Protocol::MsgPack)]).await;
        let phases = [rig.configure("fake", &json!({})), rig.configure("fake", &json!({}))];
        for (of, starts) in [(0, 1), (1, 2), (1, 3), (0, 4), (1, 4)] {
            went_on(&access(&phases[of]).await.0);
            assert_eq!(fake.starts.load(Ordering::SeqCst), starts);
        }
    });
}

#[test]
fn a_server_that_may_fail_lets_requests_through() {
    block_on(async {
        let fake = FakeServer::new(Protocol::MsgPack, |_, _, _| false);
        let mut config = fake.config(Protocol::MsgPack);
        config.fail_open = true;
        let rig = Rig::start(vec![config]).await;
        let phases = rig.configure("fake", &json!({}));
        went_on(&access(&phases).await.0);
        assert_eq!(rig.status().failures, 1);
    });
}

#[test]
fn events_wait_in_line_and_too_many_are_refused() {
    block_on(async {
        let fake = FakeServer::new(Protocol::MsgPack, |_, id, stream| {
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(&returned(id)).unwrap();
            true
        });
        let mut config = fake.config(Protocol::MsgPack);
        (config.connections, config.queue) = (2, 3);
        let rig = Rig::start(vec![config]).await;
        let phases = rig.configure("fake", &json!({}));
        let flows = futures_util::future::join_all((0..10).map(|_| access(&phases))).await;
        let refused = flows.iter().filter(|(flow, _)| match flow {
            Flow::Exit(answer) => answer.status == 503,
            flow => {
                went_on(flow);
                false
            }
        });
        assert_eq!(refused.count(), 5);
        assert_eq!(*fake.connections.lock().unwrap(), 2);
        assert_eq!(rig.status().refused, 5);
    });
}

#[test]
fn any_answer_ends_the_event() {
    for protocol in [Protocol::MsgPack, Protocol::ProtoBuf] {
        block_on(async {
            let fake = FakeServer::new(protocol, move |n, id, stream| {
                // Random bytes, by turns after a beginning that is right.
                let mut state = n as u64 * 0x9e37_79b9_7f4a_7c15 + 1;
                let mut byte = || {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                };
                let mut out = Vec::new();
                if n % 2 == 0 && protocol == Protocol::MsgPack {
                    out.extend_from_slice(&[0x94, 1, id, 0xc0]);
                } else if n % 2 == 0 {
                    out.extend_from_slice(b"\x0d\0\0\0kong.log.info\x14\0\0\0");
                }
                out.extend((0..byte() % 64).map(|_| byte()));
                // The gateway may have hung up already.
                let _ = stream.write_all(&out);
                false
            });
            let rig = Rig::start(vec![fake.config(protocol)]).await;
            let phases = rig.configure("fake", &json!({}));
            for _ in 0..300 {
                let (flow, _) = access(&phases).await;
                assert!(matches!(flow, Flow::Fail(_) | Flow::Next), "{flow:?}");
            }
        });
    }
}

#[test]
fn another_pid_means_another_process() {
    block_on(async {
        let fake = FakeServer::new(Protocol::MsgPack, |n, id, stream| {
            let pid = if n == 0 { 1 } else { 2 };
            let told = [&[0x93, 2, 0xa9], &b"serverPid"[..], &[pid]].concat();
            stream.write_all(&[told, returned(id)].concat()).unwrap();
            true
        });
        let rig = Rig::start(vec![fake.config(Protocol::MsgPack)]).await;
        let phases = rig.configure("fake", &json!({}));
        // The second event has met whatever instance has that number there: it does not count.
        for starts in [1, 2, 2, 2] {
            went_on(&access(&phases).await.0);
            assert_eq!(fake.starts.load(Ordering::SeqCst), starts);
        }
    });
}

#[test]
fn workers_share_an_instance() {
    let fake = FakeServer::new(Protocol::MsgPack, |_, id, stream| {
        stream.write_all(&returned(id)).unwrap();
        true
    });
    let mut phases = None;
    block_on(async {
        let rig = Rig::start(vec![fake.config(Protocol::MsgPack)]).await;
        phases = Some(Arc::new(rig.configure("fake", &json!({}))));
    });
    let phases = phases.unwrap();
    let worker = |_| {
        let phases = Arc::clone(&phases);
        std::thread::spawn(move || {
            block_on(async {
                let many = (0..50).map(|_| access(&phases));
                for (flow, _) in futures_util::future::join_all(many).await {
                    went_on(&flow);
                }
            });
        })
    };
    let workers: Vec<_> = (0..4).map(worker).collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!(fake.starts.load(Ordering::SeqCst), 1);
    assert_eq!(fake.events.load(Ordering::SeqCst), 200);
}
