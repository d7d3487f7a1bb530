use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::{Value as Json, json};
use silverback_pdk::{Chunk, Phase};

use super::*;
use crate::testing::Case;

/// Headers as `name=value`, sorted, and the body, of an answer that came in two pieces.
fn answer(config: &Json, headers: &[(&'static str, &'static str)], body: &str) -> (String, String) {
    let (phases, mut exchange) = Case::new(config).start(&plugin());
    for (name, value) in headers {
        exchange.response.headers.append(*name, HeaderValue::from_static(value));
    }
    exchange.phase = Phase::HeaderFilter;
    phases.header_filter.unwrap().run(&mut exchange).now_or_never().unwrap();
    exchange.phase = Phase::BodyFilter;
    let mut sent = Vec::new();
    let (first, rest) = body.split_at(body.len() / 2);
    for (piece, last) in [(first, false), (rest, true)] {
        exchange.chunk = Chunk { data: Bytes::copy_from_slice(piece.as_bytes()), last };
        if let Some(handler) = &phases.body_filter {
            handler.run(&mut exchange).now_or_never().unwrap();
        }
        sent.extend_from_slice(&exchange.chunk.data);
    }
    let headers = exchange.response.headers.iter();
    let mut headers: Vec<_> =
        headers.map(|(n, v)| format!("{n}={}", String::from_utf8_lossy(v.as_bytes()))).collect();
    headers.sort();
    (headers.join(" "), String::from_utf8(sent).unwrap())
}

#[test]
fn headers_are_changed() {
    let config = json!({
        "remove": {"headers": ["X-Gone"]},
        "rename": {"headers": ["X-Old:X-New"]},
        "replace": {"headers": ["X-Keep:replaced", "X-Absent:never"]},
        "add": {"headers": ["X-Keep:not again", "X-Add:a:b", "X A:never", "X-Name:J\u{fc}rgen"]},
        "append": {"headers": ["X-Add:more", "X-None:"]},
    });
    let check = |headers: &[(&'static str, &'static str)], expect: &str| {
        assert_eq!(answer(&config, headers, "").0, expect, "{headers:?}");
    };
    check(&[], "x-add=a:b x-add=more x-keep=not again x-name=J\u{fc}rgen");
    check(
        &[("x-old", "1"), ("x-old", "2"), ("x-gone", "g"), ("x-keep", "k"), ("x-add", "up")],
        "x-add=more x-add=up x-keep=replaced x-name=J\u{fc}rgen x-new=1 x-new=2",
    );
    let rest = "x-add=a:b x-add=more x-keep=not again x-name=J\u{fc}rgen";
    check(&[("content-length", "5")], &format!("content-length=5 {rest}"));
}

#[test]
fn a_header_renamed_to_itself_stays_and_is_written_as_configured() {
    let config = json!({"rename": {"headers": ["x-old:X-OLD"]}, "add": {"headers": ["x-ID:1"]}});
    let (phases, mut exchange) = Case::new(&config).start(&plugin());
    exchange.response.headers.append("x-old", HeaderValue::from_static("1"));
    exchange.phase = Phase::HeaderFilter;
    phases.header_filter.unwrap().run(&mut exchange).now_or_never().unwrap();
    assert_eq!(exchange.response.headers["x-old"], "1");
    assert_eq!(exchange.response_spelling.iter().collect::<Vec<_>>(), ["X-OLD", "x-ID"]);
}

#[test]
fn members_are_changed() {
    let cases = [
        (json!({"remove": {"json": ["a"]}}), r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
        (json!({"rename": {"json": ["a:c"]}}), r#"{"a":1}"#, r#"{"c":1}"#),
        (json!({"replace": {"json": ["a:x", "b:y"]}}), r#"{"a":1}"#, r#"{"a":"x"}"#),
        (json!({"add": {"json": ["a:x", "b:y"]}}), r#"{"a":1}"#, r#"{"a":1,"b":"y"}"#),
        (json!({"add": {"json": ["a:"]}}), "{}", r#"{"a":"null"}"#),
        (
            json!({"add": {"json": ["a:1", "b:true", "c:0x10", "d:x"],
                           "json_types": ["number", "boolean", "number", "number"]}}),
            "{}",
            r#"{"a":1,"b":true,"c":16}"#,
        ),
        (
            json!({"append": {"json": ["l:one", "l:two", "t:more", "n:1"]}}),
            r#"{"t":"text","n":5}"#,
            r#"{"t":["text","more"],"n":["1"],"l":["one","two"]}"#,
        ),
        (json!({"add": {"json": ["a:1"]}}), "[1]", "[1]"),
        (json!({"add": {"json": ["a:1"]}}), "\"text\"", "\"text\""),
        (json!({"add": {"json": ["a:1"]}}), "{broken", "{broken"),
        (json!({"add": {"json": ["a:1"]}}), "", ""),
        (
            json!({"remove": {"json": ["a"]}}),
            r#"{"n":12345678901234567890,"l":[],"o":{}}"#,
            r#"{"n":12345678901234567890,"l":[],"o":{}}"#,
        ),
    ];
    for (config, body, expect) in cases {
        let headers = [("content-type", "application/json"), ("content-length", "9")];
        let (headers, body) = answer(&config, &headers, body);
        assert_eq!(body, expect, "{config}");
        assert_eq!(headers, "content-type=application/json", "{config}");
        let plain = [("content-type", "text/plain")];
        assert_eq!(answer(&config, &plain, r#"{"a":1}"#).1, r#"{"a":1}"#, "{config}");
    }
    assert!(Case::new(&json!({})).start(&plugin()).0.body_filter.is_none());
}
