//! Requests made by hand, for the tests of plugins: a few consumers with their credentials, and
//! what comes of a handler in one line.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use serde_json::{Value as Json, json};
use silverback_model::{
    Entity,
    entities::{Route, Service, password_hash},
};
use silverback_pdk::{
    Body, Client, Configuration, Exchange, Flow, Found, Matched, Node, Phase, Phases, Plugin,
    Record, Request, RequestId, Scheme, Value, View,
};

/// alice is in two groups and has a credential of each kind, bob has nothing.
const ALICE: &str = "8a3b5b0a-1111-4a5b-9c8d-000000000001";
const BOB: &str = "8a3b5b0a-1111-4a5b-9c8d-000000000002";

/// The secret of alice's hmac-auth and jwt credentials.
pub(crate) const SECRET: &str = "quinn-secret-of-thirty-two-bytes!";

/// One configuration of a plugin, and one request.
pub(crate) struct Case {
    config: Json,
    exchange: Exchange,
}

impl Case {
    /// A GET request without headers.
    pub(crate) fn new(config: &Json) -> Case {
        Case { config: config.clone(), exchange: exchange() }
    }

    pub(crate) fn request(mut self, method: &str, target: &str) -> Case {
        let request = &mut self.exchange.request;
        request.method = Method::from_bytes(method.as_bytes()).unwrap();
        target.clone_into(&mut request.target);
        request.query = target.split_once('?').map(|(_, query)| query.to_owned());
        self
    }

    pub(crate) fn headers(mut self, headers: &[(&str, &str)]) -> Case {
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            self.exchange
                .request
                .headers
                .append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        self
    }

    pub(crate) fn body(mut self, body: &'static str) -> Case {
        self.exchange.request.body = Body::from_bytes(body);
        self
    }

    pub(crate) fn client(mut self, address: &str) -> Case {
        self.exchange.client.forwarded_ip = address.parse().unwrap();
        self
    }

    /// With this consumer, as if a plugin had found out.
    pub(crate) fn authenticated(mut self, username: Option<&str>) -> Case {
        let client = &mut self.exchange.client;
        client.consumer = username.and_then(|name| first("consumers", "username", name));
        client.credential = client.consumer.clone();
        self
    }

    pub(crate) fn shared(self, key: &str, value: Value) -> Case {
        self.exchange.shared.insert(key.to_owned(), value);
        self
    }

    /// Configures the plugin: its handlers, and the exchange they work on.
    pub(crate) fn start(self, plugin: &Plugin) -> (Phases, Exchange) {
        let entity = Record::from_iter([
            ("name".to_owned(), plugin.name.clone().into()),
            ("config".to_owned(), self.config),
        ]);
        let entity = plugin.schema.defaults(entity).unwrap();
        let phases = (plugin.configure)(&Configuration::of(&entity)).unwrap();
        (phases, self.exchange)
    }
}

/// Runs the access handler and says what came of it: "next" and who was authenticated, "401" and
/// the scheme, "fail" and the text.
pub(crate) fn run(plugin: &Plugin, case: Case) -> String {
    let (phases, mut exchange) = case.start(plugin);
    let flow = phases.access.unwrap().run(&mut exchange).now_or_never().unwrap();
    match flow {
        Flow::Next => passed(&exchange),
        Flow::Exit(answer) | Flow::Send(answer) => {
            let scheme = answer.headers.get("www-authenticate");
            let scheme = scheme.map(|scheme| format!(" {}", scheme.to_str().unwrap()));
            format!("{}{}", answer.status.as_u16(), scheme.unwrap_or_default())
        }
        Flow::Fail(text) => format!("fail {text}"),
    }
}

