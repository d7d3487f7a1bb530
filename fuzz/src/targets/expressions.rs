//! Expressions of routes: any text is one or is refused with a reason. One that holds for Kong's
//! own engine, asked directly, holds for the router with its index.

use atc_router::ast::{Type, Value};
use atc_router::context::Context;
use atc_router::router::Router as Engine;
use atc_router::schema::Schema;
use http::{HeaderMap, HeaderValue};
use silverback_model::entities::{Protocol, Route, Set};
use silverback_router::{Flavor, Lookup, RouteInput, Router, expressions};
use uuid::Uuid;

pub(crate) const WORDS: &[&str] = &[
    "http.path",
    "http.host",
    "http.method",
    "http.headers.x_a",
    "any(http.headers.x_a)",
    "http.queries.a",
    "http.path.segments.0",
    "http.path.segments.len",
    "net.src.ip",
    "net.dst.port",
    "net.port",
    "net.protocol",
    "tls.sni",
    " == ",
    " != ",
    " ^= ",
    " =^ ",
    " ~ ",
    " in ",
    " not in ",
    " contains ",
    " >= ",
    " && ",
    " || ",
    "!",
    "(",
    ")",
    "lower(",
    "any(",
    "\"/a\"",
    "\"GET\"",
    "\"a.test\"",
    "r#\"^/a.*\"#",
    "\"(\"",
    "80",
    "10.0.0.0/8",
    "::1",
    "\\",
    "é",
];

pub(crate) fn feed(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let stream = expressions::validate(text, &[Protocol::Tcp]);
    check_reason(&stream);
    let valid = expressions::validate(text, &[Protocol::Http]);
    check_reason(&valid);
    let route = Route {
        id: Uuid::from_u128(1),
        expression: Some(text.to_owned()),
        protocols: Set(vec![Protocol::Http, Protocol::Https]),
        strip_path: true,
        ..Route::default()
    };
    let input = RouteInput { route: &route, service: None };
    let router = Router::build(Flavor::Expressions, &[input]);
    assert_eq!(router.is_ok(), valid.is_ok(), "{router:?}");
    let Ok(router) = router else { return false };
    let mut headers = HeaderMap::new();
    headers.append("x-a", HeaderValue::from_static("1"));
    headers.append("x-a", HeaderValue::from_static("Two"));
    let engine = engine(text);
    for (method, host, path) in [
        ("GET", "a.test", "/"),
        ("POST", "A.test:80", "/a"),
        ("PUT", "", "/a/b/c"),
        ("GET", "x.a.test", "/é%2F\"x"),
    ] {
        let lookup = Lookup {
            method,
            host,
            path,
            query: "a=1&a=%41",
            headers: &headers,
            scheme: Protocol::Http,
            sni: None,
            source: "10.1.2.3:8000".parse().ok(),
            destination: "[::1]:80".parse().ok(),
        };
        let found = router.find(&lookup);
        if let Some(engine) = &engine {
            assert_eq!(found.is_some(), holds(engine, &lookup), "{lookup:#?}");
        }
        if let Some(found) = found {
            let upstream = found.upstream_path(path, Some("/base"));
            assert!(upstream.starts_with("/base"), "{upstream:?}");
        }
    }
    true
}

fn check_reason(outcome: &Result<(), String>) {
    assert!(outcome.as_ref().err().is_none_or(|reason| !reason.trim().is_empty()));
}

const FIELDS: [&str; 4] = ["http.method", "http.host", "http.path", "net.protocol"];

fn schema() -> &'static Schema {
    static SCHEMA: std::sync::LazyLock<Schema> = std::sync::LazyLock::new(|| {
        let mut schema = Schema::default();
        FIELDS.iter().for_each(|field| schema.add_field(field, Type::String));
        schema
    });
    &SCHEMA
}

/// Kong's engine with the expression; none where it looks at more than [`FIELDS`]. None of these is
/// an address, for which alone there is `not in`: the engine panics where its words are not one
/// space apart.
fn engine(text: &str) -> Option<Engine<'static>> {
    if text.contains("not") {
        return None;
    }
    let mut engine = Engine::new(schema());
    engine.add_matcher(0, Uuid::from_u128(1), text).ok()?;
    Some(engine)
}

fn holds(engine: &Engine<'static>, lookup: &Lookup<'_>) -> bool {
    let mut context = Context::new(schema());
    let host = lookup.host.split(':').next().unwrap_or_default();
    let values = [lookup.method, host, lookup.path, lookup.scheme.as_str()];
    for (field, value) in FIELDS.iter().zip(values) {
        context.add_value(field, Value::String(value.to_owned()));
    }
    engine.execute(&mut context)
}
