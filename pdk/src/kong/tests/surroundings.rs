//! Functions about the node, the service, the log, and everything around the request.

use std::sync::Mutex;

use super::*;
use crate::{LogLevel, Session, Try, kong::nginx_vars, set_log_sink};

#[test]
fn shared_values_and_the_rest_of_the_context() {
    let mut e = exchange("GET", "/n?x=1", &[]);
    let map = json!({"k": {"v": 1}});
    check(
        &mut e,
        &[
            ("kong.ctx.shared.set", json!(["map", map]), json!(null)),
            ("kong.ctx.shared.get", json!(["map"]), map),
            ("kong.ctx.shared.set", json!(["map", null]), json!(null)),
            ("kong.ctx.shared.get", json!(["map"]), json!(null)),
            ("kong.ctx.shared.get", json!(["unset"]), json!(null)),
            ("kong.nginx.set_ctx", json!(["mine", 2.5]), json!(null)),
            ("kong.nginx.get_ctx", json!(["mine"]), json!(2.5)),
            ("kong.nginx.get_ctx", json!(["absent"]), json!(null)),
            ("kong.nginx.get_subsystem", json!([]), json!("http")),
            ("kong.nginx.get_tls1_version_str", json!([]), json!(null)),
            ("kong.plugin.get_id", json!([]), json!("33333333-3333-4333-8333-333333333333")),
            ("kong.node.get_id", json!([]), json!("11111111-1111-4111-8111-111111111111")),
            ("kong.node.get_hostname", json!([]), json!("host")),
            (
                "kong.node.get_memory_stats",
                json!([]),
                json!({"workers_lua_vms": [], "lua_shared_dicts": {}}),
            ),
            (
                "kong.node.get_memory_stats",
                json!(["x"]),
                raise("invalid unit 'x' (expected 'k/K', 'm/M', or 'g/G')"),
            ),
            ("kong.cluster.get_id", json!([]), json!(null)),
            ("kong.ip.is_trusted", json!(["127.0.0.1"]), json!(false)),
            ("kong.ip.is_trusted", json!(["10.0.0.1"]), json!(true)),
            ("kong.ip.is_trusted", json!([5]), json!(false)),
        ],
    );
    let statistics = call(&mut e, "kong.nginx.get_statistics", json!([]));
    assert_eq!(statistics["total_requests"], 0);
    let seconds = call(&mut e, "kong.nginx.req_start_time", json!([])).as_f64();
    let millis = call(&mut e, "kong.request.get_start_time", json!([])).as_f64();
    assert_eq!(seconds.map(|seconds| (seconds * 1000.0).round()), millis);
}

#[test]
fn variables() {
    let headers = [
        ("X-Test", "t"),
        ("Cookie", "other=1; session=s1"),
        ("X-Two", "a"),
        ("X-Two", "b"),
        ("Authorization", "Basic eDp5"),
        ("Content-Type", "text/plain"),
    ];
    let mut e = exchange("POST", "/r/p%20q+/../x%2B?a=1&A=2", &headers);
    e.upstream.path = "/up/x".to_owned();
    for (name, expect) in [
        ("uri", json!("/r/x+")),
        ("request_uri", json!("/r/p%20q+/../x%2B?a=1&A=2")),
        ("args", json!("a=1&A=2")),
        ("is_args", json!("?")),
        ("arg_a", json!("1")),
        ("arg_none", json!(null)),
        ("host", json!("example.test")),
        ("http_host", json!("example.test")),
        ("http_x_test", json!("t")),
        ("http_x_two", json!("a, b")),
        ("cookie_session", json!("s1")),
        ("remote_user", json!("x")),
        ("content_type", json!("text/plain")),
        ("request_method", json!("POST")),
        ("scheme", json!("http")),
        ("https", json!("")),
        ("server_port", json!("8000")),
        ("remote_addr", json!("127.0.0.1")),
        ("server_protocol", json!("HTTP/1.1")),
        ("request", json!("POST /r/p%20q+/../x%2B?a=1&A=2 HTTP/1.1")),
        ("status", json!("000")),
        ("upstream_uri", json!("/up/x")),
        ("upstream_scheme", json!("http")),
        ("upstream_host", json!("")),
        ("upstream_status", json!(null)),
        ("nginx_version", json!("1.27.1")),
        ("kong_proxy_mode", json!("http")),
        ("request_length", json!("100")),
        ("ssl_protocol", json!(null)),
        ("no_such_variable", json!(null)),
    ] {
        assert_eq!(call(&mut e, "kong.nginx.get_var", json!([name])), expect, "{name}");
    }
    for (name, length) in [("request_id", 32), ("time_iso8601", 25), ("time_local", 26)] {
        let value = call(&mut e, "kong.nginx.get_var", json!([name]));
        assert_eq!(value.as_str().map(str::len), Some(length), "{name} is {value}");
    }
}

