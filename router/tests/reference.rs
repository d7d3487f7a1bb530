//! The index finds what a plain walk over all routes finds, on generated routes and requests.

#![allow(clippy::unwrap_used)]

use atc_router::ast::{Type, Value};
use atc_router::context::Context;
use atc_router::router::Router as Engine;
use atc_router::schema::Schema;
use http::{HeaderMap, HeaderName, HeaderValue};
use regex::Regex;
use silverback_model::entities::{Endpoint, Protocol, Route, Set};
use silverback_router::{Flavor, Lookup, RouteInput, Router};
use uuid::Uuid;

const FLAVORS: [Flavor; 3] =
    [Flavor::Traditional, Flavor::TraditionalCompatible, Flavor::Expressions];

/// Marks a route that is to be given as an expression.
const AS_EXPRESSION: &str = "?";

#[test]
fn the_index_agrees_with_a_walk_over_all_routes() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut found = 0;
    for round in 0..450 {
        let flavor = FLAVORS[round % 3];
        let count = 1 + random.below(12);
        let meant: Vec<Route> = (0..count).map(|_| random.route(flavor)).collect();
        let given: Vec<Route> = meant.iter().map(in_own_words).collect();
        let inputs: Vec<_> =
            given.iter().map(|route| RouteInput { route, service: None }).collect();
        let router = Router::build(flavor, &inputs).unwrap();
        for _ in 0..60 {
            let request = random.request();
            let lookup = request.lookup();
            let answer = router.find(&lookup);
            let chosen = answer.as_ref().map(|found| found.route);
            let expect = walk(flavor, &meant, &lookup);
            assert_eq!(chosen, expect, "{flavor:?}\n{request:#?}\n{given:#?}");
            found += u32::from(expect.is_some());
        }
        layers_agree(&mut random, flavor, &given, &router);
    }
    assert!((9000..22000).contains(&found), "the requests should both match and not: {found}");
}

/// Routes that came or changed one after the other are found like all at once.
fn layers_agree(random: &mut Random, flavor: Flavor, routes: &[Route], whole: &Router) {
    let input = |route| RouteInput { route, service: None };
    let other = |random: &mut Random| in_own_words(&random.route(flavor));
    let mut current: Vec<Option<Route>> = routes.iter().cloned().map(Some).collect();
    let mut changed = Vec::new();
    for (at, route) in current.iter_mut().enumerate() {
        if random.below(3) == 0 {
            *route = [None, Some(other(random))][random.below(2)].clone();
            changed.push(at);
        }
    }
    let before = (0..).zip(&current).filter_map(|(at, route)| Some((at, input(route.as_ref()?))));
    let (mut layered, errors) = Router::build_without_wrong(flavor, before);
    assert!(errors.is_empty());
    // One that comes and goes, another that changes twice.
    let end = routes.len() as u32;
    let (guest, twice) = (other(random), other(random));
    (layered, _) = layered.changed([(end, Some(input(&guest)))]);
    if let Some(first) = changed.first() {
        (layered, _) = layered.changed([(*first as u32, Some(input(&twice)))]);
    }
    let rebased = layered.rebased();
    let at_rebase = layered.changed([]).0;
    let inputs = changed.iter().map(|at| (*at as u32, Some(input(&routes[*at]))));
    (layered, _) = layered.changed(inputs.chain([(end, None)]));
    let moved = layered.on(&rebased, &at_rebase).unwrap();
    assert!(rebased.on(&rebased, &at_rebase).is_none());
    assert!(moved.changes() <= layered.changes());
    for router in [&layered, &layered.rebased(), &moved] {
        for _ in 0..20 {
            let request = random.request();
            let lookup = request.lookup();
            let (found, expect) = (router.find(&lookup), whole.find(&lookup));
            assert_eq!(found, expect, "{flavor:?} {request:#?}\n{routes:#?}\n{changed:?}");
        }
    }
}

