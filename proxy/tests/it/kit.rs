//! Starting a data plane for a test.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use silverback_e2e::http::{Answer, Connection, Request, send};
use silverback_model::{
    Entity, Record,
    entities::{Certificate, Route, Service, Sni, Target, Upstream},
    schema::Schema,
};
use silverback_pdk::{Node, Origin, Phases, Plugin, Registry};
use silverback_proxy::{Config, Handle, Listener, Parts, Snapshot, start};
use socket2::{Domain, Socket, Type};
use uuid::Uuid;

/// What a gateway is started with.
pub(crate) struct Setup {
    pub(crate) parts: Parts,
    pub(crate) registry: Registry,
    pub(crate) config: Config,
    next: u32,
}

/// A running data plane.
pub(crate) struct Gateway {
    pub(crate) handle: Option<Handle>,
    pub(crate) snapshots: Arc<ArcSwap<Snapshot>>,
    pub(crate) setup: Setup,
    pub(crate) address: String,
}

impl Setup {
    pub(crate) fn new() -> Setup {
        let node = Node { hostname: "test".to_owned(), ..Node::default() };
        let mut config = Config::new(node);
        config.listeners.push(Listener::new(([127, 0, 0, 1], 0).into()));
        config.drain_timeout = Duration::from_secs(5);
        Setup { parts: Parts::default(), registry: Registry::default(), config, next: 0 }
    }

    fn entity<T: DeserializeOwned>(&mut self, defaults: Value, fields: Value) -> Arc<Entity<T>> {
        self.next += 1;
        let mut record = Record::new();
        record.insert("id".into(), id(self.next).into());
        for part in [defaults, fields] {
            let Value::Object(part) = part else { panic!("fields are an object") };
            record.extend(part);
        }
        Arc::new(Entity::new(Arc::new(record)).unwrap())
    }

    /// Adds a service and gives its id.
    pub(crate) fn service(&mut self, fields: Value) -> Value {
        let defaults = json!({"protocol": "http", "host": "127.0.0.1", "enabled": true});
        let service: Arc<Entity<Service>> = self.entity(defaults, fields);
        let reference = json!({"id": service.record()["id"]});
        self.parts.services.push(service);
        reference
    }

    /// Adds a route and gives its id.
    pub(crate) fn route(&mut self, fields: Value) -> Value {
        let defaults = json!({
            "protocols": ["http", "https"], "strip_path": true, "request_buffering": true,
            "response_buffering": true, "https_redirect_status_code": 426,
        });
        let route: Arc<Entity<Route>> = self.entity(defaults, fields);
        let reference = json!({"id": route.record()["id"]});
        self.parts.routes.push(route);
        reference
    }

    /// Adds a service on a port of this machine, with a route for `/`.
    pub(crate) fn serve(mut self, port: u16) -> Setup {
        let service = self.service(json!({"port": port}));
        self.route(json!({"paths": ["/"], "service": service}));
        self
    }

    /// Adds an upstream with targets on these ports of this machine.
    pub(crate) fn upstream(&mut self, name: &str, ports: &[u16]) {
        let upstream: Arc<Entity<Upstream>> = self.entity(json!({}), json!({"name": name}));
        for port in ports {
            let reference = json!({"id": upstream.record()["id"]});
            let target = format!("127.0.0.1:{port}");
            let target = json!({"upstream": reference, "target": target, "weight": 100});
            self.add_target(target);
        }
        self.parts.upstreams.push(upstream);
    }

    /// Adds an upstream with these fields and with targets, each with its weight.
    pub(crate) fn upstream_with(&mut self, fields: Value, targets: &[(&str, u16)]) -> Uuid {
        let upstream: Arc<Entity<Upstream>> = self.entity(json!({}), fields);
        let reference = json!({"id": upstream.record()["id"]});
        for (target, weight) in targets {
            self.add_target(json!({"upstream": reference, "target": target, "weight": weight}));
        }
        let id = upstream.id;
        self.parts.upstreams.push(upstream);
        id
    }

    /// Gives an upstream other fields, and its id.
    pub(crate) fn edit_upstream(&mut self, number: usize, fields: &Value) -> Uuid {
        let id = self.parts.upstreams[number].id;
        let mut edited = json!({"id": id});
        for (name, value) in fields.as_object().into_iter().flatten() {
            edited[name] = value.clone();
        }
        self.parts.upstreams[number] = self.entity(json!({}), edited);
        id
    }