#[test]
fn tls() {
    let mut e = exchange("GET", "/n", &[]);
    e.client.tls = Some(Rc::new(Tls {
        version: "TLSv1.3",
        client_chain: vec![Bytes::from(vec![0; 60])],
        client_verify: "NONE".to_owned(),
        ..Tls::default()
    }));
    let chain = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n{}\n-----END CERTIFICATE-----\n",
        "A".repeat(64),
        "A".repeat(16)
    );
    let unknown = "unknown client verify value: MAYBE accepted values are: \"SUCCESS\", \"NONE\" \
                   or \"FAILED:<reason>\"";
    check(
        &mut e,
        &[
            ("kong.nginx.get_tls1_version_str", json!([]), json!("TLSv1.3")),
            ("kong.nginx.get_var", json!(["ssl_client_verify"]), json!("NONE")),
            ("kong.client.tls.get_full_client_certificate_chain", json!([]), json!(chain)),
            ("kong.client.tls.set_client_verify", json!(["MAYBE"]), raise(unknown)),
            ("kong.client.tls.set_client_verify", json!(["FAILED:x"]), json!(null)),
            ("kong.nginx.get_var", json!(["ssl_client_verify"]), json!("FAILED:x")),
        ],
    );
    e.phase = Phase::Certificate;
    check(
        &mut e,
        &[
            ("kong.client.tls.request_client_certificate", json!([]), json!(true)),
            ("kong.client.tls.disable_session_reuse", json!([]), json!(true)),
        ],
    );
    assert!(e.handshake.request_certificate && e.handshake.no_session_reuse);
}

#[test]
fn where_the_request_goes() {
    let mut e = exchange("GET", "/t", &[]);
    let retries = "retries must be an integer between 0 and 32767: given -1";
    let port = "port must be an integer between 0 and 65535: given 70000";
    let timeout = "connect_timeout must be an integer between 1 and 2147483646: given 0";
    let missing = "could not find an Upstream named 'nobody'";
    check(
        &mut e,
        &[
            ("kong.service.set_upstream", json!([5]), raise("host must be a string")),
            ("kong.service.set_upstream", json!(["nobody"]), json!({ "nil": missing })),
            ("kong.service.set_target", json!([1, 80]), raise("host must be a string")),
            ("kong.service.set_target", json!(["h", "80"]), raise("port must be an integer")),
            ("kong.service.set_target", json!(["h", 70000]), raise(port)),
            ("kong.service.set_retries", json!([-1]), raise(retries)),
            ("kong.service.set_retries", json!([1.5]), raise("retries must be an integer")),
            ("kong.service.set_timeouts", json!([0, 1, 1]), raise(timeout)),
            (
                "kong.service.set_timeouts",
                json!([1, "x", 1]),
                raise("write_timeout must be an integer"),
            ),
            ("kong.service.set_tls_verify", json!([1]), raise("argument must be a boolean")),
            ("kong.service.set_upstream", json!(["other"]), json!(true)),
        ],
    );
    assert_eq!(e.upstream.target, Some(Target::Upstream("other".to_owned())));
    assert_eq!(e.upstream.host_header, None);
    check(
        &mut e,
        &[
            ("kong.service.set_target", json!(["127.0.0.1", 9801]), json!(null)),
            ("kong.service.set_retries", json!([0]), json!(null)),
            ("kong.service.set_timeouts", json!([200, 200, 300]), json!(null)),
            ("kong.service.set_tls_verify", json!([true]), json!(true)),
            ("kong.service.set_tls_verify_depth", json!([2]), json!(true)),
        ],
    );
    let target = Target::Address { host: "127.0.0.1".to_owned(), port: 9801 };
    assert_eq!(e.upstream.target, Some(target));
    assert_eq!(e.upstream.host_header, Some(HeaderValue::from_static("127.0.0.1")));
    assert_eq!((e.upstream.retries, e.upstream.tls_verify), (Some(0), Some(true)));
    assert_eq!(e.upstream.timeouts.map(|t| t.read.as_millis()), Some(300));
}

