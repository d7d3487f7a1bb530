//! Functions that read.

use super::*;

#[test]
fn the_request_line() {
    let mut e = exchange("GET", "/r/a%2Fb/../c//d/%7Euser?x=1&y=%20z", &[]);
    check(
        &mut e,
        &[
            ("kong.request.get_scheme", json!([]), json!("http")),
            ("kong.request.get_host", json!([]), json!("example.test")),
            ("kong.request.get_port", json!([]), json!(8000)),
            ("kong.request.get_forwarded_scheme", json!([]), json!("http")),
            ("kong.request.get_forwarded_host", json!([]), json!("example.test")),
            ("kong.request.get_forwarded_port", json!([]), json!(8000)),
            ("kong.request.get_forwarded_path", json!([]), json!("/r/c/d/~user")),
            ("kong.request.get_forwarded_prefix", json!([]), json!("/r")),
            ("kong.request.get_http_version", json!([]), json!(1.1)),
            ("kong.request.get_method", json!([]), json!("GET")),
            ("kong.request.get_path", json!([]), json!("/r/c/d/~user")),
            ("kong.request.get_raw_path", json!([]), json!("/r/a%2Fb/../c//d/%7Euser")),
            (
                "kong.request.get_path_with_query",
                json!([]),
                json!("/r/a%2Fb/../c//d/%7Euser?x=1&y=%20z"),
            ),
            ("kong.request.get_raw_query", json!([]), json!("x=1&y=%20z")),
        ],
    );
}

#[test]
fn forwarded_headers_count_from_trusted_peers_only() {
    let headers = [
        ("X-Forwarded-Proto", "HTTPS"),
        ("X-Forwarded-Host", "me@Shop.Test:4443"),
        ("X-Forwarded-Path", "/pub"),
        ("X-Forwarded-Prefix", "/pre"),
    ];
    let expect = |scheme: &str, host: &str, port: u16, path: &str, prefix: &str| {
        [
            ("kong.request.get_forwarded_scheme", json!([]), json!(scheme)),
            ("kong.request.get_forwarded_host", json!([]), json!(host)),
            ("kong.request.get_forwarded_port", json!([]), json!(port)),
            ("kong.request.get_forwarded_path", json!([]), json!(path)),
            ("kong.request.get_forwarded_prefix", json!([]), json!(prefix)),
        ]
    };
    let mut e = exchange("GET", "/r", &headers);
    check(&mut e, &expect("http", "example.test", 8000, "/r", "/r"));
    e.client.trusted = true;
    check(&mut e, &expect("https", "shop.test", 4443, "/pub", "/pre"));
}

#[test]
fn headers_and_arguments() {
    let headers = [("X-One", "1"), ("X-Empty", ""), ("X-Twice", "a"), ("X-Twice", "b")];
    let mut e = exchange("GET", "/q?a=1&b=x&b=y&flag&empty=", &headers);
    check(
        &mut e,
        &[
            ("kong.request.get_header", json!(["x-ONE"]), json!("1")),
            ("kong.request.get_header", json!(["x_one"]), json!("1")),
            ("kong.request.get_header", json!(["x-none"]), json!(null)),
            ("kong.request.get_header", json!(["x-empty"]), json!("")),
            ("kong.request.get_header", json!(["x-twice"]), json!("a")),
            ("kong.request.get_header", json!([7]), raise("header name must be a string")),
            ("kong.request.get_header", json!([]), raise("header name must be a string")),
            (
                "kong.request.get_headers",
                json!([]),
                json!({"host": "example.test", "x-one": "1", "x-empty": "", "x-twice": ["a", "b"]}),
            ),
            ("kong.request.get_headers", json!([1]), json!({"host": "example.test"})),
            ("kong.request.get_headers", json!([0]), raise("max_headers must be >= 1")),
            ("kong.request.get_headers", json!([1001]), raise("max_headers must be <= 1000")),
            ("kong.request.get_query_arg", json!(["flag"]), json!(true)),
            ("kong.request.get_query_arg", json!(["b"]), json!("x")),
            (
                "kong.request.get_query",
                json!([]),
                json!({"a": "1", "b": ["x", "y"], "flag": true, "empty": ""}),
            ),
            ("kong.request.get_query", json!(["x"]), raise("max_args must be a number")),
            (
                "kong.request.get_query_arg",
                json!([1]),
                raise("query argument name must be a string"),
            ),
        ],
    );
}

#[test]
fn captures() {
    let mut e = exchange("GET", "/u/ann%20b/42", &[]);
    let none = json!({"unnamed": {}, "named": {}});
    check(&mut e, &[("kong.request.get_uri_captures", json!([]), none)]);
    e.matched = Some(Matched {
        route: 0,
        prefix: None,
        captures: Some(Box::new(Captures {
            unnamed: ["/u/ann b/42", "ann b", "42"].map(str::to_owned).to_vec(),
            named: vec![("user".to_owned(), "ann b".to_owned())],
        })),
    });
    let some = json!({"unnamed": {"0": "/u/ann b/42", "1": "ann b", "2": "42"},
                      "named": {"user": "ann b"}});
    check(&mut e, &[("kong.request.get_uri_captures", json!([]), some)]);
}

