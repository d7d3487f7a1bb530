//! What a client and the gateway agree on in a handshake: versions, ciphers, kinds of keys, and the
//! sessions that are resumed.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, StreamOwned, client::Resumption,
};
use serde_json::Value;
use silverback_e2e::upstream::Upstream;
use silverback_model::Entity;
use silverback_proxy::TlsSettings;
use silverback_tls::{Choice, Client, Versions, openssl_name};

use crate::{
    kit::{Gateway, Setup, id},
    tls::{der, with_tls},
};

const TLS12: Versions = Versions { tls12: true, tls13: false };
const TLS13: Versions = Versions { tls12: false, tls13: true };

/// What came of a handshake.
#[derive(Debug)]
struct Agreed {
    kind: HandshakeKind,
    version: ProtocolVersion,
    cipher: &'static str,
    certificate: Vec<u8>,
}

fn start(settle: impl FnOnce(&mut TlsSettings)) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let mut setup = Setup::new().serve(upstream.port());
    with_tls(&mut setup);
    settle(&mut setup.config.tls);
    (upstream, setup.start())
}

fn client(versions: Versions, ciphers: Option<&str>) -> ClientConfig {
    let ciphers = ciphers.map(|text| Choice::of(text.split(':')));
    Client { versions, ciphers, ..Client::default() }.config().unwrap()
}

