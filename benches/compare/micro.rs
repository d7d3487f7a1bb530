//! What each bundled plugin costs a request: its handlers on exchanges in memory, without sockets
//! and without the gateway around them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;
use silverback_e2e::setup::root;
use silverback_model::declarative::{self, Format};
use silverback_model::entities::{Route, Service};
use silverback_model::set::{Entities, Kinds};
use silverback_model::{Entity, Record};
use silverback_pdk::{
    Body, Chunk, Client, Configuration, Exchange, Flow, Found, Handler, Matched, Node, Phase,
    Phases, Plugin, Request, RequestId, Scheme, Source, View,
};

use crate::results::{Micro, MicroRow};
use crate::stage::Stage;
use crate::stats::median;

/// Requests per measurement.
const REQUESTS: u32 = 20_000;

/// What is asked of a plugin beside `GET /example`, and what its configuration is to be beyond the
/// example of its page.
struct Case {
    plugin: &'static str,
    headers: &'static [(&'static str, &'static str)],
    config: &'static str,
}

const fn case(
    plugin: &'static str,
    headers: &'static [(&'static str, &'static str)],
    config: &'static str,
) -> Case {
    Case { plugin, headers, config }
}

const TOKEN: &str = "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
                     eyJpc3MiOiJhbGljZS1pc3N1ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.\
                     VSVAw_M74yS_ccdidCuRNa4D4f81ZJ-YK08hVy9r18Q";
const SIGNATURE: &str = "hmac username=\"alice\", algorithm=\"hmac-sha256\", \
                         headers=\"date @request-target\", \
                         signature=\"dAZ7wQzvQ6lSzFxBOif0qIM1aJBQzQu4+35q6bFd/x0=\"";

/// Where nothing is said of a plugin, a plain request does.
const CASES: [Case; 10] = [
    case("basic-auth", &[("authorization", "Basic YWxpY2U6c2VjcmV0")], ""),
    case("bot-detection", &[("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0")], ""),
    case("cors", &[("origin", "https://app.example.test")], ""),
    case(
        "hmac-auth",
        &[("date", "Wed, 05 Mar 2025 10:20:30 GMT"), ("authorization", SIGNATURE)],
        r#"{"clock_skew": 3e9, "validate_request_body": false}"#,
    ),
    case("jwt", &[("authorization", TOKEN)], ""),
    case("key-auth", &[("apikey", "secret")], ""),
    case("rate-limiting", &[], r#"{"day": 1e12, "month": 1e12}"#),
    case(
        "request-transformer",
        &[],
        r#"{"replace": {"uri": "/profiles"}, "add": {"headers":
        ["X-User:$(headers.user or 'nobody')", "X-Language:$(query_params.lang or 'en')"]}}"#,
    ),
    case("syslog", &[], r#"{"log_level": "info"}"#),
    case("response-ratelimiting", &[], r#"{"limits": {"megabytes": {"day": 1e12}}}"#),
];

/// Measures each plugin.
pub(crate) fn run(stage: &Stage<'_>) -> Result<Micro> {
    let rounds = stage.options.rounds;
    let plugins = silverback_plugins::bundled(&silverback_plugins::Config::default());
    let schemas = plugins.iter().map(|p| (p.name.clone(), Arc::new(p.schema.clone())));
    let kinds = Arc::new(Kinds::bundled(schemas));
    println!("\nplugins in memory, {REQUESTS} requests, {rounds} rounds");
    let mut rows = Vec::new();
    for plugin in &plugins {
        let bench = Bench::of(plugin, &kinds).with_context(|| plugin.name.clone())?;
        let nanos: Vec<f64> = (0..rounds).map(|_| bench.round()).collect::<Result<_>>()?;
        let row = MicroRow { plugin: plugin.name.clone(), cpu_ns: median(nanos) };
        println!("  {:<24} {:7.0} ns", row.plugin, row.cpu_ns);
        rows.push(row);
    }
    // What logs would still be sent has no receiver.
    silverback_plugins::finish(Duration::ZERO);
    Ok(Micro { rounds, requests: REQUESTS, rows })
}

/// A configured plugin and its request.
struct Bench {
    view: Rc<Loaded>,
    phases: Phases,
    headers: HeaderMap,
    consumer: Option<Arc<Record>>,
}

impl Bench {
    fn of(plugin: &Plugin, kinds: &Arc<Kinds>) -> Result<Bench> {
        let case = CASES.iter().find(|case| case.plugin == plugin.name);
        let path = root().join("docs/plugins").join(format!("{}.yml", plugin.name));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let loaded = declarative::load(&text, Format::Yaml, kinds);
        let entities = loaded.map_err(|e| anyhow!(e.describe(&plugin.name).join("; ")))?.entities;
        let own = entities.of("plugins").iter().find(|own| own["name"] == plugin.name);
        let mut entity = Record::clone(own.context("the example does not use it")?);
        if let Some(more) = case.map(|case| case.config).filter(|more| !more.is_empty()) {
            let more: Value = serde_json::from_str(more)?;
            let config = entity.get_mut("config").and_then(Value::as_object_mut);
            config.context("config")?.extend(more.as_object().cloned().unwrap_or_default());
        }
        let entity = plugin.schema.defaults(entity).map_err(|e| anyhow!("{e:?}"))?;
        let phases = (plugin.configure)(&Configuration::of(&entity));
        let mut headers = HeaderMap::new();
        let common = [("host", "bench.test"), ("accept", "*/*"), ("user-agent", "bench/1.0")];
        for (name, value) in common.iter().chain(case.iter().flat_map(|case| case.headers)) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        // Groups are those of a consumer that another plugin has found.
        let consumer =
            (plugin.name == "acl").then(|| entities.of("consumers").by("username", "alice"));
        Ok(Bench {
            phases: phases.map_err(|e| anyhow!(e.to_string()))?,
            headers,
            consumer: consumer.flatten().cloned(),
            view: Rc::new(Loaded::of(entities)?),
        })
    }

    /// CPU time of the plugin per request: what requests cost with its handlers, less what they
    /// cost without, in nanoseconds.
    fn round(&self) -> Result<f64> {
        let bare = self.measure(false)?;
        Ok((self.measure(true)? - bare).max(0.0))
    }

    fn measure(&self, with_plugin: bool) -> Result<f64> {
        for _ in 0..REQUESTS / 10 {
            self.request(with_plugin)?;
        }
        let began = cpu_time()?;
        for _ in 0..REQUESTS {
            self.request(with_plugin)?;
        }
        Ok((cpu_time()? - began).as_nanos() as f64 / f64::from(REQUESTS))
    }

    fn request(&self, with_plugin: bool) -> Result<()> {
        let mut exchange = self.exchange();
        let phases = &self.phases;
        let mut exits = false;
        if with_plugin {
            exits = run_phase(&mut exchange, Phase::Access, phases.access.as_ref())?;
        }
        if !exits {
            answer(&mut exchange);
        }
        if with_plugin {
            run_phase(&mut exchange, Phase::HeaderFilter, phases.header_filter.as_ref())?;
            run_phase(&mut exchange, Phase::BodyFilter, phases.body_filter.as_ref())?;
            run_phase(&mut exchange, Phase::Log, phases.log.as_ref())?;
        }
        std::hint::black_box(&exchange);
        Ok(())
    }

    fn exchange(&self) -> Exchange {
        let request = Request {
            id: RequestId::random(),
            method: Method::GET,
            version: Version::HTTP_11,
            scheme: Scheme::Http,
            target: "/example".to_owned(),
            query: None,
            host: "bench.test".to_owned(),
            headers: self.headers.clone(),
            body: Body::Empty,
            size: 120,
        };
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 50_000));
        let client = Client {
            peer,
            local: peer,
            forwarded_ip: peer.ip(),
            forwarded_port: peer.port(),
            trusted: false,
            tls: None,
            consumer: self.consumer.clone(),
            credential: self.consumer.clone(),
            consumer_groups: None,
            connection: 1,
            requests: 1,
        };
        let mut exchange = Exchange::new(self.view.clone(), client, request);
        exchange.matched = Some(Matched::default());
        exchange
    }
}

