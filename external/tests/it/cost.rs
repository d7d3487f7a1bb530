//! What a PDK call costs the gateway, beside a bare exchange of messages over a Unix socket.
//!
//! `cargo test --release -p silverback-external --test it cost -- --ignored --nocapture`

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use bytes::BytesMut;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    fake::{FakeServer, Protocol},
    harness::{Rig, access, block_on, went_on},
};

const CALLS: usize = 20_000;
/// Alternating measurements, of which the middle one counts.
const ROUNDS: usize = 7;

/// CPU time of this thread, nanoseconds.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

/// The same messages to and from the same server, and nothing else.
async fn bare(protocol: Protocol) -> u64 {
    let fake = FakeServer::new(protocol, move |_, first, stream| ask(protocol, first, stream));
    let path = fake.config(protocol).socket;
    let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
    let mut buffer = BytesMut::with_capacity(8192);
    let answer: &[u8] = match protocol {
        Protocol::MsgPack => {
            b"\x94\0\xcd\x12\x34\xabplugin.Step\x91\x82\xa4Data\xacexample.test\xa7EventId\0"
        }
        Protocol::ProtoBuf => b"\x0e\0\0\0\x0a\x0cexample.test",
    };
    stream.write_all(&[0; 40]).await.unwrap();
    let began = cpu();
    for _ in 0..CALLS {
        buffer.clear();
        stream.read_buf(&mut buffer).await.unwrap();
        stream.write_all(answer).await.unwrap();
    }
    (cpu() - began) / CALLS as u64
}

/// The id in a request, as it is written.
fn id(request: &[u8]) -> &[u8] {
    let width = match request[2] {
        0xcc => 2,
        0xcd => 3,
        0xce => 5,
        _ => 1,
    };
    &request[2..2 + width]
}

/// The server's side of an event: it calls, and waits for each answer.
fn ask(protocol: Protocol, first: u8, stream: &mut UnixStream) -> bool {
    let (mut buffer, mut last, mut out) = ([0; 4096], vec![first], Vec::new());
    for _ in 0..CALLS {
        out.clear();
        if protocol == Protocol::MsgPack {
            out.extend_from_slice(&[0x94, 1]);
            out.extend_from_slice(&last);
            out.extend_from_slice(b"\xc0\x82\xa4Data\x82\xa6Method\xb7");
            out.extend_from_slice(b"kong.request.get_header\xa4Args\x91\xa4host\xa7EventId\0");
        } else {
            out.extend_from_slice(b"\x17\0\0\0kong.request.get_header");
            out.extend_from_slice(b"\x06\0\0\0\x0a\x04host");
        }
        stream.write_all(&out).unwrap();
        let length = stream.read(&mut buffer).unwrap();
        if length == 0 {
            return false;
        }
        last.clear();
        last.extend_from_slice(id(&buffer[..length]));
    }
    false
}

async fn call(protocol: Protocol) -> u64 {
    let fake = FakeServer::new(protocol, move |_, first, stream| ask(protocol, first, stream));
    let mut config = fake.config(protocol);
    config.fail_open = true;
    let rig = Rig::start(vec![config]).await;
    let phases = rig.configure("fake", &json!({}));
    let began = cpu();
    went_on(&access(&phases).await.0);
    let spent = (cpu() - began) / CALLS as u64;
    assert_eq!(rig.status().calls, CALLS as u64);
    spent
}

#[test]
#[ignore = "a measurement"]
fn cost_of_a_call() {
    block_on(async {
        for (name, protocol) in [("MsgPack", Protocol::MsgPack), ("ProtoBuf", Protocol::ProtoBuf)] {
            let mut rounds = Vec::new();
            for _ in 0..ROUNDS {
                rounds.push((bare(protocol).await, call(protocol).await));
            }
            // By ratio: what disturbs one of a pair tends to disturb both.
            let ratio = |&(bare, call): &(u64, u64)| call as f64 / bare as f64;
            rounds.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
            let (bare, call) = rounds[ROUNDS / 2];
            let ratio = ratio(&rounds[ROUNDS / 2]);
            println!("{name}: {call} ns a call, {bare} ns bare, {ratio:.2} times");
        }
    });
}
