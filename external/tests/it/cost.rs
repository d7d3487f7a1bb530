//! What a PDK call costs the gateway, beside a bare exchange of messages over a Unix socket.
//!
//! `cargo test --release -p silverback-external --test it cost -- --ignored --nocapture`

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    path::Path,
};

use bytes::BytesMut;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::{
    fake::{FakeServer, Protocol},
    harness::{Prefix, Rig, access, block_on, went_on},
};

const CALLS: usize = 20_000;

/// CPU time of this thread, nanoseconds.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

/// A server that answers each read with the same bytes, as long as those of a call.
fn echo(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).is_ok_and(|n| n > 0) {
            stream.write_all(&[7; 60]).unwrap();
        }
    });
}

async fn bare() -> u64 {
    let prefix = Prefix::new();
    let path = prefix.join("echo.sock");
    echo(&path);
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let mut buffer = BytesMut::with_capacity(8192);
    let began = cpu();
    for _ in 0..CALLS {
        stream.write_all(&[7; 50]).await.unwrap();
        buffer.clear();
        stream.read_buf(&mut buffer).await.unwrap();
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

async fn call(protocol: Protocol) -> u64 {
    let fake = FakeServer::new(protocol, move |_, first, stream| {
        let (mut buffer, mut last) = ([0; 4096], vec![first]);
        for _ in 0..CALLS {
            let mut out = Vec::with_capacity(100);
            if protocol == Protocol::MsgPack {
                out.extend_from_slice(&[0x94, 1]);
                out.extend_from_slice(&last);
                out.extend_from_slice(b"\xc0\x82\xa4Data\x82\xa6Method\xb7");
                out.extend_from_slice(
                    b"kong.request.get_header\xa4Args\x91\xa4host\xa7EventId\x00",
                );
            } else {
                out.extend_from_slice(b"\x17\0\0\0kong.request.get_header");
                out.extend_from_slice(b"\x06\0\0\0\x0a\x04host");
            }
            stream.write_all(&out).unwrap();
            let length = stream.read(&mut buffer).unwrap();
            last = id(&buffer[..length]).to_vec();
        }
        false
    });
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
        let bare = bare().await;
        for (name, protocol) in [("MsgPack", Protocol::MsgPack), ("ProtoBuf", Protocol::ProtoBuf)] {
            let call = call(protocol).await;
            let ratio = call as f64 / bare as f64;
            println!("{name}: {call} ns a call, {bare} ns bare, {ratio:.2} times");
        }
    });
}
