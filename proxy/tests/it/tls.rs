//! TLS on both sides.

use std::{sync::Arc, time::Duration};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::json;
use silverback_e2e::{http::Connection, http::Request, upstream::Upstream};
use silverback_pdk::{Answer, Flow, Handler, Phases};
use silverback_proxy::Listener;

use crate::kit::{Gateway, Setup};

/// A self-signed certificate and its key, PEM.
pub(crate) fn pair(names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    params.distinguished_name.push(DnType::CommonName, names[0].clone());
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A server's side of TLS with this certificate.
pub(crate) fn server(cert: &str, key: &str) -> Arc<rustls::ServerConfig> {
    let server = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(
        vec![CertificateDer::from(der(cert))],
        PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
    )
    .unwrap();
    Arc::new(server)
}

pub(crate) fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

pub(crate) fn with_tls(setup: &mut Setup) -> (String, String) {
    let mut listener = Listener::new(([127, 0, 0, 1], 0).into());
    listener.ssl = true;
    setup.config.listeners = vec![listener];
    let default = pair(&["localhost"]);
    setup.config.tls.default_certificates = vec![default.clone()];
    default
}

fn ask(gateway: &Gateway, sni: Option<&str>) -> (silverback_e2e::http::Answer, Vec<u8>) {
    let limit = Duration::from_secs(5);
    let (mut connection, certificate) = Connection::open_tls(&gateway.address, sni, limit).unwrap();
    (connection.ask(&Request::get("/x"), false).unwrap(), certificate)
}

#[test]
fn the_certificate_goes_by_the_name() {
    let upstream = Upstream::start();
    let mut setup = Setup::new().serve(upstream.port());
    let (default, _) = with_tls(&mut setup);
    let mut shown = Vec::new();
    let names = ["a.test", "*.wild.test", "b.*", "B.test", "*.test", "c.wild.*", "d.wild.test"];
    for (n, name) in (500..).zip(names) {
        let (cert, key) = pair(&["x.test"]);
        shown.push(der(&cert));
        setup.certificate(n, name, &cert, &key);
    }
    let gateway = setup.start();
    let check = |sni: Option<&str>, expect: &[u8]| {
        let (answer, certificate) = ask(&gateway, sni);
        assert_eq!(answer.status, 200);
        assert_eq!(certificate, expect, "{sni:?}");
    };
    check(Some("a.test"), &shown[0]);
    check(Some("A.Test"), &shown[0]);
    check(Some("x.wild.test"), &shown[1]);
    check(Some("x.y.wild.test"), &der(&default));
    check(Some("b.any"), &shown[2]);
    check(Some("b.any.test"), &der(&default));
    check(Some("b.test"), &shown[3]);
    check(Some("e.test"), &der(&default));
    check(Some("c.wild.test"), &shown[1]);
    check(Some("c.wild.other"), &shown[5]);
    check(Some("d.wild.test"), &shown[6]);
    check(Some("c.any"), &der(&default));
    check(None, &der(&default));
    let (answer, _) = ask(&gateway, None);
    let account = answer.json().to_string();
    assert!(account.contains(r#"["X-Forwarded-Proto","https"]"#), "{account}");
}

#[test]
fn the_certificate_for_all_names_is_for_those_who_name_one() {
    let upstream = Upstream::start();
    let mut setup = Setup::new().serve(upstream.port());
    let (default, _) = with_tls(&mut setup);
    let (all, key) = pair(&["x.test"]);
    setup.certificate(500, "*", &all, &key);
    let gateway = setup.start();
    assert_eq!(ask(&gateway, Some("a.test")).1, der(&all));
    assert_eq!(ask(&gateway, None).1, der(&default));
}

#[test]
fn a_new_certificate_is_shown_from_the_next_handshake_on() {
    let upstream = Upstream::start();
    let mut setup = Setup::new().serve(upstream.port());
    with_tls(&mut setup);
    let (first, key) = pair(&["x.test"]);
    setup.certificate(500, "a.test", &first, &key);
    let mut gateway = setup.start();
    let limit = Duration::from_secs(30);
    let opened = Connection::open_tls(&gateway.address, Some("a.test"), limit);
    let (mut connection, shown) = opened.unwrap();
    assert_eq!(shown, der(&first));
    let (second, key) = pair(&["x.test"]);
    gateway.setup.parts.certificates.clear();
    gateway.setup.parts.snis.clear();
    gateway.setup.certificate(500, "a.test", &second, &key);
    gateway.reload();
    assert_eq!(ask(&gateway, Some("a.test")).1, der(&second));
    assert_eq!(connection.ask(&Request::get("/x"), true).unwrap().status, 200);
}

#[test]
fn plugins_have_a_say_in_the_handshake() {
    let upstream = Upstream::start();
    let mut setup = Setup::new().serve(upstream.port());
    with_tls(&mut setup);
    setup.plugin("picky", 1, |_| Phases {
        certificate: Some(Handler::now(|exchange| {
            let name = exchange.client.tls.as_ref().and_then(|tls| tls.server_name.clone());
            match name.as_deref() {
                Some("bad.test") => Flow::Exit(Answer::new(http::StatusCode::FORBIDDEN, "")),
                _ => Flow::Next,
            }
        })),
        ..Phases::default()
    });
    setup.using(json!({"name": "picky"}));
    let gateway = setup.start();
    assert_eq!(ask(&gateway, Some("good.test")).0.status, 200);
    let limit = Duration::from_secs(5);
    assert!(Connection::open_tls(&gateway.address, Some("bad.test"), limit).is_err());
}
