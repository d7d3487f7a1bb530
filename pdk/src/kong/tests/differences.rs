//! Where functions differ from Kong's on purpose (`conformance/differences.md`).

use super::*;

#[test]
fn the_log_phase_reads_the_request() {
    let mut e = exchange("GET", "/r?a=1", &[("X-One", "1")]);
    e.phase = Phase::Log;
    e.response.upstream_status = Some(http::StatusCode::ACCEPTED);
    e.response.headers.insert("x-upstream", HeaderValue::from_static("echo"));
    check(
        &mut e,
        &[
            ("kong.request.get_method", json!([]), json!("GET")),
            ("kong.request.get_query", json!([]), json!({"a": "1"})),
            ("kong.request.get_header", json!(["x-one"]), json!("1")),
            ("kong.client.get_ip", json!([]), json!("127.0.0.1")),
            ("kong.client.get_protocol", json!([]), json!("http")),
            ("kong.nginx.get_var", json!(["request_uri"]), json!("/r?a=1")),
            ("kong.service.response.get_status", json!([]), json!(202)),
            ("kong.service.response.get_header", json!(["x-upstream"]), json!("echo")),
            ("kong.service.response.get_headers", json!([]), json!({"x-upstream": "echo"})),
        ],
    );
}

#[test]
fn messages_stay_inside_their_errors() {
    let message = "<b a=\"1\">&";
    let id_line = |line: &str, e: &Exchange| line.replace("ID", e.request.id.as_str());
    for (accept, expect) in [
        ("application/json", "{\n  \"message\":\"<b a=\\\"1\\\">&\",\n  \"request_id\":\"ID\"\n}"),
        ("text/plain", "<b a=\"1\">&\nrequest_id: ID\n"),
        ("text/html", "    <p>&lt;b a=\"1\"&gt;&amp;.</p>\n    <p>request_id: ID</p>"),
        ("application/xml", "  <message>&lt;b a=\"1\"&gt;&amp;</message>\n  <requestid>ID<"),
    ] {
        let mut e = exchange("GET", "/r", &[("Accept", accept)]);
        let args = json!([400, message]);
        let Err(Stop::Exit(answer)) = try_call(&mut e, "kong.response.error", &args) else {
            panic!("no answer")
        };
        let body = String::from_utf8_lossy(answer.body.as_deref().unwrap_or_default()).into_owned();
        assert!(body.contains(&id_line(expect, &e)), "{accept}: {body}");
    }
}

#[test]
fn answers_that_kong_refuses_or_changes() {
    let mut e = exchange("GET", "/r", &[]);
    let mut body = |name, args| match try_call(&mut e, name, &args) {
        Err(Stop::Exit(answer)) => answer.body.unwrap_or_default(),
        other => panic!("{other:?}"),
    };
    assert_eq!(body("kong.response.exit", json!([200, {"l": []}])), "{\"l\":[]}");
    let typed = json!([500, "m", {"Content-Type": "application/vnd.x"}]);
    assert!(body("kong.response.error", typed).starts_with(b"{\n  \"message\":\"m\""));
}

#[test]
fn header_names_must_be_possible() {
    let mut e = exchange("GET", "/r", &[]);
    let refusal = "invalid header name \"a b\": it holds a character that must not stand in one";
    for name in ["kong.response.set_header", "kong.service.request.add_header"] {
        check(&mut e, &[(name, json!(["a b", "v"]), raise(refusal))]);
    }
}