#[test]
fn what_the_service_answered() {
    let mut e = exchange("GET", "/r", &[]);
    e.phase = Phase::Response;
    let unbuffered = "service body is only available with buffered proxying (see: \
                      kong.service.request.enable_buffering function)";
    check(
        &mut e,
        &[
            ("kong.service.response.get_status", json!([]), json!(null)),
            ("kong.service.response.get_headers", json!([]), json!({})),
            ("kong.service.response.get_header", json!([1]), raise("name must be a string")),
            ("kong.service.response.get_raw_body", json!([]), raise(unbuffered)),
        ],
    );
    e.response.upstream_status = http::StatusCode::from_u16(404).ok();
    e.response.status = http::StatusCode::from_u16(210).expect("a status");
    e.response.headers.insert("x-thing", HeaderValue::from_static("one"));
    e.response.buffered = Some(Bytes::from_static(b"{\"method\":\"POST\"}"));
    check(
        &mut e,
        &[
            ("kong.service.response.get_status", json!([]), json!(404)),
            ("kong.response.get_status", json!([]), json!(210)),
            ("kong.service.response.get_headers", json!([]), json!({"x-thing": "one"})),
            ("kong.service.response.get_header", json!(["X-Thing"]), json!("one")),
            ("kong.service.response.get_header", json!(["nope"]), json!(null)),
            ("kong.service.response.get_raw_body", json!([]), json!("{\"method\":\"POST\"}")),
            ("kong.service.response.get_body", json!([]), json!({"nil": "missing content type"})),
            (
                "kong.service.response.get_body",
                json!(["application/json"]),
                json!({"method": "POST"}),
            ),
        ],
    );
}

#[test]
fn secrets() {
    let mut e = exchange("GET", "/r", &[]);
    let parsed = json!({"name": "my-vault", "resource": "some/secret", "key": "key",
                        "config": {"prefix": "X_", "ttl": "5"}, "version": 2});
    let none = "could not get value from external vault (no value found)";
    check(
        &mut e,
        &[
            ("kong.vault.is_reference", json!(["{vault://env/home}"]), json!(true)),
            ("kong.vault.is_reference", json!(["vault://env/x"]), json!(false)),
            ("kong.vault.is_reference", json!(["{vault:/env/x}"]), json!(false)),
            ("kong.vault.get", json!(["{vault://env/kong-database}"]), json!("off")),
            ("kong.vault.get", json!(["{vault://env/no-such}"]), json!({ "nil": none })),
            ("kong.vault.get", json!(["plain"]), json!({"nil": "not a reference [plain]"})),
            (
                "kong.vault.get",
                json!(["{vault://nowhere/x}"]),
                json!({"nil": "could not find vault (nowhere)"}),
            ),
            (
                "kong.vault.parse_reference",
                json!(["{vault://my-vault/some/secret/key?prefix=X_&ttl=5#2}"]),
                parsed,
            ),
            (
                "kong.vault.parse_reference",
                json!(["{vault://env/only}"]),
                json!({"name": "env", "resource": "only"}),
            ),
        ],
    );
}

