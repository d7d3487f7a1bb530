//! Functions that change the request or the answer.

use super::*;

const PATH: &str = "kong.service.request.set_path";
const HEADER: &str = "kong.service.request.set_header";
const QUERY: &str = "kong.service.request.set_query";
const METHOD: &str = "kong.service.request.set_method";

#[test]
fn the_request_to_the_service() {
    let mut e = exchange("GET", "/s/x?old=1", &[("X-In", "more"), ("X-Gone", "1")]);
    check(
        &mut e,
        &[
            (HEADER, json!(["X-Set", "one"]), json!(null)),
            ("kong.service.request.add_header", json!(["X-In", "was"]), json!(null)),
            ("kong.service.request.clear_header", json!(["X-Gone"]), json!(null)),
            ("kong.service.request.set_headers", json!([{"X-Many": ["p", "q"]}]), json!(null)),
            (HEADER, json!(["Host", "elsewhere.test"]), json!(null)),
            (PATH, json!(["/new/path with space/ü%20x?y"]), json!(null)),
            ("kong.service.request.set_raw_query", json!(["k=%20v&w"]), json!(null)),
            (METHOD, json!(["PATCH"]), json!(null)),
            ("kong.service.request.set_scheme", json!(["https"]), json!(null)),
            ("kong.service.request.enable_buffering", json!([]), json!(null)),
            ("kong.service.request.set_raw_body", json!(["körper"]), json!(null)),
            (
                "kong.request.get_headers",
                json!([]),
                json!({"host": "elsewhere.test", "x-set": "one", "x-in": ["more", "was"],
                       "x-many": ["p", "q"], "content-length": "7"}),
            ),
        ],
    );
    assert_eq!(e.upstream.path, "/new/path%20with%20space/%C3%BC%20x?y");
    assert_eq!(e.request.query.as_deref(), Some("k=%20v&w"));
    assert_eq!(e.request.method, Method::PATCH);
    assert_eq!(e.upstream.scheme, Scheme::Https);
    assert_eq!(e.upstream.host_header, Some(HeaderValue::from_static("elsewhere.test")));
    assert_eq!(e.request.body.at_hand(), Some(Bytes::from("körper")));
    assert!(e.upstream.buffered);
    call(&mut e, "kong.service.request.set_raw_query", json!([""]));
    assert_eq!(e.request.query, None);
}

#[test]
fn refusals_name_the_argument() {
    let mut e = exchange("GET", "/r", &[]);
    let header_nil = "invalid header value for \"a\": got nil, expected array of string, string, \
                      number or boolean";
    let name_one = "invalid header name \"1\": got number, expected string";
    check(
        &mut e,
        &[
            (PATH, json!([1]), raise("path must be a string")),
            (PATH, json!(["rel"]), raise("path must start with /")),
            ("kong.service.request.set_scheme", json!(["ftp"]), raise("invalid scheme: ftp")),
            ("kong.service.request.set_scheme", json!([null]), raise("scheme must be a string")),
            (METHOD, json!(["get"]), raise("invalid method: get")),
            (METHOD, json!(["NO SUCH"]), raise("invalid method: NO SUCH")),
            ("kong.service.request.set_raw_query", json!([{}]), raise("query must be a string")),
            (QUERY, json!(["a=1"]), raise("args must be a table")),
            (QUERY, json!([["x"]]), raise("arg keys must be strings")),
            (HEADER, json!([1, "a"]), raise(name_one)),
            (HEADER, json!(["a", null]), raise(header_nil)),
            ("kong.service.request.set_headers", json!(["a"]), raise("headers must be a table")),
            ("kong.service.request.set_headers", json!([["x"]]), raise(name_one)),
            ("kong.service.request.clear_header", json!([]), raise("header must be a string")),
            ("kong.service.request.set_body", json!(["x"]), raise("args must be a table")),
            ("kong.service.request.set_raw_body", json!([[1]]), raise("body must be a string")),
            (
                "kong.service.request.set_body",
                json!([{"a": 1}, "text/csv"]),
                raise("unsupported content type text/csv"),
            ),
            (
                "kong.response.set_status",
                json!([99]),
                raise("code must be a number between 100 and 599"),
            ),
            ("kong.response.set_status", json!(["200"]), raise("code must be a number")),
            ("kong.response.set_header", json!(["a", null]), raise(header_nil)),
            ("kong.response.set_headers", json!([1]), raise("headers must be a table")),
            ("kong.response.clear_header", json!([1]), raise("header name must be a string")),
        ],
    );
}

