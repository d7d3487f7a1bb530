//! Plugin servers whose answers are malformed, cut off, huge, for somebody else, or missing.

use std::time::{Duration, Instant};

use silverback_e2e::fake_server::{Behaviour, FakeServer, Protocol};
use silverback_e2e::gateway::Builder;
use silverback_e2e::http::Request;
use silverback_e2e::load::{Load, tally};
use silverback_e2e::process;
use silverback_e2e::servers;
use silverback_e2e::upstream::Upstream;

use crate::uses::routes;

const TIMEOUT: Duration = Duration::from_millis(1000);
/// What a gigabyte of an answer may cost the gateway.
const GROWTH_BYTES_MAX: u64 = 192 << 20;

fn check(protocol: Protocol, behaviour: Behaviour) {
    let upstream = Upstream::start();
    let (builder, fake) = FakeServer::add(Builder::new(), protocol, TIMEOUT);
    let yaml = routes(&upstream, &[("r", "{name: fake}")]);
    let gateway = servers::enable(builder, &["fake"]).declarative(&yaml).start();
    gateway.wait_status("/r", 200);
    let before = process::resident_bytes(gateway.pid());

    fake.behave(behaviour);
    std::thread::sleep(Duration::from_millis(50));
    upstream.take_seen();
    let load = Load::start(&gateway.proxy(), 4, &[Request::get("/r")]);
    std::thread::sleep(Duration::from_secs(2));
    let grown = process::resident_bytes(gateway.pid()).saturating_sub(before);
    let shots = load.stop();
    let what = format!("{protocol:?} {behaviour:?}, by status: {}", tally(&shots));
    assert!(!shots.is_empty(), "{what}");
    for shot in &shots {
        let closed = shot.answer.as_ref().is_ok_and(|a| matches!(a.status, 500 | 503));
        assert!(closed, "{what}");
        assert!(shot.took < TIMEOUT * 2 + Duration::from_secs(2), "{what}: {:?}", shot.took);
    }
    assert_eq!(upstream.take_seen().len(), 0, "{what}: reached the upstream");
    assert!(grown < GROWTH_BYTES_MAX, "{what}: grown by {grown} bytes");

    fake.behave(Behaviour::Well);
    let returned = Instant::now();
    gateway.wait_status("/r", 200);
    let took = returned.elapsed();
    assert!(took < Duration::from_secs(1), "{what}: serves after {took:?}");
}

macro_rules! wire_tests {
    ($($name:ident: $behaviour:ident,)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn protobuf() {
                check(Protocol::ProtoBuf, Behaviour::$behaviour);
            }

            #[test]
            fn msgpack() {
                check(Protocol::MessagePack, Behaviour::$behaviour);
            }
        }
    )*};
}

wire_tests! {
    malformed: Malformed,
    truncated: Truncated,
    huge: Huge,
    closes: Closes,
    silent: Silent,
    for_somebody_else: WrongId,
}
