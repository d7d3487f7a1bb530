//! TLS to upstreams: who is trusted, who the gateway says it is, whom it asks for.

use std::{io::Read, net::TcpListener, sync::Arc, thread};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, ServerConfig, ServerConnection, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use silverback_e2e::upstream::Upstream;
use silverback_model::{Entity, Record, entities::CaCertificate};
use silverback_pdk::{Flow, Handler, Phases, Scheme, Target};
use silverback_tls::Trust;

use crate::{
    kit::{Setup, id},
    tls::{der, pair, server},
};

fn authority(setup: &mut Setup, number: u32, pem: &str) {
    let mut record = Record::new();
    record.insert("id".into(), id(number).into());
    record.insert("cert".into(), pem.into());
    let authority: Entity<CaCertificate> = Entity::new(Arc::new(record)).unwrap();
    setup.parts.ca_certificates.push(Arc::new(authority));
}

/// Adds a service for a TLS upstream on this port, with a route of its own.
fn serve(setup: &mut Setup, path: &str, port: u16, fields: &Value) -> Value {
    let mut service = json!({"port": port, "protocol": "https", "host": "localhost", "retries": 0});
    for (name, value) in fields.as_object().into_iter().flatten() {
        service[name] = value.clone();
    }
    let service = setup.service(service);
    setup.route(json!({"paths": [path], "service": service}))
}

#[test]
fn upstreams_are_verified_where_the_service_says_so() {
    let (cert, key) = pair(&["localhost"]);
    let (other, _) = pair(&["localhost"]);
    let upstream = Upstream::listen(0, Some(server(&cert, &key)), true).unwrap();
    for (trusts, verifies) in [(false, false), (true, false), (true, true)] {
        let mut setup = Setup::new();
        authority(&mut setup, 600, &cert);
        authority(&mut setup, 601, &other);
        if trusts {
            setup.config.tls.upstream.trust = Trust::of_pem([cert.as_bytes()], 1);
        }
        setup.config.tls.upstream.verify = verifies;
        let of_node = if trusts { 200 } else { 502 };
        let cases = [
            ("/unsaid", json!({}), 200),
            ("/ignored", json!({"tls_verify": false, "ca_certificates": [id(601)]}), 200),
            ("/node", json!({"tls_verify": true}), of_node),
            ("/trusted", json!({"tls_verify": true, "ca_certificates": [id(600)]}), 200),
            ("/other", json!({"tls_verify": true, "ca_certificates": [id(601)]}), 502),
            ("/by-node", json!({"ca_certificates": [id(601)]}), if verifies { 502 } else { 200 }),
        ];
        for (path, fields, _) in &cases {
            serve(&mut setup, path, upstream.port(), fields);
        }
        let gateway = setup.start();
        for (path, _, status) in cases {
            for _ in 0..2 {
                assert_eq!(gateway.get(path).status, status, "{path}");
            }
        }
    }
}

