//! A snapshot that was patched again and again serves as one that is compiled of the same entities
//! at once: on generated entities of every kind, and changes of them.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use http::HeaderMap;
use serde_json::{Value, json};
use silverback_model::{
    Record,
    schema::{Field, Flag, Schema},
    set::{Entities, Kinds},
};
use silverback_pdk::{Found, Handler, Node, Origin, PhaseSet, Phases, Plugin, SecretRef};
use silverback_router::{Flavor, Lookup};

use super::*;
use crate::chain::ChainOf;

const PLUGINS: [&str; 3] = ["alpha", "beta", "gamma"];

/// How many entities of each kind there may be.
const COUNT: usize = 4;

#[test]
fn patches_agree_with_the_whole() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for round in 0..60 {
        let flavor = [Flavor::TraditionalCompatible, Flavor::Expressions, Flavor::Traditional];
        let mut config = Config::new(Node::default());
        config.flavor = flavor[round % 3];
        run(&mut random, &config);
    }
}

fn run(random: &mut Random, config: &Config) {
    let (registry, pairs) = (registry(), pairs());
    let mut entities = Entities::empty(Arc::new(Kinds::bundled([])));
    let mut snapshot = Snapshot::empty();
    let secrets = Arc::new(Rotating { pairs: pairs.clone(), turn: AtomicUsize::new(0) });
    let directory: Arc<dyn Directory> = secrets.clone();
    let compile = |entities: &Entities, previous: &Snapshot| {
        let (parts, _) =
            Parts::read_without_wrong(entities, Arc::clone(&directory), Some(previous));
        Snapshot::compile_without_wrong(parts, &registry, config, Some(previous)).0
    };
    for step in 0..25 {
        let before = entities.clone();
        for _ in 0..=random.below(6) {
            random.change(&mut entities, &pairs);
        }
        if step == 0 {
            snapshot = compile(&entities, &snapshot);
            continue;
        }
        let patched = snapshot.patched(&before, &entities, &directory, &registry, config);
        snapshot = patched.expect("few changes").0;
        if random.below(3) == 0 {
            secrets.turn.fetch_add(1, Relaxed);
            snapshot = snapshot.with_secrets(&entities, &directory, &registry, config).0;
        }
        if random.below(5) == 0 {
            snapshot = snapshot.rebased();
        }
        // What is the same is taken over, so that it can be told from what should be the same.
        let whole = compile(&entities, &snapshot);
        assert_eq!(described(&snapshot), described(&whole), "{:?}", config.flavor);
        same_things(&snapshot, &whole);
    }
}

/// What is shared where nothing has changed: configurations of TLS, balancers, handlers.
fn same_things(patched: &Snapshot, whole: &Snapshot) {
    for (_, service) in patched.services.iter() {
        let other = whole.services.by(service.entity.id).expect("a service");
        let tls = [&service.tls, &other.tls]
            .map(|tls| tls.config(None, None).map(|tls| Arc::as_ptr(&tls)));
        assert_eq!(tls[0], tls[1], "TLS of {:?}", service.entity.record());
    }
    for (_, balancer) in patched.upstreams.iter() {
        let other = whole.upstreams.by(balancer.entity.id).expect("an upstream");
        assert!(Arc::ptr_eq(balancer, other), "{:?}", balancer.entity.record());
    }
    for (_, instance) in patched.instances.iter() {
        let other = whole.instances.by(instance.id).expect("an instance");
        assert!(Arc::ptr_eq(&instance.phases, &other.phases), "{:?}", instance.record);
    }
}