fn passed(exchange: &Exchange) -> String {
    let mut words = vec!["next".to_owned()];
    let consumer = exchange.client.consumer.as_deref();
    words.extend(consumer.and_then(|c| Some(c.get("username")?.as_str()?.to_owned())));
    let headers = &exchange.request.headers;
    words.extend(headers.get("x-anonymous-consumer").map(|_| "anonymous".to_owned()));
    for name in ["authorization", "proxy-authorization"] {
        words.extend(headers.get(name).map(|_| name.to_owned()));
    }
    let groups =
        [("x-consumer-groups", "groups"), ("x-authenticated-groups", "x-authenticated-groups")];
    for (name, shown) in groups {
        words.extend(headers.get(name).map(|v| format!("{shown}={}", v.to_str().unwrap())));
    }
    words.join(" ")
}

fn exchange() -> Exchange {
    let request = Request {
        id: RequestId::random(),
        method: Method::GET,
        version: Version::HTTP_11,
        scheme: Scheme::Http,
        target: "/".to_owned(),
        query: None,
        host: "example.test".to_owned(),
        headers: HeaderMap::new(),
        body: Body::Empty,
        size: 0,
    };
    let peer: SocketAddr = "127.0.0.1:50000".parse().unwrap();
    let client = Client {
        peer,
        local: "127.0.0.1:8000".parse().unwrap(),
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
    let mut exchange = Exchange::new(Rc::new(Store::new()), client, request);
    exchange.phase = Phase::Access;
    exchange.matched = Some(Matched::default());
    exchange
}

struct Store(Node);

impl Store {
    fn new() -> Store {
        Store(Node {
            id: ALICE.to_owned(),
            hostname: "host".to_owned(),
            prefix: "/tmp".into(),
            ..Node::default()
        })
    }
}

impl View for Store {
    fn node(&self) -> &Node {
        &self.0
    }

    fn route(&self, _: u32) -> Option<&Entity<Route>> {
        None
    }

    fn service(&self, _: u32) -> Option<&Entity<Service>> {
        None
    }

    fn instance(&self, _: u32) -> Option<&Arc<Record>> {
        None
    }

    fn find(&self, kind: &str, field: &str, value: &str) -> Found {
        if value == "fault" {
            return Found::Later(async { Err("the store is away".to_owned()) }.boxed_local());
        }
        Found::Now(first(kind, field, value))
    }

    fn children(&self, kind: &str, parent: &str, parent_id: &str) -> Found<Vec<Arc<Record>>> {
        let all = entities(kind).into_iter();
        let children = all.filter(|entity| entity[parent]["id"] == parent_id);
        Found::Now(children.map(|entity| record(&entity)).collect())
    }
}

fn first(kind: &str, field: &str, value: &str) -> Option<Arc<Record>> {
    entities(kind).into_iter().find(|entity| entity[field] == value).map(|entity| record(&entity))
}

fn record(json: &Json) -> Arc<Record> {
    Arc::new(json.as_object().cloned().unwrap_or_default())
}

fn entities(kind: &str) -> Vec<Json> {
    let alice = json!({"id": ALICE});
    let jwt = |key: &str, algorithm: &str, secret: &str| {
        json!({
            "consumer": {"id": ALICE}, "key": key, "algorithm": algorithm, "secret": secret
        })
    };
    match kind {
        "consumers" => {
            vec![json!({"id": ALICE, "username": "alice"}), json!({"id": BOB, "username": "bob"})]
        }
        "acls" => vec![
            json!({"consumer": alice, "group": "staff"}),
            json!({"consumer": alice, "group": "ops"}),
        ],
        "basicauth_credentials" => vec![json!({
            "consumer": alice, "username": "alice", "password": password_hash(ALICE, "pw")
        })],
        "hmacauth_credentials" => {
            vec![json!({"consumer": alice, "username": "alice", "secret": SECRET})]
        }
        "keyauth_credentials" => vec![json!({"consumer": alice, "id": BOB, "key": "k"})],
        "jwt_secrets" => vec![
            jwt("alice", "HS256", SECRET),
            jwt("base64", "HS256", "cXVpbm4tc2VjcmV0LW9mLXRoaXJ0eS10d28tYnl0ZXMh"),
            jwt("no-key", "ES256", SECRET),
        ],
        _ => Vec::new(),
    }
}