/// A chain, leaf first, and the leaf's key; the root comes last and is for trusting.
fn chain(names: &[&str]) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, String) {
    let mut chain = Vec::new();
    let mut above: Option<(Issuer<'static, KeyPair>, String)> = None;
    for (at, name) in names.iter().enumerate() {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, *name);
        if at + 1 < names.len() {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        let (certificate, root) = match &above {
            Some((above, root)) => (params.signed_by(&key, above).unwrap(), root.clone()),
            None => {
                let root = params.self_signed(&key).unwrap();
                let pem = root.pem();
                (root, pem)
            }
        };
        chain.insert(0, certificate.der().clone());
        above = Some((Issuer::new(params, key), root));
    }
    let (leaf, root) = above.unwrap();
    let key = PrivateKeyDer::from_pem_slice(leaf.key().serialize_pem().as_bytes()).unwrap();
    (chain, key, root)
}

#[test]
fn chains_may_be_as_long_as_the_service_or_a_plugin_says() {
    let (mut shown, key, root) = chain(&["root", "one", "two", "leaf"]);
    shown.pop();
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(shown, key)
            .unwrap();
    let upstream = Upstream::listen(0, Some(Arc::new(config)), true).unwrap();
    let mut setup = Setup::new();
    authority(&mut setup, 600, &root);
    setup.config.tls.upstream.trust = Trust::of_pem([root.as_bytes()], 1);
    setup.plugin("depth", 1, |config| {
        let depth = config["depth"].as_u64().and_then(|depth| u16::try_from(depth).ok());
        Phases {
            access: Some(Handler::now(move |exchange| {
                exchange.upstream.tls_verify = Some(true);
                exchange.upstream.tls_verify_depth = depth;
                Flow::Next
            })),
            ..Phases::default()
        }
    });
    let own = json!([id(600)]);
    let cases = [
        ("/default", json!({"tls_verify": true}), None, 502),
        ("/default-own", json!({"tls_verify": true, "ca_certificates": own}), None, 502),
        ("/one", json!({"tls_verify": true, "tls_verify_depth": 1}), None, 502),
        ("/two", json!({"tls_verify": true, "tls_verify_depth": 2}), None, 200),
        (
            "/two-own",
            json!({"tls_verify": true, "tls_verify_depth": 2, "ca_certificates": own}),
            None,
            200,
        ),
        ("/off", json!({"tls_verify": false, "tls_verify_depth": 0}), None, 200),
        ("/plugin-two", json!({}), Some(2), 200),
        ("/plugin-zero", json!({"tls_verify_depth": 2}), Some(0), 502),
    ];
    for (path, fields, depth, _) in &cases {
        let route = serve(&mut setup, path, upstream.port(), fields);
        if let Some(depth) = depth {
            setup.using(json!({"name": "depth", "config": {"depth": depth}, "route": route}));
        }
    }
    let gateway = setup.start();
    for (path, _, _, status) in cases {
        for _ in 0..2 {
            assert_eq!(gateway.get(path).status, status, "{path}");
        }
    }
}

/// A TLS server that wants a certificate of this authority, and says which it got.
fn curious(authority: &str) -> u16 {
    let (cert, key) = pair(&["localhost"]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(der(authority))).unwrap();
    let asks = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(asks.allow_unauthenticated().build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from(der(&cert))],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    answering(config, |connection| {
        let shown = connection.peer_certificates().and_then(|chain| chain.first());
        shown.map_or("nothing".to_owned(), |shown| format!("{:x?}", &shown[shown.len() - 8..]))
    })
}

/// A TLS server that answers with what it can tell of its client.
fn answering(config: Arc<ServerConfig>, tell: fn(&ServerConnection) -> String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for tcp in listener.incoming() {
            let (mut tcp, config) = (tcp.unwrap(), config.clone());
            thread::spawn(move || {
                let mut tls = ServerConnection::new(config).unwrap();
                let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
                let mut some = [0; 4096];
                if !matches!(stream.read(&mut some), Ok(1..)) {
                    return;
                }
                let body = tell(&tls);
                let length = body.len();
                let head =
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}");
                let text = format!("{head}\r\n\r\n{body}");
                let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
                let _ = std::io::Write::write_all(&mut stream, text.as_bytes());
                tls.send_close_notify();
                let _ = tls.complete_io(&mut tcp);
            });
        }
    });
    port
}

