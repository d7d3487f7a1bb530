//! Routes and requests by chance, of a vocabulary in which they often meet.

use http::{HeaderMap, HeaderName, HeaderValue};
use silverback_model::entities::{Endpoint, Protocol, Route, Set};
use silverback_router::{Flavor, Lookup};
use uuid::Uuid;

pub(crate) const FLAVORS: [Flavor; 3] =
    [Flavor::Traditional, Flavor::TraditionalCompatible, Flavor::Expressions];

/// Marks a route that is to be given as an expression.
const AS_EXPRESSION: &str = "?";

/// A request to route.
#[derive(Debug)]
pub(crate) struct Request {
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
    pub(crate) fn lookup(&self) -> Lookup<'_> {
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
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
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

    pub(crate) fn route(&mut self, flavor: Flavor) -> Route {
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
    pub(crate) fn expression(&mut self, depth: usize) -> String {
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

    pub(crate) fn request(&mut self) -> Request {
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

/// The route as it is, or with an expression in the place of its conditions.
pub(crate) fn in_own_words(route: &Route) -> Route {
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
