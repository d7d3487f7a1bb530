//! What the tests of this crate share: a state, an exchange, and running Lua with both.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use http::{HeaderMap, Method, Version};
use serde_json::json;
use silverback_model::{
    Entity, Record,
    entities::{Route, Service},
};
use silverback_pdk::{
    Body, Client, Exchange, Found, Node, Phase, Request, RequestId, Scheme, View,
};

use crate::{
    Config,
    db::Database,
    scheduler::{self, Ending},
    state::State,
};

struct Fake {
    node: Node,
    instance: Arc<Record>,
}

impl View for Fake {
    fn node(&self) -> &Node {
        &self.node
    }

    fn route(&self, _: u32) -> Option<&Entity<Route>> {
        None
    }

    fn service(&self, _: u32) -> Option<&Entity<Service>> {
        None
    }

    fn instance(&self, _: u32) -> Option<&Arc<Record>> {
        Some(&self.instance)
    }

    fn find(&self, _: &str, _: &str, _: &str) -> Found {
        Found::Now(None)
    }

    fn children(&self, _: &str, _: &str, _: &str) -> Found<Vec<Arc<Record>>> {
        Found::Now(Vec::new())
    }
}

/// A request `GET /a/b?x=1` in the access phase.
pub(crate) fn exchange() -> Exchange {
    let node = Node {
        id: "11111111-1111-4111-8111-111111111111".to_owned(),
        hostname: "host".to_owned(),
        prefix: "/tmp".into(),
        ..Node::default()
    };
    let instance = json!({"id": "33333333-3333-4333-8333-333333333333", "name": "probe"});
    let instance = instance.as_object().cloned().map(Arc::new).unwrap_or_default();
    let peer = SocketAddr::from(([127, 0, 0, 1], 40000));
    let client = Client {
        peer,
        local: SocketAddr::from(([127, 0, 0, 1], 8000)),
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
    let request = Request {
        id: RequestId::random(),
        method: Method::GET,
        version: Version::HTTP_11,
        scheme: Scheme::Http,
        target: "/a/b?x=1".to_owned(),
        query: Some("x=1".to_owned()),
        host: "example.test".to_owned(),
        headers: HeaderMap::new(),
        body: Body::Empty,
        size: 0,
    };
    let mut exchange = Exchange::new(Rc::new(Fake { node, instance }), client, request);
    exchange.phase = Phase::Access;
    exchange.running = Some(0);
    exchange
}

/// A fresh state.
pub(crate) fn state() -> Rc<State> {
    state_with(&Arc::default())
}

/// A fresh state with a way to entities.
pub(crate) fn state_with(database: &Arc<Database>) -> Rc<State> {
    state_of(Config::default(), database)
}

/// A fresh state that does not look for modules among those that are installed on the machine.
pub(crate) fn state_of(config: Config, database: &Arc<Database>) -> Rc<State> {
    let state = State::new(&Arc::new(config), database).expect("a state");
    let source = "package.path = package.path:gsub('/usr/[^;]*;?', '')";
    state.lua.load(source).exec().expect("a path");
    state
}

/// Runs a chunk of Lua as a handler in a state: what it returned, or how else it ended.
pub(crate) fn run(state: &Rc<State>, exchange: &mut Exchange, source: &str) -> Ending {
    let compile = || state.lua.load(source).set_name("=test").into_function();
    let function = state.watched(compile).expect("it compiles");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(scheduler::run(state, exchange, &function, &[], true)))
}

/// An ending as text: the results with blanks between them, or the error.
pub(crate) fn texts(ending: Ending) -> Result<String, String> {
    match ending {
        Ending::Done(values) => {
            let texts: Vec<String> =
                values.iter().map(|value| value.to_string().expect("text")).collect();
            Ok(texts.join(" "))
        }
        Ending::Flow(flow) => Ok(format!("{flow:?}")),
        Ending::Failed(text) => Err(text),
    }
}
