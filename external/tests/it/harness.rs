//! An exchange made by hand, servers in a directory of their own, and a runtime to run them on.

use std::{
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Method, Version};
use serde_json::{Value as Json, json};
use silverback_e2e::setup;
use silverback_external::{Condition, Config, ServerStatus, Servers};
use silverback_model::{
    Entity, Record,
    entities::{Route, Service},
};
use silverback_pdk::{
    Body, Client, Configuration, Exchange, Flow, Found, LogLevel, Matched, Node, Phase, Phases,
    Plugin, Request, RequestId, Scheme, View,
};

/// Runs a test on a runtime like a worker's.
pub(crate) fn block_on(future: impl Future<Output = ()>) {
    silverback_pdk::set_log_sink(LogLevel::Info, |level, plugin, text| {
        eprintln!("[{level}] {plugin}: {text}");
    });
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(tokio::runtime::LocalOptions::default());
    runtime.unwrap().block_on(future);
}

/// A directory for sockets, removed at the end.
pub(crate) struct Prefix(pub(crate) PathBuf);

impl Prefix {
    pub(crate) fn new() -> Prefix {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sbx-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Prefix(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn go(prefix: &Prefix, plugin: &str) -> Config {
    let exe = setup::go_plugin(plugin).display().to_string();
    let socket = prefix.join(&format!("{plugin}.socket"));
    let mut config = Config::new(plugin, socket, format!("{exe} -dump"));
    config.start_cmd = Some(format!("{exe} -kong-prefix {}", prefix.0.display()));
    config
}

pub(crate) fn go_legacy(prefix: &Prefix) -> Config {
    let exe = setup::env("go/legacy/go-pluginserver").display().to_string();
    let plugins = setup::env("go/legacy/plugins").display().to_string();
    let query = format!("{exe} -plugins-directory {plugins} -dump-all-plugins");
    let mut config = Config::new("go", prefix.join("go_pluginserver.sock"), query);
    let prefix = prefix.0.display();
    config.start_cmd = Some(format!("{exe} -kong-prefix {prefix} -plugins-directory {plugins}"));
    config
}

pub(crate) fn js(prefix: &Prefix) -> Config {
    let exe = setup::js_server().display().to_string();
    let plugins = setup::env("js/plugins").display().to_string();
    let query = format!("{exe} -d {plugins} --dump-all-plugins");
    // The ending is the wrong one on purpose: the right one is found.
    let mut config = Config::new("js", prefix.join("js_pluginserver.socket"), query);
    config.start_cmd = Some(format!("{exe} -p {} -d {plugins}", prefix.0.display()));
    config
}

pub(crate) fn python(prefix: &Prefix, flag: &str) -> Config {
    let exe = setup::python_server().display().to_string();
    let plugins = setup::root().join("e2e/plugins/py").display().to_string();
    let query = format!("{exe} -d {plugins} --dump-all-plugins");
    let mut config = Config::new("python", prefix.join("python_pluginserver.sock"), query);
    config.start_cmd = Some(format!("{exe} -p {} -d {plugins} {flag}", prefix.0.display()));
    config
}

/// Servers that run, and their plugins.
pub(crate) struct Rig {
    pub(crate) servers: Rc<Servers>,
    pub(crate) plugins: Vec<Plugin>,
}

impl Rig {
    pub(crate) async fn start(mut configs: Vec<Config>) -> Rig {
        // The machine may be busy with other tests.
        configs.iter_mut().for_each(|config| config.start_timeout = Duration::from_secs(60));
        let (servers, plugins) = Servers::query(configs).await.unwrap();
        let servers = Rc::new(servers);
        let supervised = Rc::clone(&servers);
        tokio::task::spawn_local(async move { supervised.supervise().await });
        Rig { servers, plugins }
    }

    /// The handlers of a configured plugin.
    pub(crate) fn configure(&self, plugin: &str, config: &Json) -> Phases {
        let plugin = self.plugins.iter().find(|p| p.name == plugin).unwrap();
        let entity = json!({"id": uuid(), "name": plugin.name, "config": config});
        let Json::Object(entity) = entity else { unreachable!() };
        (plugin.configure)(&Configuration::of(&entity)).unwrap()
    }

    pub(crate) fn status(&self) -> ServerStatus {
        self.servers.status().remove(0)
    }

    /// Waits until something can be seen in the status.
    pub(crate) async fn until(&self, seen: impl Fn(&ServerStatus) -> bool) -> ServerStatus {
        let began = Instant::now();
        loop {
            let status = self.status();
            if seen(&status) {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "still {status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn running(&self) -> ServerStatus {
        self.until(|s| s.state == Condition::Running).await
    }
}

fn uuid() -> String {
    RequestId::random().as_str().to_owned()
}

/// Runs the handler of a phase.
pub(crate) async fn run(phases: &Phases, phase: Phase, exchange: &mut Exchange) -> Flow {
    exchange.phase = phase;
    phases.get(phase).unwrap().run(exchange).await
}

pub(crate) async fn access(phases: &Phases) -> (Flow, Exchange) {
    let mut exchange = exchange("GET", "/x?key=k1&flag", &[]);
    let flow = run(phases, Phase::Access, &mut exchange).await;
    (flow, exchange)
}

#[track_caller]
pub(crate) fn failed(flow: &Flow, expect: &str) {
    match flow {
        Flow::Fail(text) => assert!(text.contains(expect), "{text}"),
        other => panic!("{other:?} where a failure with '{expect}' was expected"),
    }
}

#[track_caller]
pub(crate) fn went_on(flow: &Flow) {
    assert!(matches!(flow, Flow::Next), "{flow:?}");
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

pub(crate) fn exchange(method: &str, target: &str, headers: &[(&'static str, &str)]) -> Exchange {
    let mut map = HeaderMap::new();
    for (name, value) in [("host", "example.test")].iter().chain(headers) {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let request = Request {
        id: RequestId::random(),
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        version: Version::HTTP_11,
        scheme: Scheme::Http,
        target: target.to_owned(),
        query: target.split_once('?').map(|(_, query)| query.to_owned()),
        host: "example.test".to_owned(),
        headers: map,
        body: Body::Empty,
        size: 100,
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
    let mut exchange = Exchange::new(Rc::new(Fake::new()), client, request);
    exchange.running = Some(0);
    exchange.matched = Some(Matched { route: 0, prefix: Some("/x".to_owned()), captures: None });
    exchange
}

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
        let route = json!({"id": id, "name": "r", "protocols": ["http", "https"]});
        let service = json!({"id": id, "name": "echo", "port": 9800, "protocol": "http"});
        Fake {
            node: Node {
                id: id.to_owned(),
                hostname: "host".to_owned(),
                prefix: "/tmp".into(),
                ..Node::default()
            },
            route: Entity::new(record(route)).unwrap(),
            service: Entity::new(record(service)).unwrap(),
            instance: record(json!({"id": id, "name": "probe"})),
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

    fn find(&self, _: &str, _: &str, _: &str) -> Found {
        Found::Now(None)
    }

    fn children(&self, _: &str, _: &str, _: &str) -> Found<Vec<Arc<Record>>> {
        Found::Now(Vec::new())
    }
}