#[test]
fn who_the_gateway_says_it_is_goes_by_service_then_upstream_then_node() {
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name.push(DnType::CommonName, "clients");
    let root_key = KeyPair::generate().unwrap();
    let authority = root.self_signed(&root_key).unwrap().pem();
    let root = Issuer::new(root, root_key);
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &root).unwrap();
        (cert.pem(), key.serialize_pem())
    };
    let told = |pem: &str| {
        let der = der(pem);
        format!("{:x?}", &der[der.len() - 8..])
    };
    let port = curious(&authority);
    let (of_node, of_service, of_upstream) =
        (signed("node"), signed("service"), signed("upstream"));
    for node in [None, Some(of_node)] {
        let mut setup = Setup::new();
        setup.config.tls.upstream.client_certificate = node.clone();
        setup.certificate(500, "service", &of_service.0, &of_service.1);
        setup.certificate(501, "upstream", &of_upstream.0, &of_upstream.1);
        let target = format!("127.0.0.1:{port}");
        let fields = json!({"name": "up.test", "client_certificate": {"id": id(501)}});
        setup.upstream_with(fields, &[(&target, 100)]);
        let own = json!({"client_certificate": {"id": id(500)}});
        let mut both = own.clone();
        both["host"] = "up.test".into();
        serve(&mut setup, "/none", port, &json!({}));
        serve(&mut setup, "/service", port, &own);
        serve(&mut setup, "/upstream", port, &json!({"host": "up.test"}));
        serve(&mut setup, "/both", port, &both);
        let gateway = setup.start();
        let of_node = node.map_or("nothing".to_owned(), |(cert, _)| told(&cert));
        for (path, expect) in [
            ("/none", of_node),
            ("/service", told(&of_service.0)),
            ("/upstream", told(&of_upstream.0)),
            ("/both", told(&of_service.0)),
        ] {
            assert_eq!(gateway.get(path).text(), expect, "{path}");
        }
    }
}

/// nginx's `proxy_ssl_name $upstream_host`, with `proxy_ssl_server_name on`.
#[test]
fn upstreams_are_asked_for_by_the_host_that_they_get() {
    let (cert, key) = pair(&["localhost"]);
    let port = answering(server(&cert, &key), |connection| {
        connection.server_name().unwrap_or("nobody").to_owned()
    });
    let mut setup = Setup::new();
    let target = format!("127.0.0.1:{port}");
    setup.upstream_with(json!({"name": "up.test"}), &[(&target, 100)]);
    let named = json!({"name": "named.test", "host_header": "own.test:99"});
    setup.upstream_with(named, &[(&target, 100)]);
    setup.upstream_with(json!({"name": "localhost.test"}), &[(&format!("localhost:{port}"), 100)]);
    serve(&mut setup, "/service", port, &json!({}));
    serve(&mut setup, "/address", port, &json!({"host": "127.0.0.1"}));
    serve(&mut setup, "/upstream", port, &json!({"host": "up.test"}));
    serve(&mut setup, "/target", port, &json!({"host": "localhost.test"}));
    serve(&mut setup, "/named", port, &json!({"host": "named.test"}));
    let service = setup.service(json!({"port": port, "protocol": "https"}));
    setup.route(json!({"paths": ["/kept"], "service": service, "preserve_host": true}));
    let gateway = setup.start();
    for (path, expect) in [
        ("/service", "localhost"),
        ("/address", "nobody"),
        ("/upstream", "nobody"),
        ("/target", "localhost"),
        ("/named", "own.test"),
        ("/kept", "example.test"),
    ] {
        assert_eq!(gateway.get(path).text(), expect, "{path}");
    }
}

#[test]
fn a_plugin_turns_tls_on_for_a_service_without() {
    let (cert, key) = pair(&["localhost"]);
    let upstream = Upstream::listen(0, Some(server(&cert, &key)), true).unwrap();
    let mut setup = Setup::new();
    setup.plugin("secure", 1, |config| {
        let port = config["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap();
        let verify = config["verify"].as_bool();
        Phases {
            access: Some(Handler::now(move |exchange| {
                exchange.upstream.scheme = Scheme::Https;
                exchange.upstream.tls_verify = verify;
                let host = "localhost".to_owned();
                exchange.upstream.target = Some(Target::Address { host, port });
                Flow::Next
            })),
            ..Phases::default()
        }
    });
    let service = setup.service(json!({"port": 1, "retries": 0}));
    let cases = [("/taken", Value::Null, 200), ("/verified", json!(true), 502)];
    for (path, verify, _) in &cases {
        let route = setup.route(json!({"paths": [path], "service": service}));
        let config = json!({"port": upstream.port(), "verify": verify});
        setup.using(json!({"name": "secure", "config": config, "route": route}));
    }
    let gateway = setup.start();
    for (path, _, status) in cases {
        assert_eq!(gateway.get(path).status, status, "{path}");
    }
}
