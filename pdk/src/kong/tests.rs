//! Functions called by name with JSON arguments, on an exchange made by hand. What is expected
//! is what `conformance/scenarios` recorded.

#![expect(clippy::needless_pass_by_value, reason = "literals read best without a borrow")]

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, Version};
use serde_json::{Value as Json, json};
use silverback_model::{
    Entity, Record,
    entities::{Route, Service},
};

use super::{Function, Stop, answers, find};
use crate::{
    Body, Captures, Client, Exchange, Found, Matched, Node, Phase, Request, RequestId, Scheme,
    SecretRef, Source, Target, Tls, Value, View,
};

mod answering;
mod differences;
mod reading;
mod reference;
mod surroundings;
mod writing;

const ALICE: &str = "8a3b5b0a-1111-4a5b-9c8d-000000000001";

/// A configuration of one route, one service, one consumer, one upstream and one plugin.
struct Fake {
    node: Node,
    route: Entity<Route>,
    service: Entity<Service>,
    instance: Arc<Record>,
}

fn record(json: Json) -> Arc<Record> {
    match json {
        Json::Object(record) => Arc::new(record),
        _ => Arc::default(),
    }
}

impl Fake {
    fn new() -> Fake {
        let id = "11111111-1111-4111-8111-111111111111";
        let route = json!({"id": id, "name": "r", "protocols": ["http", "https"], "tags": null,
                           "ws_id": "22222222-2222-4222-8222-222222222222"});
        let service = json!({"id": id, "name": "echo", "port": 9800, "protocol": "http"});
        let instance = json!({"id": "33333333-3333-4333-8333-333333333333", "name": "probe"});
        Fake {
            node: Node {
                id: id.to_owned(),
                hostname: "host".to_owned(),
                prefix: "/tmp".into(),
                trusted_ips: vec!["10.0.0.0/8".parse().expect("a network")],
                ..Node::default()
            },
            route: Entity::new(record(route)).expect("a route"),
            service: Entity::new(record(service)).expect("a service"),
            instance: record(instance),
        }
    }
}

impl View for Fake {
    fn node(&self) -> &Node {
        &self.node
    }

    fn route(&self, _: u32) -> Option<&Entity<Route>> {
        Some(&self.route)
    }

    fn service(&self, _: u32) -> Option<&Entity<Service>> {
        Some(&self.service)
    }

    fn instance(&self, _: u32) -> Option<&Arc<Record>> {
        Some(&self.instance)
    }

    fn find(&self, kind: &str, field: &str, value: &str) -> Found {
        let found = match (kind, field, value) {
            ("consumers", "id", ALICE) | ("consumers", "username", "alice") => {
                Some(record(json!({"id": ALICE, "username": "alice"})))
            }
            ("upstreams", "name", "other") => Some(record(json!({"name": "other"}))),
            _ => None,
        };
        Found::Later(async { Ok(found) }.boxed_local())
    }

    fn children(&self, _: &str, _: &str, _: &str) -> Found<Vec<Arc<Record>>> {
        Found::Now(Vec::new())
    }

    fn secret(&self, reference: &SecretRef) -> Result<String, String> {
        match (reference.name.as_str(), reference.resource.as_str()) {
            ("env", "kong-database") => Ok("off".to_owned()),
            ("env", _) => {
                Err("could not get value from external vault (no value found)".to_owned())
            }
            (other, _) => Err(format!("could not find vault ({other})")),
        }
    }
}

/// A request from 127.0.0.1 to port 8000, matched, in the access phase.
fn exchange(method: &str, target: &str, headers: &[(&str, &str)]) -> Exchange {
    let query = target.split_once('?').map(|(_, query)| query.to_owned());
    let mut map = http::HeaderMap::new();
    for (name, value) in [("Host", "example.test")].iter().chain(headers) {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    let request = Request {
        id: RequestId::random(),
        method: Method::from_bytes(method.as_bytes()).expect("a method"),
        version: Version::HTTP_11,
        scheme: Scheme::Http,
        target: target.to_owned(),
        query,
        host: "example.test".to_owned(),
        headers: map,
        body: Body::Empty,
        size: 100,
    };
    let peer: SocketAddr = "127.0.0.1:50000".parse().expect("an address");
    let client = Client {
        peer,
        local: "127.0.0.1:8000".parse().expect("an address"),
        forwarded_ip: peer.ip(),
        forwarded_port: peer.port(),
        trusted: false,
        tls: None,
        consumer: None,
        credential: None,
        connection: 1,
        requests: 1,
        consumer_groups: None,
    };
    let mut exchange = Exchange::new(Rc::new(Fake::new()), client, request);
    exchange.phase = Phase::Access;
    exchange.running = Some(0);
    exchange.matched = Some(Matched { route: 0, prefix: Some("/r".to_owned()), captures: None });
    exchange
}

/// Calls a function; a refusal or an exit is told as text.
fn call(exchange: &mut Exchange, name: &str, args: Json) -> Json {
    match try_call(exchange, name, &args) {
        Ok(value) => value.to_json(),
        Err(Stop::Nil(text)) => json!({ "nil": text }),
        Err(Stop::Raise(text)) => json!({ "raise": text }),
        Err(Stop::Exit(answer)) => json!({ "exit": answer.status.as_u16() }),
    }
}

fn try_call(exchange: &mut Exchange, name: &str, args: &Json) -> Result<Value, Stop> {
    let args: Vec<Value> = args.as_array().expect("arguments").iter().map(Value::from).collect();
    let function = find(name).unwrap_or_else(|| panic!("no function {name}"));
    function.call(exchange, &args).now_or_never().expect("nothing to wait for")
}

/// Calls each function with its arguments and compares what comes of it.
fn check(exchange: &mut Exchange, calls: &[(&str, Json, Json)]) {
    for (name, args, expect) in calls {
        assert_eq!(call(exchange, name, args.clone()), *expect, "{name} {args}");
    }
}

fn raise(text: &str) -> Json {
    json!({ "raise": text })
}

#[test]
fn names_are_unique_and_documented() {
    let mut seen = std::collections::HashSet::new();
    for function in super::all() {
        assert!(seen.insert(function.name), "{} is there twice", function.name);
        assert!(function.doc.ends_with('.'), "{} has no text", function.name);
        assert!(find(function.name).is_some_and(|found: &Function| found.name == function.name));
    }
    assert!(find("kong.request.get_nothing").is_none());
}