/// What a snapshot says of every question that requests ask.
fn described(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    let upstream = |number: Option<u32>| {
        let balancer = number.and_then(|number| snapshot.upstreams.get(number));
        balancer.map(|balancer| balancer.entity.id)
    };
    for (_, service) in snapshot.services.iter() {
        let id = service.entity.id;
        let record = service.entity.record();
        told.insert(
            format!("service {id}"),
            format!("{record:?} {:?}", upstream(service.upstream)),
        );
    }
    for number in 0..COUNT {
        for name in [format!("up-{number}"), format!("alt-{number}")] {
            let found = upstream(snapshot.upstream_names.get(name.as_str()).copied());
            told.insert(format!("upstream {name}"), format!("{found:?}"));
        }
        let name = format!("name-{number}");
        let shown = snapshot.certificates.find(Some(&name)).map(|shown| shown.told());
        told.insert(format!("certificate {name}"), format!("{shown:?}"));
    }
    for (number, route) in snapshot.routes.iter() {
        let service = snapshot.service_of(number).map(|service| service.entity.id);
        let chain = snapshot.chains.told(snapshot.chain(ChainOf::Route(number)), snapshot);
        let text = format!("{:?} {service:?} {chain}", route.entity.record());
        told.insert(format!("route {}", route.entity.id), text);
    }
    for (name, of) in [("requests", ChainOf::Requests), ("streams", ChainOf::Streams)] {
        told.insert(name.to_owned(), snapshot.chains.told(snapshot.chain(of), snapshot));
    }
    let headers = HeaderMap::new();
    for host in ["a.test", "b.test", "c.test"] {
        for path in ["/", "/a", "/a/b", "/b", "/c/d"] {
            let found = snapshot.router.find(&Lookup {
                method: "GET",
                host,
                path,
                query: "",
                headers: &headers,
                scheme: Protocol::Http,
                sni: None,
                source: None,
                destination: None,
            });
            let found = found.and_then(|found| snapshot.route(found.route));
            let id = found.map(|route| route.entity.id);
            told.insert(format!("GET {host}{path}"), format!("{id:?}"));
        }
    }
    told
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    for (priority, name) in (0..).zip(PLUGINS) {
        let phases = |later: bool| {
            let handler = || Some(Handler::now(|_| silverback_pdk::Flow::Next));
            let log = if later { handler() } else { None };
            Phases { access: handler(), log, ..Phases::default() }
        };
        let text = Field::string().with(Flag::Referenceable, true);
        let config = Schema::default().with_field("later", text);
        let plugin = Plugin {
            name: name.to_owned(),
            priority,
            version: "1".to_owned(),
            origin: Origin::Bundled,
            phases: PhaseSet::ANY,
            keeps: silverback_pdk::Keeps::default(),
            schema: Schema::plugin(name, Field::record(config)),
            configure: Box::new(move |given| {
                let later = &given.config()["later"];
                Ok(phases(*later == true || *later == "0"))
            }),
        };
        registry.add(plugin).expect("a new name");
    }
    registry
}

/// Secrets that are others each time.
struct Rotating {
    pairs: Vec<(String, String)>,
    turn: AtomicUsize,
}

impl Directory for Rotating {
    fn find(&self, _: &str, _: &str, _: &str) -> Found {
        Found::Now(None)
    }

    fn children(&self, _: &str, _: &str, _: &str) -> Found<Vec<Arc<Record>>> {
        Found::Now(Vec::new())
    }

    fn workspace_id(&self) -> Option<&str> {
        None
    }

    fn secret(&self, reference: &SecretRef) -> Result<String, String> {
        let turn = self.turn.load(Relaxed);
        let (cert, key) = &self.pairs[turn % self.pairs.len()];
        match reference.resource.as_str() {
            "cert" => Ok(cert.clone()),
            "key" => Ok(key.clone()),
            _ if turn % 4 == 3 => Err("it is gone".to_owned()),
            _ => Ok((turn % 2).to_string()),
        }
    }
}

/// Certificates and their keys.
fn pairs() -> Vec<(String, String)> {
    let pair = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    ["one", "two", "three"].map(pair).into()
}