/// What an upstream answers.
fn answer(exchange: &mut Exchange) {
    let response = &mut exchange.response;
    response.status = StatusCode::OK;
    response.source = Some(Source::Service);
    for (name, value) in
        [("content-type", "application/json"), ("x-kong-limit", "megabytes=1"), ("server", "up")]
    {
        response.headers.insert(name, HeaderValue::from_static(value));
    }
    exchange.chunk = Chunk { data: Bytes::from_static(br#"{"a": 1, "b": "two"}"#), last: true };
}

/// Runs a handler; whether it exits.
fn run_phase(exchange: &mut Exchange, phase: Phase, handler: Option<&Handler>) -> Result<bool> {
    let Some(handler) = handler else { return Ok(false) };
    exchange.phase = phase;
    match handler.run(exchange).now_or_never() {
        Some(Flow::Next) => Ok(false),
        Some(Flow::Exit(answer)) => {
            exchange.response.status = answer.status;
            exchange.response.headers.extend(answer.headers);
            Ok(true)
        }
        Some(Flow::Fail(text)) => bail!(text),
        Some(_) => bail!("it answers by itself"),
        None => bail!("it waits"),
    }
}

fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// The entities of an example.
struct Loaded {
    entities: Arc<Entities>,
    route: Entity<Route>,
    service: Entity<Service>,
    node: Node,
}

impl Loaded {
    fn of(entities: Arc<Entities>) -> Result<Loaded> {
        let first = |kind: &str| {
            let record = entities.of(kind).iter().next().cloned();
            record.with_context(|| format!("no {kind}"))
        };
        let (route, service) = (first("routes")?, first("services")?);
        let node = Node {
            id: "8a3b5b0a-1111-4a5b-9c8d-000000000001".to_owned(),
            hostname: "bench".to_owned(),
            prefix: "/tmp".into(),
            ..Node::default()
        };
        let (route, service) = (Entity::new(route)?, Entity::new(service)?);
        Ok(Loaded { entities, route, service, node })
    }
}

impl View for Loaded {
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
        None
    }

    fn find(&self, kind: &str, field: &str, value: &str) -> Found {
        let of_kind = self.entities.of(kind);
        let found = if field == "id" { of_kind.get(value) } else { of_kind.by(field, value) };
        Found::Now(found.cloned())
    }

    fn children(&self, kind: &str, parent: &str, parent_id: &str) -> Found<Vec<Arc<Record>>> {
        Found::Now(self.entities.of(kind).children(parent, parent_id).cloned().collect())
    }
}
