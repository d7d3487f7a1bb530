//! What stands in the access logs.

use std::fs;

use serde_json::{Value, json};
use silverback_e2e::gateway::{Builder, Gateway};
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_for};

use crate::uses::routes;

/// The first line of the access log, after a request to `/r` and the gateway's end.
fn first_line(gateway: &Gateway) -> String {
    gateway.wait_status("/r", 200);
    let path = gateway.prefix().join("logs/access.log");
    wait_for("a line in the access log", PATIENCE, || {
        let text = fs::read_to_string(&path).ok()?;
        text.contains('\n').then(|| text.lines().next().unwrap_or_default().to_owned())
    })
}

#[test]
fn a_format_of_ones_own() {
    let upstream = Upstream::start();
    let gateway = Builder::new()
        .set("proxy_access_log", "logs/access.log mine")
        .set(
            "nginx_http_log_format",
            "mine '$request_method ${uri} $status $upstream_status' \
             ' \"$http_none\" $upstream_addr'",
        )
        .declarative(&routes(&upstream, &[("r", "")]))
        .start();
    let expect = format!("GET /r 200 200 \"-\" 127.0.0.1:{}", upstream.port());
    assert_eq!(first_line(&gateway), expect);
}

#[test]
fn lines_of_json() {
    let upstream = Upstream::start();
    let gateway = Builder::new()
        .set("proxy_access_log", "logs/access.log json")
        .declarative(&routes(&upstream, &[("r", "")]))
        .start();
    let line: Value = serde_json::from_str(&first_line(&gateway)).unwrap();
    let told = json!([line["method"], line["uri"], line["status"], line["upstream_status"]]);
    assert_eq!(told, json!(["GET", "/r", "200", "200"]));
    let times =
        ["request_time", "upstream_time"].map(|name| line[name].as_str().unwrap_or_default());
    assert!(times.iter().all(|time| time.parse::<f64>().is_ok()), "{line}");
    assert_eq!(line["request_id"].as_str().map(str::len), Some(32), "{line}");
}

#[test]
fn lines_by_syslog() {
    let upstream = Upstream::start();
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = format!("syslog:server={}", server.local_addr().unwrap());
    let gateway = Builder::new()
        .set("proxy_access_log", &format!("{to},tag=access,facility=local0,nohostname mine"))
        .set("nginx_http_log_format", "mine '$request_method $uri $status'")
        .set("proxy_error_log", &format!("{to},tag=error,nohostname"))
        .declarative(&routes(&upstream, &[("r", "")]))
        .start();
    gateway.wait_status("/r", 200);
    let (mut access, mut error) = (None, None);
    let mut buffer = [0; 65_536];
    while access.is_none() || error.is_none() {
        let size = server.recv(&mut buffer).unwrap();
        let line = String::from_utf8_lossy(&buffer[..size]).into_owned();
        // Facility 16 and severity 6; facility 23 and the severity of the message.
        if line.starts_with("<134>") && line.ends_with(" access: GET /r 200") {
            access = Some(line);
        } else if line.starts_with("<189>") && line.contains(" error: 20") {
            assert!(line.contains(" [notice] "), "{line}");
            error = Some(line);
        }
    }
    let refused = Builder::new().set("proxy_access_log", "syslog:tag=a").try_start();
    let text = refused.err().expect("a refusal");
    assert!(text.contains("proxy_access_log: syslog: it has no server=ADDRESS"), "{text}");
}

#[test]
fn a_format_that_is_none_is_refused() {
    let start = |format: &str| {
        let builder = Builder::new().set("proxy_access_log", "logs/access.log mine");
        builder.set("nginx_http_log_format", format).try_start().err().expect("a refusal")
    };
    let text = start("other '$status'");
    let expect = "unknown log format 'mine': define it with nginx_http_log_format = mine '...'";
    assert!(text.contains(expect), "{text}");
    let text = start("mine '$stat'");
    let expect = "nginx_http_log_format: log format 'mine': unknown variable '$stat'";
    assert!(text.contains(expect), "{text}");
}