    /// Adds a service for a host, with a route for its own path.
    pub(crate) fn serve_host(&mut self, host: &str, port: u16, fields: &Value) {
        let mut service = json!({"host": host, "port": port, "retries": 0});
        for (name, value) in fields.as_object().into_iter().flatten() {
            service[name] = value.clone();
        }
        let service = self.service(service);
        self.route(json!({"paths": [format!("/{host}")], "service": service}));
    }

    /// Adds a certificate, shown to who asks for `name`.
    pub(crate) fn certificate(&mut self, number: u32, name: &str, cert: &str, key: &str) {
        let reference = json!({"id": id(number)});
        let mut fields = json!({"cert": cert, "key": key});
        fields["id"] = id(number).into();
        let certificate: Arc<Entity<Certificate>> = self.entity(json!({}), fields);
        let sni: Arc<Entity<Sni>> =
            self.entity(json!({}), json!({"name": name, "certificate": reference}));
        self.parts.certificates.push(certificate);
        self.parts.snis.push(sni);
    }

    fn add_target(&mut self, fields: Value) {
        let target: Arc<Entity<Target>> = self.entity(json!({}), fields);
        self.parts.targets.push(target);
    }

    /// Uses a plugin.
    pub(crate) fn using(&mut self, fields: Value) {
        let plugin = self.entity(json!({"enabled": true, "protocols": ["http", "https"]}), fields);
        self.parts.plugins.push(plugin);
    }

    /// Adds a plugin that is made of its configuration.
    pub(crate) fn plugin(
        &mut self,
        name: &str,
        priority: i32,
        make: impl Fn(&Value) -> Phases + Send + Sync + 'static,
    ) {
        let plugin = Plugin {
            name: name.to_owned(),
            priority,
            version: "1".to_owned(),
            origin: Origin::Bundled,
            phases: silverback_pdk::PhaseSet::ANY,
            schema: Schema::default(),
            keeps: silverback_pdk::Keeps::default(),
            configure: Box::new(move |configuration| Ok(make(&configuration.config()))),
        };
        self.registry.add(plugin).unwrap();
    }

    /// Adds a plugin and uses it for all requests.
    pub(crate) fn with(mut self, name: &str, priority: i32, make: fn(&Value) -> Phases) -> Setup {
        self.plugin(name, priority, make);
        self.using(json!({"name": name}));
        self
    }

    pub(crate) fn start(self) -> Gateway {
        let Setup { parts, registry, config, .. } = &self;
        let snapshot = Snapshot::compile(parts.clone(), registry, config, None).unwrap();
        let snapshots = Arc::new(ArcSwap::from_pointee(snapshot));
        let handle = start(config.clone(), snapshots.clone()).unwrap();
        let address = handle.addresses()[0].to_string();
        Gateway { handle: Some(handle), snapshots, setup: self, address }
    }
}

impl Gateway {
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.ask(&Request::get(target))
    }

    pub(crate) fn ask(&self, request: &Request) -> Answer {
        send(&self.address, request).unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.address, Duration::from_secs(10)).unwrap()
    }

    /// Compiles what the setup holds now and puts it in place.
    pub(crate) fn reload(&self) {
        let Setup { parts, registry, config, .. } = &self.setup;
        let before = self.snapshots.load_full();
        let snapshot = Snapshot::compile(parts.clone(), registry, config, Some(&before)).unwrap();
        self.snapshots.store(Arc::new(snapshot));
    }
}

pub(crate) fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// A server at an address, port 0 being any: says in each answer which it is, and which Host it
/// was asked for. Gives its port.
pub(crate) fn backend(ip: &str, port: u16) -> u16 {
    let listener = TcpListener::bind((ip, port)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                loop {
                    let head = read_head(&mut stream);
                    if head.is_empty() {
                        return;
                    }
                    let host = head.lines().find_map(|line| line.strip_prefix("Host: "));
                    let body = format!("{} {}", address.ip(), host.unwrap_or_default());
                    let length = body.len();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                    if stream.write_all(format!("{head}{body}").as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address.port()
}

/// A port that nothing listens on, nor ever will: its socket is kept until the process ends, for
/// a port given back is soon that of another test's server.
pub(crate) fn dead_port() -> u16 {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    std::mem::forget(socket);
    port
}

/// The head of a request; empty where none comes.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}
