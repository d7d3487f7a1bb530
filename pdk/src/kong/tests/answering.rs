//! Functions that answer the request, and the gateway's own answers.

use http::StatusCode;

use super::*;
use crate::Answer;

fn answer(exchange: &mut Exchange, name: &str, args: Json) -> Answer {
    match try_call(exchange, name, &args) {
        Err(Stop::Exit(answer)) => *answer,
        other => panic!("{name} {args} gave {other:?}"),
    }
}

fn text(answer: &Answer) -> String {
    answer.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned()).unwrap_or_default()
}

#[test]
fn exits() {
    let json_type = Some("application/json; charset=utf-8");
    for (args, status, content_type, body) in [
        (json!([418]), 418, None, None),
        (json!([200, "plain"]), 200, None, Some("plain")),
        (json!([204, "", {}]), 204, None, Some("")),
        (json!([201, {"a": 1, "l": [1, "x"]}]), 201, json_type, Some(r#"{"a":1,"l":[1,"x"]}"#)),
        (
            json!([200, {"a": 1}, {"content-type": "application/vnd.x+json"}]),
            200,
            Some("application/vnd.x+json"),
            Some(r#"{"a":1}"#),
        ),
        (json!([200, "longer body", {"Content-Length": 6}]), 200, None, Some("longer")),
        (json!([200, "body", {"Transfer-Encoding": "chunked"}]), 200, None, Some("body")),
        (json!([200, {"n": 3.0}]), 200, json_type, Some(r#"{"n":3}"#)),
    ] {
        let mut e = exchange("GET", "/r", &[]);
        let got = answer(&mut e, "kong.response.exit", args.clone());
        assert_eq!(got.status.as_u16(), status, "{args}");
        assert_eq!(got.body.as_deref(), body.map(str::as_bytes), "{args}");
        let got_type = got.headers.get("content-type").and_then(|v| v.to_str().ok());
        assert_eq!(got_type, content_type, "{args}");
        assert_eq!(got.source, Source::Exit);
        assert!(!got.headers.contains_key("transfer-encoding"));
    }
    let args = json!([302, null, {"Set-Cookie": ["a=1", "b=2"], "X-Num": 5, "X-Bool": true}]);
    let got = answer(&mut exchange("GET", "/r", &[]), "kong.response.exit", args);
    assert_eq!(got.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(
        (&got.headers["x-num"], &got.headers["x-bool"]),
        (&"5".parse().expect("v"), &"true".parse().expect("v"))
    );
}

#[test]
fn bad_arguments_are_refused() {
    let mut e = exchange("GET", "/r", &[]);
    let (exit, error) = ("kong.response.exit", "kong.response.error");
    let nested = "invalid header value in array \"x\": got table, expected string";
    let between = "code must be a number between 100 and 599";
    check(
        &mut e,
        &[
            (exit, json!(["200"]), raise("code must be a number")),
            (exit, json!([]), raise("code must be a number")),
            (exit, json!([99]), raise(between)),
            (exit, json!([1000, "x", {}]), raise(between)),
            (exit, json!([200, 5]), raise("body must be a nil, string or table")),
            (exit, json!([200, "", "x"]), raise("headers must be a nil or table")),
            (exit, json!([200, "", {"x": [{}]}]), raise(nested)),
            (error, json!([200]), raise("code must be a number between 400 and 599")),
            (error, json!([500, 7]), raise("message must be a nil, a string or a table")),
            (error, json!([500, "m", 1]), raise("headers must be a nil or table")),
        ],
    );
}

const HTML: &str = r#"<!doctype html>
<html>
  <head>
    <meta charset="utf-8">
    <title>Error</title>
  </head>
  <body>
    <h1>Error</h1>
    <p>MESSAGE.</p>
    <p>request_id: ID</p>
  </body>
</html>
"#;
const JSON: &str = "{\n  \"message\":\"MESSAGE\",\n  \"request_id\":\"ID\"\n}";
const XML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<error>
  <message>MESSAGE</message>
  <requestid>ID</requestid>
</error>
"#;
const PLAIN: &str = "MESSAGE\nrequest_id: ID\n";

fn expect_error(exchange: &Exchange, got: &Answer, template: &str, message: &str) {
    let expect = template.replace("MESSAGE", message).replace("ID", exchange.request.id.as_str());
    assert_eq!(text(got), expect);
}

#[test]
fn errors_are_negotiated() {
    for (accept, template, content_type) in [
        ("", JSON, "application/json; charset=utf-8"),
        ("text/html", HTML, "text/html; charset=utf-8"),
        ("application/xml;q=0.9, text/html;q=0.1", XML, "application/xml; charset=utf-8"),
        ("text/*", PLAIN, "text/plain; charset=utf-8"),
        ("text/xml", JSON, "application/json; charset=utf-8"),
        ("TEXT/HTML", JSON, "application/json; charset=utf-8"),
        ("*/*", JSON, "application/json; charset=utf-8"),
        ("nonsense", JSON, "application/json; charset=utf-8"),
    ] {
        let mut e = exchange("GET", "/r", &[("Accept", accept)]);
        let got = answer(&mut e, "kong.response.error", json!([429, "slow"]));
        expect_error(&e, &got, template, "slow");
        assert_eq!(got.headers["content-type"], content_type, "{accept}");
    }
    let mut e = exchange("GET", "/r", &[]);
    let headers = json!({"X-E": "1", "Content-Type": "application/xml"});
    let got = answer(&mut e, "kong.response.error", json!([500, "with headers", headers]));
    expect_error(&e, &got, XML, "with headers");
    assert_eq!(got.headers["content-type"], "application/xml");
    let got = answer(&mut e, "kong.response.error", json!([599]));
    expect_error(&e, &got, JSON, "The upstream server responded with 599");
    // Kong writes the table's quotes into the JSON as they are.
    let got = answer(&mut e, "kong.response.error", json!([418, {"code": 7}]));
    expect_error(&e, &got, JSON, r#"{\"code\":7}"#);
}

#[test]
fn the_gateways_own_errors() {
    for (status, headers, template) in [
        (404, &[][..], JSON),
        (404, &[("Content-Type", "text/html")], JSON),
        (404, &[("Accept", "text/html")], HTML),
        (502, &[], PLAIN),
        (502, &[("Content-Type", "text/html")], HTML),
        (502, &[("Accept", "application/json"), ("Content-Type", "text/html")], JSON),
    ] {
        let e = exchange("GET", "/r", headers);
        let status = StatusCode::from_u16(status).expect("a status");
        let got = answers::error_answer(&e, status, Some("what"));
        expect_error(&e, &got, template, "what");
        assert_eq!(got.source, Source::Error);
    }
    let mut e = exchange("GET", "/r", &[]);
    for (phase, template) in
        [(Phase::Access, JSON), (Phase::Rewrite, PLAIN), (Phase::Response, PLAIN)]
    {
        e.phase = phase;
        let got = answers::error_answer(&e, StatusCode::INTERNAL_SERVER_ERROR, None);
        expect_error(&e, &got, template, "An unexpected error occurred");
    }
    let e = exchange("GET", "/r", &[("Accept", "application/grpc")]);
    let got = answers::error_answer(&e, StatusCode::NOT_FOUND, None);
    assert_eq!(
        (text(&got), &got.headers["content-type"]),
        (String::new(), &HeaderValue::from_static(""))
    );
}

#[test]
fn grpc_errors_stand_in_headers() {
    let mut e = exchange("POST", "/r", &[("Content-Type", "application/grpc+proto")]);
    e.request.version = Version::HTTP_2;
    let got = answers::error_answer(&e, StatusCode::NOT_FOUND, Some("no Route"));
    assert_eq!(got.headers["grpc-status"], "5");
    assert_eq!(got.headers["grpc-message"], "no Route");
    let got = answer(&mut e, "kong.response.exit", json!([401, {"message": "who?"}]));
    assert_eq!(got.headers["grpc-status"], "16");
    assert_eq!(got.headers["grpc-message"], "who?");
    assert_eq!(text(&got), "");
}

#[test]
fn answers_without_a_body_get_a_page() {
    let page = |title: &str| {
        format!(
            "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n\
             <center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
        )
    };
    for (status, content_type, body) in [
        (403, Some("text/html; charset=UTF-8"), page("403 Forbidden")),
        (401, Some("text/html; charset=UTF-8"), page("401 Authorization Required")),
        (302, Some("text/html"), page("302 Found")),
        (307, Some("text/html; charset=UTF-8"), page("307 Temporary Redirect")),
        (204, None, String::new()),
        (418, None, String::new()),
        (504, Some("text/plain; charset=utf-8"), "The upstream server is timing out\n".to_owned()),
        (404, Some("text/plain; charset=utf-8"), "Not found\n".to_owned()),
    ] {
        let mut e = exchange("GET", "/r", &[]);
        let bare = answer(&mut e, "kong.response.exit", json!([status, null, {"X-A": "1"}]));
        let got = answers::complete_answer(&e, bare);
        let got_type = got.headers.get("content-type").and_then(|v| v.to_str().ok());
        assert_eq!(got_type, content_type, "{status}");
        assert!(text(&got).starts_with(&body), "{status}: {}", text(&got));
        assert_eq!(
            (&got.headers["x-a"], got.source),
            (&HeaderValue::from_static("1"), Source::Exit)
        );
    }
}