/// The exchange has an answer of its service, and is at its end.
fn answered(e: &mut Exchange, path: &str) {
    e.upstream.path = path.to_owned();
    e.upstream.tries.push(Try {
        address: "127.0.0.1:9800".parse().expect("an address"),
        began: e.timing.start,
        failure: None,
    });
    e.timing.balancer_ended = Some(e.timing.start);
    e.response.upstream_status = Some(http::StatusCode::OK);
    e.response.source = Some(Source::Service);
    e.phase = Phase::Log;
}

#[test]
fn the_log_document() {
    let headers = [("Authorization", "Basic eDp5"), ("Proxy-Authorization", "s"), ("X-Test", "1")];
    let mut e = exchange("GET", "/r/a/b?q=1&q=2", &headers);
    let set = "kong.log.set_serialize_value";
    check(
        &mut e,
        &[
            (set, json!(["my.note", "hello"]), json!(null)),
            (set, json!(["my.note", "twice", {"mode": "add"}]), json!(null)),
            (set, json!(["absent", "no", {"mode": "replace"}]), json!(null)),
            (set, json!(["request.method", "OVERRIDDEN"]), json!(null)),
            (set, json!(["workspace_name", null]), json!(null)),
            (set, json!([1, 2]), raise("key must be a string")),
            (set, json!(["a", 2, {"mode": "x"}]), raise("mode must be 'set', 'add' or 'replace'")),
        ],
    );
    answered(&mut e, "/up/a/b");
    let text = call(&mut e, "kong.log.serialize", json!([]));
    let document: Json = serde_json::from_str(text.as_str().expect("text")).expect("JSON");
    let keys = |at: &str| {
        let members = document.pointer(at).and_then(Json::as_object);
        let mut keys: Vec<_> = members.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        keys.join(" ")
    };
    for (at, expect) in [
        (
            "",
            "client_ip latencies my request response route service source started_at tries \
             upstream_status upstream_uri workspace",
        ),
        ("/request", "headers id method querystring size uri url"),
        ("/response", "headers size status"),
        ("/latencies", "kong proxy receive request"),
        (
            "/tries/0",
            "balancer_latency balancer_latency_ns balancer_start balancer_start_ns ip port",
        ),
        ("/route", "id name protocols ws_id"),
    ] {
        assert_eq!(keys(at), expect, "{at}");
    }
    for (at, expect) in [
        ("/my/note", json!("hello")),
        ("/request/method", json!("OVERRIDDEN")),
        ("/request/uri", json!("/r/a/b?q=1&q=2")),
        ("/request/url", json!("http://example.test:8000/r/a/b?q=1&q=2")),
        ("/request/querystring", json!({"q": ["1", "2"]})),
        ("/request/headers/authorization", json!("REDACTED")),
        ("/request/headers/proxy-authorization", json!("REDACTED")),
        ("/request/headers/x-test", json!("1")),
        ("/upstream_uri", json!("/up/a/b?q=1&q=2")),
        ("/upstream_status", json!("200")),
        ("/tries/0/port", json!(9800)),
        ("/source", json!("upstream")),
        ("/client_ip", json!("127.0.0.1")),
        ("/service/name", json!("echo")),
        ("/workspace", json!("22222222-2222-4222-8222-222222222222")),
    ] {
        assert_eq!(document.pointer(at), Some(&expect), "{at}");
    }
}