/// Expressions are found by their index as atc-router finds them one by one, captures and all.
#[test]
fn the_index_agrees_with_atc_router() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for _ in 0..300 {
        let count = 1 + random.below(30);
        let routes = (0..count).map(|_| Route {
            priority: random.below(4) as u64,
            expression: Some(random.expression(3)),
            protocols: Set(vec![Protocol::Http, Protocol::Https]),
            ..random.route(Flavor::Expressions)
        });
        let routes: Vec<Route> = routes.collect();
        let inputs: Vec<_> =
            routes.iter().map(|route| RouteInput { route, service: None }).collect();
        let router = Router::build(Flavor::Expressions, &inputs).unwrap();
        let mut schema = Schema::default();
        for field in ["http.method", "http.host", "http.path", "net.protocol"] {
            schema.add_field(field, Type::String);
        }
        let mut engine = Engine::new(&schema);
        for route in &routes {
            let text = route.expression.as_deref().unwrap();
            engine.add_matcher(route.priority as usize, route.id, text).unwrap();
        }
        for _ in 0..30 {
            let request = random.request();
            let lookup = request.lookup();
            let mut context = Context::new(&schema);
            let host = lookup.host.split(':').next().unwrap_or_default();
            let protocol = lookup.scheme.as_str();
            for (field, value) in [
                ("http.method", lookup.method),
                ("http.host", host),
                ("http.path", lookup.path),
                ("net.protocol", protocol),
            ] {
                context.add_value(field, Value::String(value.to_owned()));
            }
            let expect = engine.execute(&mut context).then(|| context.result.unwrap());
            let found = router.find(&lookup);
            let ids = found.as_ref().map(|found| routes[found.route as usize].id);
            assert_eq!(ids, expect.as_ref().map(|e| e.uuid), "{request:#?}\n{routes:#?}");
            let groups = |found: &silverback_router::Match<'_>| {
                found.captures.as_ref().map_or(0, |c| c.unnamed.iter().flatten().count())
            };
            let all = expect.as_ref().map_or(0, |e| {
                let numbered = e.captures.keys().filter(|name| name.parse::<u32>().is_ok());
                numbered.count()
            });
            let groups = found.as_ref().map_or(0, groups);
            assert!(groups == all || (groups == 0 && all == 1), "{groups} {all}");
        }
    }
}

/// The route as it is, or with an expression in the place of its conditions.
fn in_own_words(route: &Route) -> Route {
    if route.expression.is_none() {
        return route.clone();
    }
    Route {
        id: route.id,
        priority: route.priority,
        protocols: route.protocols.clone(),
        expression: Some(expression(route)),
        ..Route::default()
    }
}

