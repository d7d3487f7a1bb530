//! Secrets that become others while traffic flows.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;
use silverback_e2e::gateway::Gateway;
use silverback_e2e::http::{Connection, Request};
use silverback_e2e::load::Load;
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

use super::{assert_not_logged, builder, told};
use crate::uses::{plugin, routes};

/// Puts files into a directory as Kubernetes does: all at once, by one link.
fn mount(directory: &Path, version: &str, files: &[(&str, &str)]) {
    let data = directory.join(format!("..{version}"));
    fs::create_dir_all(&data).unwrap();
    for (name, content) in files {
        fs::write(data.join(name), content).unwrap();
        let link = directory.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(format!("..data/{name}"), link).unwrap();
        }
    }
    let new = directory.join("..data_tmp");
    symlink(format!("..{version}"), &new).unwrap();
    fs::rename(&new, directory.join("..data")).unwrap();
}

/// A vault whose secrets don't last long, with more of its configuration.
fn quick(more: &str) -> String {
    format!("vaults:\n- {{prefix: quick, name: file, config: {{ttl: 1, neg_ttl: 1, {more}}}}}\n")
}

fn wait_told(gateway: &Gateway, upstream: &Upstream, expect: &str) {
    wait_until(&format!("the secret to be {expect:?}"), PATIENCE, || {
        told(gateway, upstream, "/r")["secret"] == expect
    });
}

/// A new version of a file is in use within its ttl, while requests flow, and none fails.
#[test]
fn files_are_read_again() {
    let upstream = Upstream::start();
    let (builder, secrets) = builder();
    let app = secrets.join("app");
    mount(&app, "1", &[("key", "first-key"), ("other", "never-used")]);
    let teller = plugin("teller", "secret: '{vault://quick/key}'");
    let yaml = routes(&upstream, &[("r", &teller), ("busy", &teller)]) + &quick("directory: app");
    let gateway = builder.declarative(&yaml).start();
    wait_told(&gateway, &upstream, "first-key");
    let load = Load::start(&gateway.proxy(), 2, &[Request::get("/busy")]);
    mount(&app, "2", &[("key", "second-key"), ("other", "never-used")]);
    wait_told(&gateway, &upstream, "second-key");
    gateway.wait_log("{vault://quick/key} is a new one");
    // Without a limit, what is gone serves on.
    fs::remove_dir_all(&app).unwrap();
    gateway.wait_log("{vault://quick/key} serves on as it was");
    assert_eq!(told(&gateway, &upstream, "/r")["secret"], "second-key");
    mount(&app, "3", &[("key", "third-key")]);
    wait_told(&gateway, &upstream, "third-key");
    let shots = load.stop();
    let good = shots.iter().filter(|s| s.answer.as_ref().is_ok_and(|a| a.status == 200)).count();
    assert_eq!(good, shots.len(), "requests failed while secrets changed");
    assert_not_logged(gateway.prefix(), &["first-key", "second-key", "third-key", "never-used"]);
}

#[test]
fn what_is_gone_serves_for_its_time() {
    let upstream = Upstream::start();
    let (builder, secrets) = builder();
    fs::write(secrets.join("key"), "a-value").unwrap();
    let teller = plugin("teller", "secret: '{vault://quick/key}'");
    let yaml = routes(&upstream, &[("r", &teller)]) + &quick("resurrect_ttl: 1");
    let gateway = builder.declarative(&yaml).start();
    wait_told(&gateway, &upstream, "a-value");
    fs::remove_file(secrets.join("key")).unwrap();
    wait_told(&gateway, &upstream, "");
    gateway.wait_log("{vault://quick/key} is lost: could not get value from external vault");
    fs::write(secrets.join("key"), "another").unwrap();
    wait_told(&gateway, &upstream, "another");
}