#[test]
fn a_request_that_no_service_answered() {
    let mut e = exchange("POST", "/l/close", &[]);
    e.upstream.path = "/close".to_owned();
    let address: SocketAddr = "127.0.0.1:9800".parse().expect("an address");
    for failure in [Some(("next", 502)), None] {
        e.upstream.tries.push(Try { address, began: e.timing.start, failure });
    }
    e.response.status = http::StatusCode::GATEWAY_TIMEOUT;
    e.response.source = Some(Source::Error);
    let document = super::super::serialize(&e).expect("a document");
    assert_eq!(document["upstream_status"], "502, 504");
    assert_eq!(document["source"], "kong");
    assert_eq!(document["latencies"]["proxy"], -1);
    assert_eq!(document["tries"][0]["code"], 502);
    let text = super::super::serialize_text(&e).expect("a text");
    let text: Json = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(text["tries"], document["tries"]);
    e.response.upstream_status = Some(http::StatusCode::OK);
    e.response.buffered = Some(Bytes::new());
    let document = super::super::serialize(&e).expect("a document");
    assert_eq!(document["upstream_status"], 200);
}

#[test]
fn telemetry_is_off() {
    let mut e = exchange("GET", "/r", &[]);
    let name = "kong.telemetry.log";
    let nil = |text: &str| json!({ "nil": text });
    let disabled = "Telemetry logging is disabled: log entry will not be recorded. Ensure the \
                    OpenTelemetry plugin is correctly configured to report logs in order to use \
                    this feature.";
    check(
        &mut e,
        &[
            (name, json!([1]), nil("plugin_name must be a string")),
            (name, json!(["p", 1]), nil("plugin_config must be a table")),
            (name, json!(["p", {}]), nil("message_type must be a string")),
            (name, json!(["p", {}, "t", 1]), nil("message must be a string")),
            (name, json!(["p", {}, "t", "m", 1]), nil("attributes must be a table")),
            (name, json!(["p", {}, "t", "m", {}]), nil(disabled)),
        ],
    );
}

#[test]
fn what_may_wait_is_not_called_at_once() {
    let mut e = exchange("GET", "/r", &[]);
    let now = |e: &mut Exchange, name| find(name).and_then(|f| f.call_now(e, &[]));
    assert!(now(&mut e, "kong.request.get_raw_body").is_none());
    assert!(matches!(now(&mut e, "kong.request.get_method"), Some(Ok(Value::Text(_)))));
    assert!(matches!(now(&mut e, "kong.response.get_status"), Some(Err(Stop::Raise(_)))));
}

#[test]
fn lines_of_the_log() {
    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    set_log_sink(LogLevel::Notice, |level, plugin, text| {
        if let Ok(mut lines) = LINES.lock() {
            lines.push(format!("{level} {plugin}: {text}"));
        }
    });
    let mut e = exchange("GET", "/log", &[]);
    for (name, args) in [
        ("kong.log.notice", json!(["text ", 1, true])),
        ("kong.log.err", json!(["über"])),
        ("kong.log.debug", json!(["x"])),
        ("kong.log.warn", json!([1.5])),
        ("kong.log.crit", json!([[1, 2]])),
        ("kong.log.deprecation", json!(["old", {"after": "3.0", "removal": "4.0"}])),
        ("kong.log.alert", json!(["a", null])),
        ("kong.log.info", json!([""])),
    ] {
        check(&mut e, &[(name, args, json!(null))]);
    }
    let lines = LINES.lock().expect("lines").clone();
    let expect = [
        "notice probe: text 1true",
        "err probe: über",
        "warn probe: 1.5",
        "crit probe: [1,2]",
        "warn probe: old (deprecated after 3.0, scheduled for removal in 4.0)",
        "alert probe: anil",
    ];
    // Other tests write lines too.
    for line in expect {
        assert!(lines.iter().any(|written| written == line), "{line} not in {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.starts_with("debug") || line.starts_with("info")));
}

/// What configurations may name is what there is.
#[test]
fn known_variables_have_a_meaning() {
    let mut e = exchange("GET", "/", &[]);
    let meant = |e: &Exchange, name: &&str| nginx_vars::plain(e, name).is_some();
    let of_requests: Vec<_> = nginx_vars::NAMES.into_iter().filter(|n| !meant(&e, n)).collect();
    e.session = Some(Session::default());
    let left: Vec<_> = of_requests.iter().filter(|name| !meant(&e, name)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(of_requests.contains(&"session_time") && !nginx_vars::is_known("none"));
}