fn expression(route: &Route) -> String {
    let any = |parts: Vec<String>| format!("({})", parts.join(" || "));
    let named = |field: &str, pattern: &str| match (pattern.strip_prefix('*'), pattern) {
        (Some(end), _) => format!(r#"{field} =^ "{end}""#),
        (None, pattern) => match pattern.strip_suffix('*') {
            Some(start) => format!(r#"{field} ^= "{start}""#),
            None => format!(r#"{field} == "{pattern}""#),
        },
    };
    let mut all = vec![];
    let host = |host: &String| match host.split_once(':') {
        Some((host, port)) => {
            format!("({} && net.dst.port == {port})", named("http.host", host))
        }
        None => named("http.host", host),
    };
    let path = |path: &String| match path.strip_prefix('~') {
        Some(regex) => format!(r##"http.path ~ r#"^{regex}"#"##),
        None => format!(r##"http.path ^= "{path}""##),
    };
    all.push(any(route.hosts.iter().map(host).collect()));
    all.push(any(route.paths.iter().map(path).collect()));
    all.push(any(route.methods.iter().map(|m| named("http.method", m)).collect()));
    if !route.snis.is_empty() {
        let names = route.snis.iter().map(|sni| named("tls.sni", sni));
        all.push(any(names.chain([r#"net.protocol != "https""#.to_owned()]).collect()));
    }
    for (name, values) in &route.headers {
        let field = format!("any(lower(http.headers.{}))", name.replace('-', "_"));
        let value = |value: &String| match value.strip_prefix("~*") {
            Some(regex) => format!(r#"{field} ~ "{}""#, regex.to_lowercase()),
            None => format!(r#"{field} == "{}""#, value.to_lowercase()),
        };
        all.push(any(values.iter().map(value).collect()));
    }
    for (end, endpoints) in [("src", &route.sources), ("dst", &route.destinations)] {
        all.push(any(endpoints.iter().map(|endpoint| address(end, endpoint)).collect()));
    }
    all.retain(|part| part != "()");
    all.join(" && ")
}

fn address(end: &str, endpoint: &Endpoint) -> String {
    let ip = endpoint.ip.as_ref().map(|ip| {
        let operator = if ip.contains('/') { "in" } else { "==" };
        format!("net.{end}.ip {operator} {ip}")
    });
    let port = endpoint.port.map(|port| format!("net.{end}.port == {port}"));
    let both: Vec<_> = ip.into_iter().chain(port).collect();
    format!("({})", both.join(" && "))
}

/// The best of all routes that match, one after the other.
fn walk(flavor: Flavor, routes: &[Route], lookup: &Lookup<'_>) -> Option<u32> {
    let mut best: Option<(Place, u32)> = None;
    for (position, route) in (0..).zip(routes) {
        for (place, paths) in places(flavor, route) {
            let better = best.as_ref().is_none_or(|(best, _)| place > *best);
            if better && matches(flavor, route, &paths, lookup) {
                best = Some((place, position));
            }
        }
    }
    best.map(|(_, position)| position)
}

/// A place in the order; the greater goes first.
type Place = (u64, Vec<i64>, Uuid);

/// What a route is split into, each with its place.
fn places(flavor: Flavor, route: &Route) -> Vec<(Place, Vec<String>)> {
    match flavor {
        Flavor::Traditional => {
            let paths = route.paths.iter().map(|path| vec![path.clone()]);
            let none = route.paths.is_empty().then(Vec::new);
            let place = |paths: Vec<String>| {
                (
                    (0, traditional(route, paths.first()), Uuid::from_u128(!route.id.as_u128())),
                    paths,
                )
            };
            paths.chain(none).map(place).collect()
        }
        Flavor::Expressions if route.expression.is_some() => {
            vec![((u64::MAX, vec![route.priority as i64], route.id), route.paths.clone())]
        }
        Flavor::TraditionalCompatible | Flavor::Expressions => {
            let mut groups: Vec<Vec<String>> = Vec::new();
            let kind = |path: &str| if path.starts_with('~') { 0 } else { path.len() };
            for path in &route.paths {
                match groups.iter_mut().find(|group| kind(&group[0]) == kind(path)) {
                    Some(group) => group.push(path.clone()),
                    None => groups.push(vec![path.clone()]),
                }
            }
            if groups.len() < 2 {
                return vec![(
                    (packed(route, &route.paths), vec![], route.id),
                    route.paths.clone(),
                )];
            }
            let namespace = Uuid::parse_str("7f145bf9-0dce-4f91-98eb-debbce4b9f6b").unwrap();
            let place = |(number, paths): (usize, Vec<String>)| {
                let name = format!("{}#{number}", route.id);
                ((packed(route, &paths), vec![], Uuid::new_v5(&namespace, name.as_bytes())), paths)
            };
            (1..).zip(groups).map(place).collect()
        }
    }
}

/// The number that Kong sorts by, as its shifts really make it: two fields wrap around in 32
/// bits, and the sign is extended.
fn packed(route: &Route, paths: &[String]) -> u64 {
    let kinds = [
        !route.sources.is_empty(),
        !route.destinations.is_empty(),
        !route.methods.is_empty(),
        !route.hosts.is_empty(),
        !route.headers.is_empty(),
        !route.snis.is_empty(),
        !route.paths.is_empty(),
    ];
    let weight = kinds.iter().map(|kind| u32::from(*kind)).sum::<u32>();
    let plain = !route.hosts.is_empty() && route.hosts.iter().all(|host| !host.contains('*'));
    let regex = paths.iter().any(|path| path.starts_with('~'));
    let priority = if regex { route.regex_priority.unwrap_or(0) as u32 } else { 0 };
    let length = if regex { 0 } else { paths.first().map_or(0, String::len) as u32 };
    let narrow = weight.wrapping_shl(61)
        | (route.headers.len() as u32).wrapping_shl(52)
        | priority.wrapping_shl(19)
        | length;
    i64::from(narrow as i32) as u64 | u64::from(plain) << 60 | u64::from(regex) << 51
}

/// The documented order of the flavour `traditional`.
fn traditional(route: &Route, path: Option<&String>) -> Vec<i64> {
    let number = |condition: bool| i64::from(condition);
    let kinds = [
        (!route.hosts.is_empty(), 0x40),
        (!route.headers.is_empty(), 0x20),
        (path.is_some(), 0x10),
        (!route.methods.is_empty(), 0x08),
        (!route.snis.is_empty(), 0x04),
        (!route.sources.is_empty(), 0x02),
        (!route.destinations.is_empty(), 0x01),
    ];
    let wild = |host: &String| host.contains('*');
    let ported = |host: &String| host.contains(':');
    let plain = !route.hosts.is_empty() && !route.hosts.iter().any(wild);
    let regex = path.is_some_and(|path| path.starts_with('~'));
    let both = |end: &Endpoint| end.ip.is_some() && end.port.is_some();
    vec![
        kinds.iter().map(|(is, _)| number(*is)).sum(),
        kinds.iter().map(|(is, bit)| number(*is) * bit).sum(),
        number(route.hosts.iter().any(|host| wild(host) && ported(host))),
        number(plain),
        number(regex),
        number(plain && route.hosts.iter().any(ported)),
        number(route.sources.iter().any(both)),
        number(route.destinations.iter().any(both)),
        route.headers.len() as i64,
        if regex { route.regex_priority.unwrap_or(0) } else { 0 },
        path.filter(|_| !regex).map_or(0, |path| path.len() as i64),
        -route.created_at,
    ]
}

fn matches(flavor: Flavor, route: &Route, paths: &[String], lookup: &Lookup<'_>) -> bool {
    let tls = lookup.scheme == Protocol::Https;
    let (name, port) = lookup.host.split_once(':').unwrap_or((lookup.host, ""));
    let host = |pattern: &String| {
        let (own, own_port) = pattern.split_once(':').unwrap_or((pattern, ""));
        let implied = match flavor {
            Flavor::TraditionalCompatible | Flavor::Expressions => {
                lookup.destination.unwrap().port().to_string()
            }
            Flavor::Traditional if !own.contains('*') => String::new(),
            Flavor::Traditional => if tls { "443" } else { "80" }.to_owned(),
        };
        let port = if port.is_empty() { &*implied } else { port };
        glob(own, name) && (own_port.is_empty() || own_port == port)
    };
    let path = |pattern: &String| match pattern.strip_prefix('~') {
        None => lookup.path.starts_with(&**pattern),
        Some(regex) if flavor == Flavor::Traditional => {
            Regex::new(&format!("^(?:{regex})")).unwrap().is_match(lookup.path)
        }
        Some(regex) => Regex::new(&format!("^{regex}")).unwrap().is_match(lookup.path),
    };
    let header = |(name, values): (&String, &Vec<String>)| {
        lookup.headers.get_all(name).iter().any(|value| {
            let value = value.to_str().unwrap().to_lowercase();
            values.iter().any(|own| match own.strip_prefix("~*") {
                Some(regex) if values.len() == 1 || flavor != Flavor::Traditional => {
                    Regex::new(&regex.to_lowercase()).unwrap().is_match(&value)
                }
                _ => own.to_lowercase() == value,
            })
        })
    };
    let sni = |own: &String| {
        let wild = flavor != Flavor::Traditional;
        lookup.sni.is_some_and(|sni| if wild { glob(own, sni) } else { own == sni })
    };
    let mut destination = lookup.destination.unwrap();
    destination.set_port(port.parse().unwrap_or(destination.port()));
    let end = |end: &Endpoint, address: std::net::SocketAddr| {
        end.ip.as_deref().is_none_or(|ip| match ip {
            "10.0.0.0/8" => address.ip().to_string().starts_with("10."),
            ip => address.ip().to_string() == ip,
        }) && end.port.is_none_or(|port| port == address.port())
    };
    let source = lookup.source.unwrap();
    let scheme = flavor != Flavor::Expressions
        || *route.protocols == [Protocol::Https]
        || route.protocols.contains(&lookup.scheme);
    scheme
        && (route.methods.is_empty() || route.methods.iter().any(|own| own == lookup.method))
        && (route.hosts.is_empty() || route.hosts.iter().any(host))
        && (paths.is_empty() || paths.iter().any(path))
        && route.headers.iter().all(header)
        && (route.snis.is_empty() || !tls || route.snis.iter().any(sni))
        && (route.sources.is_empty() || route.sources.iter().any(|own| end(own, source)))
        && (route.destinations.is_empty()
            || route.destinations.iter().any(|own| end(own, destination)))
}

/// Whether a name fits a pattern with at most one `*`, at an end.
fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
        None => pattern == name,
    }
}

/// A request to route.
#[derive(Debug)]
struct Request {
    method: &'static str,
    host: &'static str,
    path: &'static str,
    headers: HeaderMap,
    tls: bool,
    sni: Option<&'static str>,
    source: &'static str,
    destination: &'static str,
}

impl Request {
    fn lookup(&self) -> Lookup<'_> {
        Lookup {
            method: self.method,
            host: self.host,
            path: self.path,
            query: "",
            headers: &self.headers,
            scheme: if self.tls { Protocol::Https } else { Protocol::Http },
            sni: self.sni.filter(|_| self.tls),
            source: self.source.parse().ok(),
            destination: self.destination.parse().ok(),
        }
    }
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

    fn one<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Up to three different choices, one time in `seldom`; otherwise none.
    fn some(&mut self, seldom: usize, choices: &[&str]) -> Vec<String> {
        let count = if self.below(seldom) == 0 { 1 + self.below(3) } else { 0 };
        let mut some: Vec<String> = (0..count).map(|_| self.one(choices).to_owned()).collect();
        let mut seen = Vec::new();
        some.retain(|choice| {
            !seen.contains(choice) && {
                seen.push(choice.clone());
                true
            }
        });
        some
    }

    fn route(&mut self, flavor: Flavor) -> Route {
        let mut route = Route {
            id: Uuid::from_u128((self.below(usize::MAX) as u128) << 64),
            created_at: self.below(3) as i64,
            protocols: Set(vec![Protocol::Http, Protocol::Https]),
            hosts: self.some(2, HOSTS),
            paths: self.some(1 + self.0 as usize % 2, PATHS),
            methods: Set(self.some(3, &["GET", "PUT"])),
            snis: Set(self.some(6, &["one.test", "*.two.test", "three.*"])),
            sources: Set(self.endpoints()),
            destinations: Set(self.endpoints()),
            regex_priority: Some(self.one(&[0, 0, 1, 2, 7, 100])),
            ..Route::default()
        };
        for name in ["x-a", "x-b"] {
            let values = self.some(5, &["1", "Two", "~*^t", "~*[0-9]$"]);
            if !values.is_empty() {
                route.headers.insert(name.to_owned(), values);
            }
        }
        let nothing = route.hosts.is_empty()
            && route.methods.is_empty()
            && route.headers.is_empty()
            && route.snis.is_empty();
        if nothing && route.paths.is_empty() {
            route.paths = vec!["/".to_owned()];
        }
        if flavor == Flavor::Expressions {
            let choices: [&[Protocol]; 3] =
                [&[Protocol::Http, Protocol::Https], &[Protocol::Http], &[Protocol::Https]];
            route.protocols = Set(self.one(&choices).to_vec());
            route.priority = self.one(&[0, 1, 2]);
            route.expression = self.one(&[None, Some(AS_EXPRESSION)]).map(str::to_owned);
        }
        route
    }

    /// An expression of predicates on the host, the path and the rest, so deep.
    fn expression(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 1 } else { 5 }) {
            0 => {
                let field = self.one(&["http.host", "http.path", "http.method", "net.protocol"]);
                let field = self.one(&[field, field, field, &format!("lower({field})")]).to_owned();
                let text = match field.contains("path") {
                    true => self.one(REQUEST_PATHS),
                    false => self.one(&["a.test", "x.a.test", ".test", "x.a.", "GET", "https"]),
                };
                match self.below(7) {
                    0 => format!(r##"{field} ~ r#"^{text}([a-z]*)"#"##),
                    1 => format!(r#"{field} != "{text}""#),
                    2 => format!(r#"{field} =^ "{text}""#),
                    3 => format!(r#"{field} contains "{text}""#),
                    4 => format!(r#"{field} == "{text}""#),
                    _ => format!(r#"{field} ^= "{text}""#),
                }
            }
            1 => format!("!({})", self.expression(depth - 1)),
            2 => format!("({}) || ({})", self.expression(depth - 1), self.expression(depth - 1)),
            _ => format!("({}) && ({})", self.expression(depth - 1), self.expression(depth - 1)),
        }
    }

    fn endpoints(&mut self) -> Vec<Endpoint> {
        if self.below(12) > 0 {
            return Vec::new();
        }
        let ip = self.one(&[None, Some("10.0.0.0/8"), Some("10.1.2.3"), Some("192.0.2.1")]);
        let port = if ip.is_none() { Some(8000) } else { self.one(&[None, Some(8000)]) };
        vec![Endpoint { ip: ip.map(str::to_owned), port }]
    }

    fn request(&mut self) -> Request {
        let mut headers = HeaderMap::new();
        for name in ["x-a", "x-b"] {
            for _ in 0..self.one(&[0, 1, 1, 2]) {
                let value = self.one(&["1", "two", "TWO", "x9", "none"]);
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
        }
        Request {
            method: self.one(&["GET", "PUT", "POST"]),
            host: self.one(REQUEST_HOSTS),
            path: self.one(REQUEST_PATHS),
            headers,
            tls: self.below(3) == 0,
            sni: self.one(&[None, Some("one.test"), Some("a.two.test"), Some("three.test")]),
            source: self.one(&["10.1.2.3:8000", "10.9.9.9:1", "192.0.2.1:8000", "192.0.2.9:5"]),
            destination: self.one(&["10.1.2.3:8000", "192.0.2.1:80"]),
        }
    }
}

const HOSTS: &[&str] = &[
    "a.test",
    "b.test",
    "x.a.test",
    "a.test:80",
    "a.test:8000",
    "*.a.test",
    "*.test",
    "a.*",
    "x.a.*",
    "*.test:8000",
    "a.*:80",
];

const REQUEST_HOSTS: &[&str] = &[
    "",
    "a.test",
    "b.test",
    "x.a.test",
    "y.x.a.test",
    "a.org",
    "A.test",
    "a.test:80",
    "a.test:8000",
    "b.test:443",
    "x.a.test:8000",
    "test",
];

const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/a/b/c",
    "/ab",
    "/b",
    "/b/a",
    "/c",
    "/a/b/c/d",
    "/é",
    "~/a",
    r"~/a/\d+",
    "~/a/b/c$",
    "~/a|/b",
    "~/(a|b)/c",
    "~/(?<x>[a-z])/b",
    "~/",
    "~/a*b",
    "~/é?a",
    "~/(?i)A/B",
];

const REQUEST_PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/",
    "/a/7",
    "/a/b",
    "/a/b/",
    "/a/b/c",
    "/a/b/c/d/e",
    "/ab",
    "/aab",
    "/abc",
    "/b",
    "/b/a",
    "/b/c",
    "/c/b",
    "/c",
    "/d",
    "/x/b",
    "/é",
    "/éa",
    "/A/B",
];
