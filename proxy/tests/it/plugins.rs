//! Who runs, in which phase, and what an exit or a failure leaves to run.

use futures_util::future::LocalBoxFuture;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use silverback_e2e::{http::Request, upstream::Upstream};
use silverback_pdk::{Answer, Exchange, Flow, Handler, Phases, Wait};

use crate::kit::{Setup, id};

/// Leaves a mark in a response header.
fn mark(exchange: &mut Exchange, name: &'static str, text: &str) {
    let headers = &mut exchange.response.headers;
    headers.append(HeaderName::from_static(name), HeaderValue::from_str(text).unwrap());
}

/// Marks every phase that it runs in; `exit`, `send` and `fail` name phases where it does
/// that.
fn tracer(config: &Value) -> Phases {
    let name = config["mark"].as_str().unwrap_or("t").to_owned();
    let [exit, send, fail] = ["exit", "send", "fail"].map(|key| config[key].clone());
    let at = |phase: &'static str| {
        let (name, exits, fails) = (name.clone(), exit == phase, fail == phase);
        let sends = send == phase;
        Some(Handler::now(move |exchange| {
            mark(exchange, "x-trace", &format!("{name}:{phase}"));
            if exits {
                return Flow::Exit(Answer::new(StatusCode::IM_A_TEAPOT, "stopped"));
            }
            if sends {
                return Flow::Send(Answer::new(StatusCode::IM_A_TEAPOT, "sent"));
            }
            if fails { Flow::Fail("broken".to_owned()) } else { Flow::Next }
        }))
    };
    Phases {
        rewrite: at("rewrite"),
        access: at("access"),
        header_filter: at("header_filter"),
        ..Phases::default()
    }
}

fn trace(answer: &silverback_e2e::http::Answer) -> String {
    let mark = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("x-trace");
    let marks = answer.headers.iter().filter(mark).map(|(_, text)| text.as_str());
    marks.collect::<Vec<_>>().join(" ")
}

/// A gateway with two tracers, `a` before `b`; the configuration is that of `a`.
fn two(port: u16, config: Value) -> crate::kit::Gateway {
    let mut setup = Setup::new().serve(port);
    setup.plugin("a", 2, tracer);
    setup.plugin("b", 1, tracer);
    let mut config = config;
    config["mark"] = "a".into();
    setup.using(json!({"name": "b", "config": {"mark": "b"}}));
    setup.using(json!({"name": "a", "config": config}));
    setup.start()
}

#[test]
fn plugins_run_by_priority_in_each_phase() {
    let upstream = Upstream::start();
    let answer = two(upstream.port(), json!({})).get("/");
    let expect = "a:rewrite b:rewrite a:access b:access a:header_filter b:header_filter".to_owned();
    assert_eq!((answer.status, trace(&answer)), (200, expect));
}

#[test]
fn after_an_exit_or_a_failure_the_later_phases_run_all_the_same() {
    let upstream = Upstream::start();
    let check = |config: Value, status, expect: &str| {
        let answer = two(upstream.port(), config.clone()).get("/");
        assert_eq!((answer.status, trace(&answer).as_str()), (status, expect), "{config}");
        answer
    };
    let expect = "a:rewrite b:rewrite a:access a:header_filter b:header_filter";
    let answer = check(json!({"exit": "access"}), 418, expect);
    assert_eq!(answer.text(), "stopped");
    let answer = check(json!({"fail": "access"}), 500, expect);
    assert_eq!(answer.json()["message"], "An unexpected error occurred");
    assert!(answer.json()["request_id"].is_string());
    let expect = "a:rewrite a:header_filter b:header_filter";
    check(json!({"exit": "rewrite"}), 418, expect);
    let answer = check(json!({"fail": "rewrite"}), 500, expect);
    assert!(answer.text().starts_with("An unexpected error occurred\nrequest_id: "));
    let expect = "a:rewrite b:rewrite a:access b:access a:header_filter b:header_filter";
    check(json!({"exit": "header_filter"}), 418, expect);
    // What a plugin has sent already, those after it don't see.
    let expect = "a:rewrite b:rewrite a:access a:header_filter";
    check(json!({"send": "access"}), 418, expect);
    assert_eq!(upstream.take_seen().len(), 1);
}