#[test]
fn bodies() {
    let mut e = exchange("POST", "/b", &[("Content-Type", "application/json")]);
    e.request.body = Body::from_bytes("{\"n\": 1}");
    check(
        &mut e,
        &[
            ("kong.request.get_raw_body", json!([]), json!("{\"n\": 1}")),
            ("kong.request.get_body", json!([]), json!({"n": 1})),
            (
                "kong.request.get_body",
                json!(["text/plain"]),
                json!({"nil": "unsupported content type 'text/plain'"}),
            ),
        ],
    );
    e.request.body = Body::from_bytes(vec![b'x'; 11_000]);
    let refusal = "request body did not fit into client body buffer, consider raising \
                   'client_body_buffer_size'";
    check(&mut e, &[("kong.request.get_raw_body", json!([]), json!({ "nil": refusal }))]);
    assert_eq!(call(&mut e, "kong.request.get_raw_body", json!([0])), json!("x".repeat(11_000)));
    assert_eq!(e.request.body.at_hand().map(|body| body.len()), Some(11_000));
}

#[test]
fn a_large_stream_stays_whole() {
    let mut e = exchange("POST", "/b", &[]);
    e.view = Rc::new(Fake { node: Node { body_buffer_max: 3, ..Fake::new().node }, ..Fake::new() });
    let body = http_body_util::Full::new(Bytes::from_static(b"12345"));
    let body = http_body_util::BodyExt::map_err(body, |never| match never {});
    e.request.body = Body::Stream(Box::pin(body));
    let answer = call(&mut e, "kong.request.get_raw_body", json!([]));
    assert!(answer["nil"].is_string(), "{answer}");
    assert_eq!(call(&mut e, "kong.request.get_raw_body", json!([0])), json!("12345"));
}

#[test]
fn phases_are_checked() {
    let mut e = exchange("GET", "/r", &[]);
    for (phase, name, text) in [
        (
            Phase::HeaderFilter,
            "kong.request.get_raw_body",
            "function cannot be called in header_filter phase (only in: rewrite, access, \
             response, error, admin_api)",
        ),
        (
            Phase::Access,
            "kong.response.get_status",
            "function cannot be called in access phase (only in: response, header_filter, \
             body_filter, log, error, admin_api)",
        ),
        (
            Phase::Access,
            "kong.response.set_raw_body",
            "function cannot be called in access phase (only in: body_filter)",
        ),
        (
            Phase::HeaderFilter,
            "kong.service.request.set_path",
            "function cannot be called in header_filter phase (only in: rewrite, access, balancer)",
        ),
        (
            Phase::HeaderFilter,
            "kong.client.authenticate",
            "function cannot be called in header_filter phase (only in: access)",
        ),
        (
            Phase::InitWorker,
            "kong.client.get_ip",
            "function cannot be called in init_worker phase (can be called in any phases \
             except: init_worker)",
        ),
    ] {
        e.phase = phase;
        assert_eq!(call(&mut e, name, json!([])), raise(text), "{name}");
    }
}

#[test]
fn the_client() {
    let mut e = exchange("GET", "/c", &[]);
    let not_uuid = "cannot load a consumer with an id that is not a uuid";
    let alice = json!({"id": ALICE, "username": "alice"});
    check(
        &mut e,
        &[
            ("kong.client.get_ip", json!([]), json!("127.0.0.1")),
            ("kong.client.get_forwarded_ip", json!([]), json!("127.0.0.1")),
            ("kong.client.get_port", json!([]), json!(50000)),
            ("kong.client.get_protocol", json!([]), json!("http")),
            ("kong.client.get_consumer", json!([]), json!(null)),
            ("kong.client.get_credential", json!([]), json!(null)),
            ("kong.client.load_consumer", json!([ALICE]), alice.clone()),
            ("kong.client.load_consumer", json!(["alice", true]), alice),
            ("kong.client.load_consumer", json!(["nobody", true]), json!(null)),
            ("kong.client.load_consumer", json!(["alice"]), raise(not_uuid)),
            ("kong.client.load_consumer", json!([]), raise("consumer_id must be a string")),
            (
                "kong.client.authenticate",
                json!([null, null]),
                raise("either credential or consumer must be provided"),
            ),
            (
                "kong.client.authenticate",
                json!(["x", null]),
                raise("consumer must be a table or nil"),
            ),
            ("kong.client.authenticate", json!([{"username": "carl"}, {"id": "c"}]), json!(null)),
            ("kong.client.get_consumer", json!([]), json!({"username": "carl"})),
            ("kong.client.get_credential", json!([]), json!({"id": "c"})),
        ],
    );
    e.request.scheme = Scheme::Https;
    check(&mut e, &[("kong.client.get_protocol", json!([]), json!("https"))]);
}