/// Pseudo-random numbers (xorshift64), the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    fn one<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// A reference to one of a kind, there or not; or none.
    fn some(&mut self, kind: u32) -> Value {
        if self.below(2) == 0 { Value::Null } else { self.reference(kind) }
    }

    fn reference(&mut self, kind: u32) -> Value {
        let number = self.below(COUNT);
        json!({ "id": id(kind, number) })
    }

    /// Makes, changes or deletes an entity of some kind.
    fn change(&mut self, entities: &mut Entities, pairs: &[(String, String)]) {
        let (kind, number) = (self.below(KINDS.len()), self.below(COUNT));
        let (name, key) = (KINDS[kind], id(kind as u32, number));
        if self.below(3) == 0 {
            entities.remove(name, &key);
            return;
        }
        let mut fields = self.fields(name, number, pairs);
        fields["id"] = key.as_str().into();
        if name == "plugins" {
            let scope = |record: &Record| {
                ["name", "route", "service", "consumer"].map(|field| record.get(field).cloned())
            };
            let own = scope(fields.as_object().expect("fields"));
            let others = entities.of(name).iter().filter(|other| other["id"] != key.as_str());
            if others.map(|other| scope(other)).any(|other| other == own) {
                return;
            }
        }
        let Value::Object(record) = fields else { return };
        entities.put(name, Arc::new(record));
    }

    fn fields(&mut self, kind: &str, number: usize, pairs: &[(String, String)]) -> Value {
        let host = || [format!("up-{number}"), format!("alt-{number}"), "host".to_owned()];
        match kind {
            "certificates" => {
                let (cert, key) = self.one(pairs);
                let refers = json!({"cert": "{vault://test/cert}", "key": "{vault://test/key}"});
                self.one(&[json!({"cert": cert, "key": key}), refers])
            }
            "ca_certificates" => json!({"cert": self.one(pairs).0}),
            "snis" => json!({"name": format!("name-{number}"), "certificate": self.reference(0)}),
            "upstreams" => json!({
                "name": self.one(&host()[..2]),
                "slots": self.one(&[10, 100]),
                "client_certificate": self.some(0),
            }),
            "targets" => json!({
                "upstream": self.reference(3),
                "target": format!("127.0.0.1:{}", 1_000 + number),
                "weight": self.one(&[1, 100]),
            }),
            "services" => json!({
                "protocol": self.one(&["http", "https"]), "host": self.one(&host()), "port": 80,
                "enabled": self.below(4) > 0,
                "client_certificate": self.some(0),
                "ca_certificates": self.one(&[Value::Null, json!([id(1, 0), id(1, 2)])]),
            }),
            "plugins" => json!({
                "name": self.one(&PLUGINS),
                "enabled": self.below(5) > 0,
                "protocols": self.one(&[json!(["http"]), json!(["http", "tcp"]), json!([])]),
                "route": self.some(7), "service": self.some(5),
                "consumer": self.some(99),
                "config": self.one(&[
                    json!({"later": true}),
                    json!({"later": false}),
                    json!({"later": "{vault://test/word}"}),
                ]),
            }),
            _ => json!({
                "protocols": [self.one(&["http", "http", "http", "tcp"])],
                "paths": [self.one(&["/", "/a", "/a/b", "~/[a-c]", "/c"])],
                "hosts": self.one(&[json!([]), json!(["a.test"]), json!(["*.test", "b.test"])]),
                "expression": self.one(&[
                    Value::Null,
                    json!(r#"http.path ^= "/a""#),
                    json!(r#"http.host == "b.test" || http.path == "/c/d""#),
                ]),
                "priority": self.below(3),
                "strip_path": true, "request_buffering": true, "response_buffering": true,
                "https_redirect_status_code": 426, "service": self.some(5),
            }),
        }
    }
}

const KINDS: [&str; 8] = [
    "certificates",
    "ca_certificates",
    "snis",
    "upstreams",
    "targets",
    "services",
    "plugins",
    "routes",
];

fn id(kind: u32, number: usize) -> String {
    format!("00000000-0000-4000-8000-{kind:04}{number:08}")
}
