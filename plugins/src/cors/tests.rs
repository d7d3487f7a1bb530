use futures_util::FutureExt;
use serde_json::{Value as Json, json};

use super::*;
use crate::testing::Case;

/// The headers that matter, short, of the answer to a request; "exit" before those of a preflight.
fn answer(config: &Json, method: &str, headers: &[(&str, &str)]) -> String {
    let (phases, mut exchange) =
        Case::new(config).request(method, "/").headers(headers).start(&plugin());
    let flow = phases.access.unwrap().run(&mut exchange).now_or_never().unwrap();
    let mut words = Vec::new();
    if let Flow::Exit(answer) = flow {
        words.push("exit".to_owned());
        exchange.response.headers = answer.headers;
    }
    phases.header_filter.unwrap().run(&mut exchange).now_or_never().unwrap();
    for (name, value) in &exchange.response.headers {
        let name = name.as_str().trim_start_matches("access-control-");
        words.push(format!("{name}={}", value.to_str().unwrap()));
    }
    words.sort();
    words.join(" ")
}

const APP: &str = "https://app.test";

#[test]
fn answers_say_which_origin_may_read_them() {
    let one = json!({"origins": [APP]});
    let list = json!({"origins": [APP, "http://b.test:8080"], "credentials": true});
    let star = json!({"origins": ["*", APP]});
    let all = json!({"credentials": true});
    let strict = json!({"origins": [APP], "allow_origin_absent": false});
    let credentials = "allow-credentials=true";
    let cases = [
        (&json!({}), Some(APP), "allow-origin=*".to_owned()),
        (&json!({}), None, "allow-origin=*".to_owned()),
        (&one, Some("https://evil.test"), format!("allow-origin={APP} vary=Origin")),
        (&one, None, format!("allow-origin={APP} vary=Origin")),
        (&list, Some(APP), format!("{credentials} allow-origin={APP} vary=Origin")),
        (&list, Some("https://c.test"), format!("{credentials} vary=Origin")),
        (&star, Some("https://c.test"), "allow-origin=* vary=Origin".to_owned()),
        (&all, Some(APP), format!("{credentials} allow-origin={APP} vary=Origin")),
        (&all, None, "allow-origin=*".to_owned()),
        (&strict, None, String::new()),
        (&strict, Some(""), String::new()),
    ];
    for (config, origin, expect) in cases {
        let headers: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
        assert_eq!(answer(config, "GET", &headers), expect, "{config} {origin:?}");
    }
}

#[test]
fn preflights_are_answered() {
    let asked = [
        ("origin", APP),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "X-A, X-B"),
        ("access-control-request-private-network", "true"),
    ];
    let check = |config: Json, expect: &str| {
        assert_eq!(answer(&config, "OPTIONS", &asked), expect, "{config}");
    };
    let methods = format!("allow-methods={METHODS}");
    check(json!({}), &format!("allow-headers=X-A, X-B {methods} allow-origin=* exit"));
    check(json!({"preflight_continue": true}), "");
    check(
        json!({"methods": ["GET"], "headers": ["X-T"], "max_age": 3600, "private_network": true}),
        "allow-headers=X-T allow-methods=GET allow-origin=* allow-private-network=true exit \
         max-age=3600",
    );
    assert_eq!(answer(&json!({}), "OPTIONS", &asked[..1]), "allow-origin=*");
}
