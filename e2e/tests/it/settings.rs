//! Settings that clients can see.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use silverback_e2e::gateway::Builder;
use silverback_e2e::http::Request;
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

use crate::uses::routes;

#[test]
fn errors_look_as_templates_say() {
    let mut builder = Builder::new();
    let path = |builder: &Builder, kind: &str| builder.prefix().join(format!("{kind}.txt"));
    for kind in ["json", "html", "xml", "plain"] {
        let path = path(&builder, kind);
        fs::write(&path, format!("{kind}: 100%% %s, %s!")).unwrap();
        builder = builder.set(&format!("error_template_{kind}"), &path.display().to_string());
    }
    let gateway = builder.start();
    let ask = |accept: &str| {
        let answer = gateway.send(&Request::get("/none").header("Accept", accept)).unwrap();
        let id = answer.header("x-kong-request-id").unwrap_or_default().to_owned();
        answer.text().replace(&id, "ID")
    };
    for (accept, kind) in [
        ("application/json", "json"),
        ("text/html", "html"),
        ("application/xml", "xml"),
        ("text/plain", "plain"),
    ] {
        let expect = format!("{kind}: 100% no Route matched with those values, ID!");
        assert_eq!(ask(accept), expect);
    }
    // One that is exchanged counts from the next reload on.
    fs::write(path_of(&gateway, "html"), "new %s").unwrap();
    assert!(gateway.command("reload").status.success());
    wait_until("the new template", PATIENCE, || ask("text/html").starts_with("new no Route"));
}

fn path_of(gateway: &silverback_e2e::gateway::Gateway, kind: &str) -> std::path::PathBuf {
    gateway.prefix().join(format!("{kind}.txt"))
}

#[test]
fn a_template_that_is_missing_is_named() {
    let refused = Builder::new().set("error_template_html", "/none/x.html").try_start();
    let text = refused.err().expect("a refusal");
    assert!(text.contains("error_template_html: can't read /none/x.html"), "{text}");
}

#[test]
fn routes_are_told_to_those_who_debug() {
    let upstream = Upstream::start();
    for allowed in ["on", "off"] {
        let gateway = Builder::new()
            .set("allow_debug_header", allowed)
            .declarative(&routes(&upstream, &[("r", "")]))
            .start();
        let debugged = gateway.send(&Request::get("/r").header("Kong-Debug", "1")).unwrap();
        let told = ["kong-route-id", "kong-route-name", "kong-service-id", "kong-service-name"]
            .map(|name| debugged.header(name).is_some());
        assert_eq!(told[0] && told[2], allowed == "on", "{:?}", debugged.headers);
        assert!(gateway.get("/r").header("kong-route-id").is_none());
    }
}

#[test]
fn clients_have_so_much_time() {
    let upstream = Upstream::start();
    let gateway = Builder::new()
        .set("nginx_http_client_header_timeout", "1s")
        .set("nginx_http_keepalive_timeout", "300s")
        .declarative(&routes(&upstream, &[("r", "")]))
        .start();
    let mut stream = TcpStream::connect(gateway.proxy()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut rest = String::new();
    // Half a head is waited for no longer than the time for heads.
    stream.write_all(b"GET /r HTTP/1.1\r\nHost: a\r\n").unwrap();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    let closing = Builder::new()
        .set("nginx_http_keepalive_timeout", "0")
        .declarative(&routes(&upstream, &[("r", "")]))
        .start();
    let mut stream = TcpStream::connect(closing.proxy()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"GET /r HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("Connection: close"), "{rest}");
}

#[test]
fn workers_have_so_many_connections() {
    let upstream = Upstream::start();
    let gateway = Builder::new()
        .set("nginx_events_worker_connections", "3")
        .set("nginx_main_worker_rlimit_nofile", "512")
        .declarative(&routes(&upstream, &[("r", "")]))
        .start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let open = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open.split_whitespace().nth(3), Some("512"), "{open}");
    let held: Vec<_> = (0..3).map(|_| TcpStream::connect(gateway.proxy()).unwrap()).collect();
    wait_until("no more connections", PATIENCE, || gateway.send(&Request::get("/r")).is_err());
    drop(held);
    gateway.wait_status("/r", 200);
}