/// `kong.vault.try` and `kong.vault.flush` don't wait for the ttl; a `ttl` of 0 is for ever else.
#[test]
fn lua_has_secrets_read_again() {
    let upstream = Upstream::start();
    let (builder, secrets) = builder();
    fs::write(secrets.join("key"), "one").unwrap();
    let teller = plugin("teller", "secret: '{vault://file/key}'");
    let yaml = routes(&upstream, &[("r", &teller)]);
    let gateway = builder.set("vault_file_ttl", "0").declarative(&yaml).start();
    wait_told(&gateway, &upstream, "one");
    fs::write(secrets.join("key"), "two").unwrap();
    let tried = told(&gateway, &upstream, "/r?order=try");
    assert_eq!(tried, json!({ "calls": 2, "got": "two" }));
    wait_told(&gateway, &upstream, "two");
    fs::write(secrets.join("key"), "three").unwrap();
    told(&gateway, &upstream, "/r?order=warmup");
    told(&gateway, &upstream, "/r?order=flush");
    wait_told(&gateway, &upstream, "three");
    let got = told(&gateway, &upstream, "/r?order=get&reference={vault://file/key}");
    assert_eq!(got, json!(["three"]));
    // A file that nobody has asked for before.
    fs::write(secrets.join("late"), r#"{"a": "b"}"#).unwrap();
    let got = told(&gateway, &upstream, "/r?order=get&reference={vault://file/late/a}");
    assert_eq!(got, json!(["b"]));
}

/// The certificate that is shown for a name, DER.
fn shown(gateway: &Gateway, name: &str) -> Vec<u8> {
    let opened = Connection::open_tls(&gateway.proxy_ssl(), Some(name), PATIENCE);
    opened.map(|(_, certificate)| certificate).unwrap_or_default()
}

#[test]
fn certificates_are_replaced() {
    let (builder, secrets) = builder();
    let pair = || {
        let pair = rcgen::generate_simple_self_signed(["own.test".to_owned()]).unwrap();
        (pair.cert.pem(), pair.signing_key.serialize_pem(), pair.cert.der().to_vec())
    };
    let ((cert, key, first), (next_cert, next_key, second)) = (pair(), pair());
    let tls = secrets.join("tls");
    mount(&tls, "1", &[("tls.crt", &cert), ("tls.key", &key)]);
    let of = |cert: &str, key: &str, name: &str| {
        format!(
            "- cert: '{{vault://quick/{cert}}}'\n  key: '{{vault://quick/{key}}}'\n  snis: \
             [{{name: {name}}}]\n"
        )
    };
    let yaml = String::from("_format_version: '3.0'\n")
        + &quick("directory: tls")
        + "certificates:\n"
        + &of("tls.crt", "tls.key", "own.test")
        + &of("none", "none", "none.test");
    let gateway = builder.declarative(&yaml).start();
    wait_until("the first certificate", PATIENCE, || shown(&gateway, "own.test") == first);
    // A certificate that is not there leaves the node's own.
    assert!(![Vec::new(), first.clone()].contains(&shown(&gateway, "none.test")));
    gateway.wait_log("cert: {vault://quick/none}: could not get value from external vault");

    // A certificate without its key is not used.
    mount(&tls, "2", &[("tls.crt", &next_cert), ("tls.key", &key)]);
    gateway.wait_log("its secrets can't be used");
    wait_until("the log to tell of own.test's", PATIENCE, || {
        gateway.log().contains("{vault://quick/tls.crt} is a new one")
    });
    assert_eq!(shown(&gateway, "own.test"), first);
    mount(&tls, "3", &[("tls.crt", &next_cert), ("tls.key", &next_key)]);
    wait_until("the second certificate", PATIENCE, || shown(&gateway, "own.test") == second);
    assert_not_logged(gateway.prefix(), &["PRIVATE KEY", key.lines().nth(1).unwrap_or("?")]);
}

/// What a plugin says of a secret that it can't use is told without the secret; one that only logs
/// stops no request.
#[test]
fn secrets_that_do_not_fit() {
    let upstream = Upstream::start();
    let (builder, secrets) = builder();
    fs::write(secrets.join("endpoint"), "s3cret no endpoint").unwrap();
    let log = plugin("http-log", "http_endpoint: '{vault://file/endpoint}'");
    let gateway = builder.declarative(&routes(&upstream, &[("r", &log)])).start();
    gateway.wait_status("/r", 200);
    gateway
        .wait_log("(http-log): its secrets can't be used: http_endpoint: {vault://file/endpoint}");
    assert_not_logged(gateway.prefix(), &["s3cret no endpoint"]);
}