#[test]
fn the_narrowest_scope_runs() {
    let upstream = Upstream::start();
    let mut setup = Setup::new();
    let service = setup.service(json!({"port": upstream.port()}));
    let route = setup.route(json!({"paths": ["/r"], "service": service}));
    setup.route(json!({"paths": ["/s"], "service": service}));
    // Says who the consumer is, as authentication would.
    setup.plugin("auth", 10, |_| Phases {
        access: Some(Handler::now(|exchange| {
            if let Some(who) = exchange.request.headers.get("x-who") {
                let record = json!({"id": id(who.to_str().unwrap().parse().unwrap())});
                exchange.client.consumer = record.as_object().cloned().map(Into::into);
            }
            Flow::Next
        })),
        ..Phases::default()
    });
    setup.plugin("t", 1, |config| {
        let name = config["mark"].as_str().unwrap().to_owned();
        Phases {
            access: Some(Handler::now(move |exchange| {
                mark(exchange, "x-trace", &name);
                Flow::Next
            })),
            header_filter: Some(Handler::now(|exchange| {
                mark(exchange, "x-trace", "later");
                Flow::Next
            })),
            ..Phases::default()
        }
    });
    setup.using(json!({"name": "auth"}));
    let consumer = |n| json!({"id": id(n)});
    let scopes = [
        ("all", json!({})),
        ("service", json!({"service": service})),
        ("route", json!({"route": route})),
        ("consumer 901", json!({"consumer": consumer(901)})),
        ("consumer 902", json!({"consumer": consumer(902), "route": route})),
        ("consumer 903", json!({"consumer": consumer(903), "service": service})),
    ];
    for (name, mut scope) in scopes {
        scope["name"] = "t".into();
        scope["config"] = json!({"mark": name});
        setup.using(scope);
    }
    let gateway = setup.start();
    let check = |target: &str, who: &str, expect: &str| {
        let answer = gateway.ask(&Request::get(target).header("x-who", who));
        assert_eq!(trace(&answer), format!("{expect} later"), "{target} {who}");
    };
    check("/r", "900", "route");
    check("/s", "900", "service");
    check("/r", "901", "consumer 901");
    check("/s", "901", "consumer 901");
    check("/r", "902", "consumer 902");
    check("/s", "902", "service");
    check("/r", "903", "consumer 903");
    check("/s", "903", "consumer 903");
}

fn shout(exchange: &mut Exchange) {
    let upper = exchange.chunk.data.to_ascii_uppercase();
    exchange.chunk.data = match exchange.chunk.last {
        true => [&upper[..], b"!"].concat().into(),
        false => upper.into(),
    };
}

struct ShoutLater;

impl Wait for ShoutLater {
    fn run<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            shout(exchange);
            Flow::Next
        })
    }
}

#[test]
fn the_body_is_filtered_as_it_passes() {
    let upstream = Upstream::start();
    let phases = move |later: bool| Phases {
        header_filter: Some(Handler::now(|exchange| {
            exchange.response.headers.remove("content-length");
            Flow::Next
        })),
        body_filter: Some(if later {
            Handler::later(ShoutLater)
        } else {
            Handler::now(move |exchange| {
                shout(exchange);
                Flow::Next
            })
        }),
        ..Phases::default()
    };
    for later in [false, true] {
        let mut setup = Setup::new().serve(upstream.port());
        setup.plugin("shout", 1, move |_| phases(later));
        setup.using(json!({"name": "shout"}));
        let gateway = setup.start();
        assert_eq!(gateway.get("/chunked/2").text(), "CHUNK 1\nCHUNK 2\n!");
        assert_eq!(gateway.get("/html").text(), "<HTML><BODY>HELLO</BODY></HTML>!");
        assert_eq!(gateway.ask(&Request::new("HEAD", "/html")).status, 200);
    }
}

#[test]
fn the_response_phase_has_the_whole_body() {
    let upstream = Upstream::start();
    let gateway = Setup::new()
        .serve(upstream.port())
        .with("whole", 1, |_| Phases {
            response: Some(Handler::now(|exchange| {
                let size = exchange.response.buffered.as_ref().map_or(0, bytes::Bytes::len);
                mark(exchange, "x-trace", &size.to_string());
                Flow::Next
            })),
            ..Phases::default()
        })
        .start();
    let answer = gateway.get("/bytes/70000");
    assert_eq!((trace(&answer).as_str(), answer.body.len()), ("70000", 70_000));
    assert_eq!(trace(&gateway.get("/chunked/2")), "16");
}

#[test]
fn the_log_phase_comes_last_and_sees_all() {
    use std::sync::{Arc, Mutex};
    let upstream = Upstream::start();
    let logged: Arc<Mutex<Vec<String>>> = Arc::default();
    let lines = logged.clone();
    let mut setup = Setup::new().serve(upstream.port());
    setup.plugin("log", 1, move |_| {
        let lines = lines.clone();
        Phases {
            log: Some(Handler::now(move |exchange| {
                let status = exchange.response.status.as_u16();
                let kind = exchange.response.headers.get("content-type").cloned();
                let client = exchange.request.headers.get("user-agent").cloned();
                let tries = exchange.upstream.tries.len();
                lines.lock().unwrap().push(format!("{status} {kind:?} {client:?} {tries}"));
                Flow::Next
            })),
            ..Phases::default()
        }
    });
    setup.using(json!({"name": "log"}));
    let gateway = setup.start();
    gateway.ask(&Request::get("/").header("User-Agent", "me"));
    let limit = std::time::Duration::from_secs(5);
    silverback_e2e::wait::wait_until("a line", limit, || !logged.lock().unwrap().is_empty());
    let expect = r#"200 Some("application/json") Some("me") 1"#;
    assert_eq!(*logged.lock().unwrap(), [expect]);
}

#[test]
fn a_panic_ends_its_request_alone() {
    let upstream = Upstream::start();
    let gateway = Setup::new()
        .serve(upstream.port())
        .with("panic", 1, |_| Phases {
            access: Some(Handler::now(|exchange| {
                assert!(exchange.request.raw_path() != "/panic", "on purpose");
                Flow::Next
            })),
            ..Phases::default()
        })
        .start();
    assert_eq!(gateway.get("/panic").status, 500);
    assert_eq!(gateway.get("/fine").status, 200);
    assert_eq!(gateway.handle.as_ref().unwrap().stats().panics(), 1);
}
