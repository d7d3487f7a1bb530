use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::{Value as Json, json};
use silverback_pdk::{Chunk, Phase};

use super::*;
use crate::testing::Case;

/// A request, answered by an upstream with these headers unless the cache answers: the status of
/// the cache, and the body.
fn run(case: Case, answer: &[(&'static str, &str)], body: &str) -> String {
    let (phases, mut exchange) = case.start(&plugin(1 << 20));
    let flow = phases.access.unwrap().run(&mut exchange).now_or_never().unwrap();
    let status = |exchange: &Exchange| {
        let status = exchange.response.headers.get("x-cache-status");
        status.map_or("-", |status| status.to_str().unwrap()).to_owned()
    };
    match flow {
        Flow::Exit(answer) | Flow::Send(answer) => {
            let body = answer.body.unwrap_or_default();
            return format!("{} {}", status(&exchange), String::from_utf8_lossy(&body));
        }
        Flow::Fail(text) => return text,
        Flow::Next => {}
    }
    for (name, value) in answer {
        exchange.response.headers.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    exchange.phase = Phase::HeaderFilter;
    phases.header_filter.unwrap().run(&mut exchange).now_or_never().unwrap();
    let handler = phases.body_filter.unwrap();
    let (first, rest) = body.split_at(body.len() / 2);
    for (piece, last) in [(first, false), (rest, true)] {
        exchange.chunk = Chunk { data: Bytes::copy_from_slice(piece.as_bytes()), last };
        handler.run(&mut exchange).now_or_never().unwrap();
        assert_eq!(exchange.chunk.data, piece.as_bytes(), "pieces are not kept back");
    }
    format!("{} {body}", status(&exchange))
}

#[test]
fn answers_are_kept_by_what_is_configured() {
    let plain = [("content-type", "text/plain")];
    let config = |more: Json| {
        let mut config = json!({"strategy": "memory"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let check =
        |config: &Json, target: &str, headers: &[(&str, &str)], body: &str, expect: &str| {
            let case = Case::new(config).request("GET", target).headers(headers);
            assert_eq!(run(case, &plain, body), expect, "{config} {target} {headers:?}");
        };
    let all = config(json!({}));
    check(&all, "/one?b=1&a=2", &[], "first", "Miss first");
    check(&all, "/one?a=2&b=1", &[], "second", "Hit first");
    check(&all, "/one?a=2", &[], "third", "Miss third");
    check(&all, "/ONE?a=2", &[], "fourth", "Miss fourth");
    // What only looks alike has a key of its own.
    check(&all, "/alike?a=1&b=2", &[], "two", "Miss two");
    check(&all, "/alike?a=1%3Ab%3D2", &[], "one", "Miss one");
    check(&all, "/alike?a=1%2C2", &[], "comma", "Miss comma");
    check(&all, "/alike?a=1&a=2", &[], "twice", "Miss twice");
    check(&all, "/alike?a=%FF", &[], "bytes", "Miss bytes");
    check(&all, "/alike?a=%FE", &[], "others", "Miss others");
    check(&all, "/alike?%FF=1", &[], "names", "Miss names");
    check(&all, "/alike?%FF=2", &[], "more", "Miss more");
    check(&all, "/alike%7Ca=3", &[], "bar", "Miss bar");
    let vary = config(json!({"vary_query_params": ["a"], "vary_headers": ["X_Lang"],
                             "ignore_uri_case": true}));
    check(&vary, "/two?a=1&b=1", &[("x-lang", "de")], "first", "Miss first");
    check(&vary, "/TWO?a=1&b=2", &[("x-lang", "de")], "second", "Hit first");
    check(&vary, "/two?a=1&b=2", &[("x-lang", "fr")], "third", "Miss third");
    let control = config(json!({"cache_control": true}));
    check(&control, "/three", &[("cache-control", "No-Store")], "a", "Bypass a");
    check(&control, "/three", &[("cache-control", "only-if-cached")], "a", "- ");
    check(&control, "/three", &[], "no word of how long", "Bypass no word of how long");
    let hidden = config(json!({"response_headers": {"X-Cache-Status": false}}));
    check(&hidden, "/four", &[], "first", "- first");
    check(&hidden, "/four", &[("kong-debug", "1")], "second", "Hit first");
}

#[test]
fn answers_say_how_long_they_are_good() {
    let config = json!({"strategy": "memory", "cache_control": true});
    let check = |name: &str, control: &str, ask: &str, expect: [&str; 2]| {
        let answer = [("content-type", "text/plain"), ("cache-control", control)];
        let case = |headers: &[(&str, &str)]| {
            Case::new(&config).request("GET", &format!("/good/{name}")).headers(headers)
        };
        let first = run(case(&[]), &answer, "1");
        let second = run(case(&[("cache-control", ask)]), &answer, "2");
        assert_eq!([first.as_str(), second.as_str()], expect, "{control} {ask}");
    };
    check("a", "max-age=60", "", ["Miss 1", "Hit 1"]);
    check("b", "max-age=0", "", ["Bypass 1", "Bypass 2"]);
    check("c", "s-maxage=60, max-age=0", "max-age=10", ["Miss 1", "Hit 1"]);
    check("d", "max-age=60", "min-fresh=61", ["Miss 1", "Refresh 2"]);
    check("e", "max-age=60, private", "", ["Bypass 1", "Bypass 2"]);
}