#[test]
fn bodies_are_set_by_type() {
    let form = "application/x-www-form-urlencoded";
    for (args, body, content_type) in [
        (
            json!([{"list": [1, 2.5, "é/", true]}, "application/json"]),
            "{\"list\":[1,2.5,\"é/\",true]}",
            "application/json",
        ),
        (json!([{"b": "x y", "a": ["1", "2"], "flag": true}, form]), "a=1&a=2&b=x%20y&flag", form),
        (json!([{"only": "this"}]), "only=this", form),
    ] {
        let mut e = exchange("POST", "/r", &[("Content-Type", form)]);
        check(&mut e, &[("kong.service.request.set_body", args, json!(true))]);
        assert_eq!(e.request.body.at_hand(), Some(Bytes::from(body)));
        assert_eq!(e.request.headers["content-type"], content_type);
    }
    let mut e = exchange("POST", "/r", &[]);
    let none = "content type was neither explicitly given as an argument or received as a header";
    check(&mut e, &[("kong.service.request.set_body", json!([{}]), json!({ "nil": none }))]);
}

#[test]
fn the_answers_head() {
    let mut e = exchange("GET", "/w", &[]);
    check(
        &mut e,
        &[
            ("kong.response.set_header", json!(["X_One", "1"]), json!(null)),
            ("kong.response.add_header", json!(["X-Added", "a"]), json!(null)),
            ("kong.response.add_header", json!(["X-Added", "b"]), json!(null)),
            ("kong.response.set_header", json!(["X-Gone", "1"]), json!(null)),
            ("kong.response.clear_header", json!(["X-Gone"]), json!(null)),
            ("kong.response.set_headers", json!([{"X-Many": ["p", "q"], "X-No": []}]), json!(null)),
            ("kong.response.set_header", json!(["X-Num", 12]), json!(null)),
            ("kong.response.set_header", json!(["Transfer-Encoding", "chunked"]), json!(null)),
            ("kong.response.set_status", json!([202]), json!(null)),
        ],
    );
    e.phase = Phase::HeaderFilter;
    let headers = json!({"x-one": "1", "x-added": ["a", "b"], "x-many": ["p", "q"], "x-num": "12"});
    check(
        &mut e,
        &[
            ("kong.response.get_status", json!([]), json!(202)),
            ("kong.response.get_header", json!(["x-added"]), json!("a")),
            ("kong.response.get_header", json!(["x_one"]), json!("1")),
            ("kong.response.get_headers", json!([]), headers),
            ("kong.response.get_source", json!([]), json!("error")),
        ],
    );
    e.response.source = Some(Source::Service);
    check(&mut e, &[("kong.response.get_source", json!([]), json!("service"))]);
}

#[test]
fn pieces_of_a_body_are_kept_until_the_last() {
    let mut e = exchange("GET", "/w", &[]);
    e.phase = Phase::BodyFilter;
    e.chunk.data = Bytes::from_static(b"one ");
    check(&mut e, &[("kong.response.get_raw_body", json!([]), json!(null))]);
    assert!(e.chunk.data.is_empty());
    e.chunk.data = Bytes::from_static(b"two");
    e.chunk.last = true;
    check(&mut e, &[("kong.response.get_raw_body", json!([]), json!("one two"))]);
    assert_eq!(e.chunk.data, "one two");
    check(&mut e, &[("kong.response.set_raw_body", json!(["three"]), json!(null))]);
    assert_eq!(e.chunk.data, "three");
}