/// Shakes hands and asks for something, so that tickets have come.
fn meet(gateway: &Gateway, client: &Arc<ClientConfig>) -> Option<Agreed> {
    let tcp = TcpStream::connect(&gateway.address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let name = "any.test".try_into().unwrap();
    let mut tls = StreamOwned::new(ClientConnection::new(client.clone(), name).unwrap(), tcp);
    tls.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    tls.read_to_string(&mut text).ok()?;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    Some(Agreed {
        kind: tls.conn.handshake_kind().unwrap(),
        version: tls.conn.protocol_version().unwrap(),
        cipher: openssl_name(tls.conn.negotiated_cipher_suite().unwrap().suite()),
        certificate: tls.conn.peer_certificates().map_or(Vec::new(), |all| all[0].to_vec()),
    })
}

#[test]
fn versions_are_those_of_the_settings() {
    let check = |spoken: Versions, offered: Versions, expect: Option<ProtocolVersion>| {
        let (_upstream, gateway) = start(|tls| tls.versions = spoken);
        let agreed = meet(&gateway, &Arc::new(client(offered, None)));
        assert_eq!(agreed.map(|agreed| agreed.version), expect, "{spoken:?}, {offered:?}");
    };
    let both = Versions::default();
    check(both, both, Some(ProtocolVersion::TLSv1_3));
    check(both, TLS12, Some(ProtocolVersion::TLSv1_2));
    check(TLS12, both, Some(ProtocolVersion::TLSv1_2));
    check(TLS13, both, Some(ProtocolVersion::TLSv1_3));
    check(TLS12, TLS13, None);
    check(TLS13, TLS12, None);
}

#[test]
fn ciphers_are_those_of_the_settings_in_the_order_of_who_prefers() {
    const CLIENTS: &str = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256";
    const OURS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305";
    let check = |spoken: Option<&str>, prefers: bool, expect: Option<&str>| {
        let (_upstream, gateway) = start(|tls| {
            tls.ciphers = spoken.map(|text| Choice::of(text.split(':')));
            tls.prefer_server_ciphers = prefers;
        });
        let agreed = meet(&gateway, &Arc::new(client(TLS12, Some(CLIENTS))));
        assert_eq!(agreed.map(|agreed| agreed.cipher), expect, "{spoken:?}");
    };
    check(None, false, Some("ECDHE-ECDSA-CHACHA20-POLY1305"));
    check(Some(OURS), false, Some("ECDHE-ECDSA-CHACHA20-POLY1305"));
    check(Some(OURS), true, Some("ECDHE-ECDSA-AES128-GCM-SHA256"));
    check(Some("AESGCM"), false, Some("ECDHE-ECDSA-AES128-GCM-SHA256"));
    check(Some("AES256"), true, None);
}

/// A certificate with an RSA key: tests can't make such keys, and use one of the recorded ones.
fn rsa_pair() -> (String, String) {
    let pems = include_str!("../../../conformance/pems.json");
    let pems: Value = serde_json::from_str(pems).unwrap();
    let key = STANDARD.decode(pems["key5"].as_str().unwrap()).unwrap();
    let key = String::from_utf8(key).unwrap();
    let pair = KeyPair::from_pem(&key).unwrap();
    let params = CertificateParams::new(vec!["any.test".to_owned()]).unwrap();
    (params.self_signed(&pair).unwrap().pem(), key)
}

#[test]
fn of_two_kinds_of_keys_clients_get_the_one_they_can_verify() {
    let (rsa, rsa_key) = rsa_pair();
    let upstream = Upstream::start();
    let mut setup = Setup::new().serve(upstream.port());
    let (ec, ec_key) = with_tls(&mut setup);
    setup.config.tls.default_certificates =
        vec![(rsa.clone(), rsa_key.clone()), (ec.clone(), ec_key.clone())];
    let check = |gateway: &Gateway| {
        for (kind, expect) in [("ECDSA", &ec), ("aRSA", &rsa), ("ALL", &rsa)] {
            let agreed = meet(gateway, &Arc::new(client(TLS12, Some(kind)))).expect(kind);
            assert_eq!(agreed.certificate, der(expect), "{kind}");
        }
        let agreed = meet(gateway, &Arc::new(client(TLS13, None))).unwrap();
        assert_eq!(agreed.certificate, der(&rsa));
    };
    let mut gateway = setup.start();
    check(&gateway);
    // The same with one entity that has both.
    gateway.setup.config.tls.default_certificates.clear();
    gateway.setup.certificate(500, "any.test", &rsa, &rsa_key);
    let mut record = (**gateway.setup.parts.certificates[0].record()).clone();
    record.insert("id".into(), id(500).into());
    record.insert("cert_alt".into(), ec.as_str().into());
    record.insert("key_alt".into(), ec_key.as_str().into());
    gateway.setup.parts.certificates[0] = Arc::new(Entity::new(Arc::new(record)).unwrap());
    gateway.reload();
    check(&gateway);
}

/// A reload that changes settings begins anew with all else.
#[test]
fn sessions_outlive_a_reload_but_not_their_own_settings() {
    let settle = |tls: &mut TlsSettings| tls.session_timeout = Duration::from_secs(1234);
    for versions in [TLS12, TLS13] {
        let client = Arc::new(client(versions, None));
        let (_upstream, before) = start(settle);
        assert_eq!(meet(&before, &client).unwrap().kind, HandshakeKind::Full);
        let (_upstream, after) = start(settle);
        assert_eq!(meet(&after, &client).unwrap().kind, HandshakeKind::Resumed, "{versions:?}");
        let (_upstream, gateway) = start(|tls| tls.session_timeout = Duration::from_secs(1235));
        assert_eq!(meet(&gateway, &client).unwrap().kind, HandshakeKind::Full, "{versions:?}");
    }
}

#[test]
fn sessions_are_resumed_as_the_settings_allow() {
    let check = |versions: Versions, by_ticket: bool, settle: fn(&mut TlsSettings), expect| {
        let (_upstream, gateway) = start(settle);
        let mut client = client(versions, None);
        if !by_ticket {
            let by_id = rustls::client::Tls12Resumption::SessionIdOnly;
            client.resumption = Resumption::in_memory_sessions(8).tls12_resumption(by_id);
        }
        let client = Arc::new(client);
        let kinds = [(); 3].map(|()| meet(&gateway, &client).unwrap().kind);
        assert_eq!(kinds, [HandshakeKind::Full, expect, expect], "{versions:?}, {by_ticket}");
        // What configurations come and go changes nothing of that.
        gateway.reload();
        assert_eq!(meet(&gateway, &client).unwrap().kind, expect);
    };
    use HandshakeKind::{Full, Resumed};
    fn none(tls: &mut TlsSettings) {
        (tls.session_tickets, tls.session_cache) = (false, 0);
    }
    fn at_once(tls: &mut TlsSettings) {
        tls.session_timeout = Duration::ZERO;
    }
    for versions in [TLS12, TLS13] {
        check(versions, true, |_| {}, Resumed);
        check(versions, true, |tls| tls.session_cache = 0, Resumed);
        check(versions, true, |tls| tls.session_tickets = false, Resumed);
        check(versions, true, none, Full);
        check(versions, true, at_once, Full);
    }
    check(TLS12, false, |_| {}, Resumed);
    check(TLS12, false, |tls| tls.session_cache = 0, Full);
}
