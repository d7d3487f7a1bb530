use futures_util::FutureExt;
use http::HeaderValue;
use serde_json::json;
use silverback_pdk::Phase;

use super::*;
use crate::testing::Case;

/// A request whose answer says what it cost: what the upstream is told is left, and what came of
/// the answer.
fn run(config: &Json, cost: Option<&str>) -> String {
    let (phases, mut exchange) = Case::new(config).start(&plugin(&Trust::default(), false));
    let flow = phases.access.unwrap().run(&mut exchange).now_or_never().unwrap();
    if let Flow::Exit(answer) = flow {
        return answer.status.as_u16().to_string();
    }
    let told = exchange.request.headers.get("x-ratelimit-remaining-mb").unwrap().clone();
    exchange.phase = Phase::HeaderFilter;
    exchange.response.source = Some(Source::Service);
    if let Some(cost) = cost {
        let cost = HeaderValue::from_str(cost).unwrap();
        exchange.response.headers.insert("x-kong-limit", cost);
    }
    let flow = phases.header_filter.unwrap().run(&mut exchange).now_or_never().unwrap();
    let status = if matches!(flow, Flow::Exit(_)) { "429" } else { "ok" };
    let headers = &exchange.response.headers;
    assert!(!headers.contains_key("x-kong-limit"));
    let left = headers.get("x-ratelimit-remaining-mb-day").map_or("-", |v| v.to_str().unwrap());
    format!("{} {status} {left}", told.to_str().unwrap())
}

#[test]
fn answers_cost_what_the_upstream_says() {
    let config = json!({"limits": {"mb": {"day": 5}, "calls": {"minute": 1, "year": 9}}});
    let check = |cost: &str, expect: &str| assert_eq!(run(&config, Some(cost)), expect, "{cost}");
    check("mb=2, other=9", "5 ok 3");
    check("calls = 1 ,mb=0", "3 ok 3");
    check("mb=x", "3 ok 3");
    check("mb=-1", "3 ok 3");
    check("mb=1=2", "3 ok 3");
    check("mb=inf", "3 ok 3");
    check("mb=0.5", "3 ok 2");
    check("mb=1, mb=3.5e0", "2 ok 0");
    check("mb=1", "-2 429 0");
    assert_eq!(run(&config, None), "-2 ok 0");
    let blocking = json!({"limits": {"mb": {"day": 5}}, "block_on_first_violation": true});
    assert_eq!(run(&blocking, None), "429");
}
