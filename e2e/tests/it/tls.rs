//! Certificates of the listeners: made at the first start, given in settings, exchanged while
//! the gateway runs.

use std::fs;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, pem::PemObject};
use silverback_e2e::gateway::{Builder, free_port, said};
use silverback_e2e::http::Connection;
use silverback_e2e::wait::{PATIENCE, wait_until};

fn shown(address: &str) -> Vec<u8> {
    let opened = Connection::open_tls(address, Some("any.test"), Duration::from_secs(30));
    opened.map(|(_, certificate)| certificate).unwrap_or_default()
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

fn pair(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn each_kind_of_listener_makes_a_certificate_once() {
    let (admin, status) = (free_port(), free_port());
    let builder = Builder::new()
        .set("admin_listen", &format!("127.0.0.1:{admin} ssl"))
        .set("status_listen", &format!("127.0.0.1:{status} ssl"));
    let mut gateway = builder.start();
    gateway.keep_prefix();
    let addresses =
        [gateway.proxy_ssl(), format!("127.0.0.1:{admin}"), format!("127.0.0.1:{status}")];
    let all = |addresses: &[String; 3]| [0, 1, 2].map(|at: usize| shown(&addresses[at]));
    let first = all(&addresses);
    for (name, shown) in ["kong", "admin-kong", "status-kong"].iter().zip(&first) {
        let file = gateway.prefix().join(format!("ssl/{name}-default.crt"));
        assert_eq!(der(&fs::read_to_string(file).unwrap()), *shown, "{name}");
    }
    for command in ["stop", "start"] {
        let output = gateway.command(command);
        assert!(output.status.success(), "{}", said(&output));
    }
    assert_eq!(all(&addresses), first);
    let _ = fs::remove_dir_all(gateway.prefix());
}

#[test]
fn given_certificates_are_shown_and_exchanged_by_a_reload() {
    let (admin, status) = (free_port(), free_port());
    let mut builder = Builder::new()
        .set("admin_listen", &format!("127.0.0.1:{admin} ssl"))
        .set("status_listen", &format!("127.0.0.1:{status} ssl"));
    let mut certificates = Vec::new();
    for prefix in ["", "admin_", "status_"] {
        let (cert, key) = pair("any.test");
        let path = |end: &str| builder.prefix().join(format!("{prefix}own.{end}"));
        let (cert_path, key_path) = (path("crt"), path("key"));
        fs::write(&cert_path, &cert).unwrap();
        fs::write(&key_path, key).unwrap();
        builder = builder
            .set(&format!("{prefix}ssl_cert"), &cert_path.display().to_string())
            .set(&format!("{prefix}ssl_cert_key"), &key_path.display().to_string());
        certificates.push(der(&cert));
    }
    let gateway = builder.start();
    let addresses =
        [gateway.proxy_ssl(), format!("127.0.0.1:{admin}"), format!("127.0.0.1:{status}")];
    for (address, certificate) in addresses.iter().zip(&certificates) {
        assert_eq!(shown(address), *certificate, "{address}");
    }
    let (cert, key) = pair("any.test");
    fs::write(gateway.prefix().join("own.crt"), &cert).unwrap();
    fs::write(gateway.prefix().join("own.key"), key).unwrap();
    assert!(gateway.command("reload").status.success());
    wait_until("the new certificate", PATIENCE, || shown(&addresses[0]) == der(&cert));
}
