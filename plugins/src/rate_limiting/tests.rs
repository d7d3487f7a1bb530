use futures_util::FutureExt;
use serde_json::{Value, json};
use silverback_model::Record;

use super::*;
use crate::testing::Case;

/// Runs a request and says what came of it: "next" or the status, and the headers of the limits.
fn run(case: Case) -> String {
    let (phases, mut exchange) = case.start(&plugin(&Trust::default(), false));
    let flow = phases.access.unwrap().run(&mut exchange).now_or_never().unwrap();
    let mut words = vec![match flow {
        Flow::Next => "next".to_owned(),
        Flow::Exit(answer) | Flow::Send(answer) => answer.status.as_u16().to_string(),
        Flow::Fail(text) => text,
    }];
    let headers = exchange.response.headers.iter();
    let shown = headers.filter(|(name, _)| !name.as_str().ends_with("-reset"));
    words.extend(shown.map(|(name, value)| {
        let value = if name == "retry-after" { "?" } else { value.to_str().unwrap() };
        format!("{}={value}", name.as_str().trim_start_matches("x-ratelimit-"))
    }));
    words.sort();
    words.join(" ")
}

#[test]
fn requests_are_counted_by_what_is_configured() {
    let passes = |case: Case| run(case).contains("next");
    let check = |by: Value, first: Case, second: Case, shared: bool| {
        assert!(passes(first), "{by}");
        assert_eq!(!passes(second), shared, "{by}");
    };
    let case = |by: &str| {
        let config = json!({"day": 1, "limit_by": by, "header_name": "x-tenant", "path": "/p"});
        Case::new(&config).client(&format!("192.0.2.{}", by.len()))
    };
    check(json!("ip"), case("ip"), case("ip"), true);
    check(json!("ip"), case("ip").client("192.0.2.77"), case("ip").client("192.0.2.78"), false);
    let alice = |by: &str| case(by).authenticated(Some("alice"));
    let bob = |by: &str| case(by).authenticated(Some("bob"));
    check(json!("consumer"), alice("consumer"), alice("consumer"), true);
    check(json!("consumer"), bob("consumer"), case("consumer"), false);
    check(json!("service"), case("service"), case("service"), true);
    let tenant = |name: &str| case("header").headers(&[("X-Tenant", name)]);
    check(json!("header"), tenant("red"), tenant("red"), true);
    check(json!("header"), tenant("blue"), case("header"), false);
    let path = |target: &str| case("path").request("GET", target);
    check(json!("path"), path("/p?a=1"), path("/p").client("192.0.2.99"), true);
}

#[test]
fn answers_say_what_is_left() {
    let config = json!({"hour": 2, "month": 2.5, "limit_by": "header", "header_name": "x"});
    let check = |value: &str, expect: &str| {
        assert_eq!(run(Case::new(&config).headers(&[("x", value)])), expect);
    };
    let left = |hour: &str, month: &str, tightest: &str, limit: &str| {
        format!(
            "limit-hour=2 limit-month=2.5 next ratelimit-limit={limit} \
             ratelimit-remaining={tightest} remaining-hour={hour} remaining-month={month}"
        )
    };
    check("left", &left("1", "1.5", "1", "2"));
    check("left", &left("0", "0.5", "0", "2"));
    let refused = "429 limit-hour=2 limit-month=2.5 ratelimit-limit=2 ratelimit-remaining=0 \
                   remaining-hour=0 remaining-month=0.5 retry-after=?";
    check("left", refused);
    let hidden = json!({"hour": 1, "hide_client_headers": true, "error_code": 403,
                        "limit_by": "header", "header_name": "x"});
    let run = || run(Case::new(&hidden).headers(&[("x", "hidden")]));
    assert_eq!((run().as_str(), run().as_str()), ("next", "403"));
}

#[test]
fn configurations_are_checked() {
    let check = |config: Value, expect: Option<&str>| {
        let entity = Record::from_iter([("config".to_owned(), config.clone())]);
        let schema = plugin(&Trust::default(), false).schema;
        let outcome = schema.defaults(entity).and_then(|entity| schema.validate(&entity));
        let error = outcome.err().map(|errors| format!("{errors:?}"));
        match expect {
            None => assert_eq!(error, None, "{config}"),
            Some(text) => {
                assert!(error.as_ref().is_some_and(|e| e.contains(text)), "{config}: {error:?}");
            }
        }
    };
    check(json!({"second": 10, "day": 10}), None);
    check(json!({}), Some("at least one of"));
    let order = "The limit for day(9.0) cannot be lower than the limit for second(10.0)";
    check(json!({"second": 10, "day": 9}), Some(order));
    check(json!({"second": 1, "policy": "redis"}), Some("required field missing"));
    check(json!({"second": 1, "policy": "redis", "redis": {"host": "r"}}), None);
    check(json!({"second": 1, "policy": "cluster"}), Some("expected one of: local, redis"));
    check(json!({"second": 1, "limit_by": "header"}), Some("required field missing"));
    let of_cluster = plugin(&Trust::default(), true).schema;
    let entity = json!({"config": {"second": 1, "policy": "cluster"}});
    let entity = of_cluster.defaults(entity.as_object().unwrap().clone()).unwrap();
    assert!(of_cluster.validate(&entity).is_ok());
    let rate = json!({"second": 1, "sync_rate": 1});
    check(rate, Some("sync_rate can only be used with the redis policy"));
    let old = json!({"second": 1, "policy": "redis", "redis_host": "r", "sync_rate": 0.01});
    check(old, Some("sync_rate must be greater than 0.02, or -1 to disable"));
}
