//! The router: routes in two layers, and finding the one for a request.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use silverback_model::entities::{Route, Service};
use thiserror::Error;

use crate::compile::Compiled;
use crate::conditions::Subject;
use crate::expressions::{self, Hit, Rules};
use crate::index::{Found, Handling, Index};
use crate::lookup::{Lookup, Match};
use crate::path::Rewrite;
use crate::pattern::{PathPattern, Span};

/// The rules by which routes are ordered and matched (`router_flavor` in kong.conf).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flavor {
    /// `traditional`.
    ///
    /// Within routes of the same kinds of conditions, Kong first tries those that its tables
    /// yield for the host, the longest path and so on, whichever table is smallest. Here their
    /// documented order holds throughout. Regexes are those of `traditional_compatible`.
    Traditional,
    /// `traditional_compatible`, the default.
    #[default]
    TraditionalCompatible,
    /// `expressions`: routes with an expression come first, by their priorities. A route may have
    /// hosts, paths and so on instead, which are those of `traditional_compatible`.
    Expressions,
}

impl Flavor {
    /// The flavour of this name. None if it is unknown.
    pub fn from_name(name: &str) -> Option<Flavor> {
        match name {
            "traditional" => Some(Flavor::Traditional),
            "traditional_compatible" => Some(Flavor::TraditionalCompatible),
            "expressions" => Some(Flavor::Expressions),
            _ => None,
        }
    }
}

/// A route to build a router from.
#[derive(Debug, Clone, Copy)]
pub struct RouteInput<'a> {
    /// The route.
    pub route: &'a Route,
    /// Its service. A route whose service is not enabled never matches.
    pub service: Option<&'a Service>,
}

/// Finds the route for a request or a connection. Built once, then only read.
///
/// It has two layers: a base that changes share, and few routes that came or changed since. Copies
/// share both.
#[derive(Debug, Default, Clone)]
pub struct Router {
    flavor: Flavor,
    base: Arc<Layer>,
    recent: Arc<Layer>,
    /// The routes that came, changed or went since the base was made, by position. What the base
    /// has of them does not count.
    changes: HashMap<u32, Arc<Compiled>>,
}

#[derive(Debug, Default)]
struct Layer {
    requests: Index,
    streams: Index,
    request_rules: Rules,
    stream_rules: Rules,
}

impl Layer {
    /// Sorts and indexes; `base` is the layer below, if there is one.
    fn new(compiled: Compiled, base: Option<&Layer>) -> Layer {
        let Compiled { requests, streams, request_rules, stream_rules } = compiled;
        let known = |stream| base.map(|base| base.rules(stream).fields()).unwrap_or_default();
        Layer {
            requests: Index::new(requests),
            streams: Index::new(streams),
            request_rules: Rules::new(request_rules, false, known(false)),
            stream_rules: Rules::new(stream_rules, true, known(true)),
        }
    }

    fn index(&self, stream: bool) -> &Index {
        if stream { &self.streams } else { &self.requests }
    }

    fn rules(&self, stream: bool) -> &Rules {
        if stream { &self.stream_rules } else { &self.request_rules }
    }

    /// What is in it of the routes that are wanted.
    fn compiled(&self, wanted: impl Fn(u32) -> bool) -> Compiled {
        let entries = |index: &Index| {
            let wanted = index.entries().iter().filter(|entry| wanted(entry.route));
            wanted.cloned().collect()
        };
        let of = |rules: &Rules| {
            rules.rules().iter().filter(|rule| wanted(rule.route)).cloned().collect()
        };
        Compiled {
            requests: entries(&self.requests),
            streams: entries(&self.streams),
            request_rules: of(&self.request_rules),
            stream_rules: of(&self.stream_rules),
        }
    }
}

impl Router {
    /// Builds the router. Matches speak of routes by their position in `routes`.
    ///
    /// # Errors
    /// Everything that is wrong with any of the routes.
    pub fn build(flavor: Flavor, routes: &[RouteInput<'_>]) -> Result<Router, BuildErrors> {
        let (router, errors) =
            Router::build_without_wrong(flavor, (0..).zip(routes.iter().copied()));
        if errors.is_empty() { Ok(router) } else { Err(BuildErrors(errors)) }
    }

    /// Builds the router of the routes that nothing is wrong with; the others never match. Each
    /// route comes with the position by which matches are to speak of it.
    pub fn build_without_wrong<'a>(
        flavor: Flavor,
        routes: impl IntoIterator<Item = (u32, RouteInput<'a>)>,
    ) -> (Router, Vec<BuildError>) {
        let mut compiled = Compiled::default();
        let mut errors = Vec::new();
        for (position, input) in routes {
            compiled.add(flavor, position, &input, &mut errors);
        }
        let base = Arc::new(Layer::new(compiled, None));
        (Router { flavor, base, ..Router::default() }, errors)
    }

    /// This router with other routes in some positions, or with none there any more. It costs no
    /// more than they do and those that were changed since the base was made.
    pub fn changed<'a>(
        &self,
        changes: impl IntoIterator<Item = (u32, Option<RouteInput<'a>>)>,
    ) -> (Router, Vec<BuildError>) {
        let mut all = self.changes.clone();
        let mut errors = Vec::new();
        for (position, input) in changes {
            let mut compiled = Compiled::default();
            if let Some(input) = input {
                compiled.add(self.flavor, position, &input, &mut errors);
            }
            all.insert(position, Arc::new(compiled));
        }
        let mut recent = Compiled::default();
        all.values().for_each(|compiled| recent.extend(compiled));
        let recent = Arc::new(Layer::new(recent, Some(&self.base)));
        let base = Arc::clone(&self.base);
        (Router { flavor: self.flavor, base, recent, changes: all }, errors)
    }

    /// How many routes were changed since the base was made: every further change costs what they
    /// do.
    pub fn changes(&self) -> usize {
        self.changes.len()
    }

    /// The same with all changes in the base. It costs what sorting all routes does.
    #[must_use]
    pub fn rebased(&self) -> Router {
        let mut compiled = self.base.compiled(|route| self.is_of_base(route));
        compiled.extend(&self.recent.compiled(|_| true));
        let base = Arc::new(Layer::new(compiled, None));
        Router { flavor: self.flavor, base, ..Router::default() }
    }

    /// This router on a new base, which was made of what it was `before`. None if it has been
    /// built anew since.
    pub fn on(&self, base: &Router, before: &Router) -> Option<Router> {
        if !Arc::ptr_eq(&self.base, &before.base) {
            return None;
        }
        let is_known = |position: &u32, compiled: &Arc<Compiled>| {
            before.changes.get(position).is_some_and(|known| Arc::ptr_eq(known, compiled))
        };
        let newer = self.changes.iter().filter(|(position, own)| !is_known(position, own));
        let changes: HashMap<_, _> =
            newer.map(|(position, compiled)| (*position, Arc::clone(compiled))).collect();
        let mut recent = Compiled::default();
        changes.values().for_each(|compiled| recent.extend(compiled));
        let recent = Arc::new(Layer::new(recent, Some(&base.base)));
        Some(Router { flavor: self.flavor, base: Arc::clone(&base.base), recent, changes })
    }

    fn is_of_base(&self, route: u32) -> bool {
        self.changes.is_empty() || !self.changes.contains_key(&route)
    }
}

impl Router {
    /// The route for a request or a connection.
    pub fn find<'a>(&self, lookup: &Lookup<'a>) -> Option<Match<'a>> {
        let stream = lookup.scheme.is_stream();
        let of_base = |route| self.is_of_base(route);
        let (base, recent) = (self.base.rules(stream), self.recent.rules(stream));
        if let Some(hit) = expressions::find(base, recent, lookup, of_base) {
            return Some(of_expression(hit));
        }
        let subject = Subject::new(lookup, self.flavor);
        let mut found = self.base.index(stream).find(&subject, of_base);
        if !self.changes.is_empty() {
            let recent = self.recent.index(stream).find(&subject, |_| true);
            let place = |found: &Found<'_>| found.entry.place;
            if recent.as_ref().map(place) > found.as_ref().map(place) {
                found = recent;
            }
        }
        let Found { entry, span: Span { start, end } } = found?;
        let Handling { strip, verbatim } = entry.handling;
        let matched = lookup.path.get(start..end).unwrap_or_default();
        let shown = strip && !matched.is_empty() && matched != "/";
        // The slash that every path starts with counts as matched where no path is demanded.
        let cut = if matches!(entry.path, PathPattern::Any) { 1 } else { matched.len() };
        Some(Match {
            route: entry.route,
            prefix: shown.then_some(matched.into()),
            captures: entry.path.captures(lookup.path),
            rewrite: Rewrite { strip, cut, verbatim },
        })
    }
}

/// The match of a route with an expression. As many characters are cut off as the condition on
/// the path matched, and always from the front.
fn of_expression(hit: Hit<'_>) -> Match<'_> {
    let Hit { route, strip, path, captures } = hit;
    let cut = path.as_ref().map_or(1, |path| path.len());
    let prefix = path.filter(|matched| strip && !matched.is_empty() && matched != "/");
    Match { route, prefix, captures, rewrite: Rewrite { strip, cut, verbatim: false } }
}

/// What is wrong with a route.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// A path or a header value that is no regular expression.
    #[error("'{pattern}' is not a valid regular expression: {reason}")]
    Regex {
        /// The pattern, as configured.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A header that cannot exist.
    #[error("'{name}' cannot be the name of a header")]
    HeaderName {
        /// The name.
        name: String,
    },
    /// A source or destination that is no address.
    #[error("'{text}' is neither an IP address nor a range of addresses")]
    Address {
        /// What is there instead.
        text: String,
    },
    /// An expression that is none.
    #[error("its expression is not valid: {reason}")]
    Expression {
        /// What is wrong with it.
        reason: String,
    },
    /// A route that would match everything.
    #[error(
        "it has no condition: set methods, hosts, headers, paths, snis, sources or destinations"
    )]
    NoCondition,
}

/// A route that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("route '{route}': {problem}")]
pub struct BuildError {
    /// The position of the route in the list given.
    pub position: u32,
    /// The name of the route, or else its id.
    pub route: String,
    /// What is wrong.
    pub problem: Problem,
}

/// All that is wrong with the routes; not empty.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct BuildErrors(pub Vec<BuildError>);

impl fmt::Display for BuildErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use silverback_model::entities::{Endpoint, Protocol, Set};
    use uuid::Uuid;

    use super::*;

    fn build(flavor: Flavor, routes: &[Route]) -> Result<Router, BuildErrors> {
        let inputs: Vec<_> =
            routes.iter().map(|route| RouteInput { route, service: None }).collect();
        Router::build(flavor, &inputs)
    }

    fn with_paths(id: u128, paths: &[&str]) -> Route {
        Route {
            id: Uuid::from_u128(id),
            strip_path: true,
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            ..Route::default()
        }
    }

    fn get<'a>(path: &'a str, headers: &'a HeaderMap) -> Lookup<'a> {
        Lookup {
            query: "",
            method: "GET",
            host: "example.test",
            path,
            headers,
            scheme: Protocol::Http,
            sni: None,
            source: None,
            destination: None,
        }
    }

    #[test]
    fn every_problem_is_named() {
        let mut bad = with_paths(1, &["/fine", "~/a(b", "~/c[d"]);
        bad.name = Some("bad".to_owned());
        bad.headers.insert("x y".to_owned(), vec!["~*(".to_owned()]);
        bad.sources = Set(vec![Endpoint { ip: Some("10.0.0".to_owned()), port: None }]);
        let empty = with_paths(2, &[]);
        let errors = build(Flavor::default(), &[with_paths(3, &["/"]), bad, empty]).unwrap_err();
        let text = errors.to_string();
        for part in [
            "route 'bad': '~/a(b' is not a valid regular expression: ",
            "route 'bad': '~/c[d' is not a valid regular expression: ",
            "route 'bad': '~*(' is not a valid regular expression: ",
            "route 'bad': 'x y' cannot be the name of a header",
            "route 'bad': '10.0.0' is neither an IP address nor a range of addresses",
            "route '00000000-0000-0000-0000-000000000002': it has no condition",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let positions: Vec<u32> = errors.0.iter().map(|error| error.position).collect();
        assert_eq!(positions, [1, 1, 1, 1, 1, 2]);
    }

    #[test]
    fn a_match_says_what_to_do_with_the_path() {
        let headers = HeaderMap::new();
        let check = |route: Route, path: &str, prefix: Option<&str>, upstream: &str| {
            let router = build(Flavor::default(), std::slice::from_ref(&route)).unwrap();
            let found = router.find(&get(path, &headers)).unwrap();
            assert_eq!(found.prefix.as_deref(), prefix, "{path}");
            assert_eq!(found.upstream_path(path, Some("/base")), upstream, "{path}");
        };
        let keep = |route| Route { strip_path: false, ..route };
        let host = Route { hosts: vec!["example.test".to_owned()], ..with_paths(1, &[]) };
        check(with_paths(1, &["/a"]), "/a/b", Some("/a"), "/base/b");
        check(keep(with_paths(1, &["/a"])), "/a/b", None, "/base/a/b");
        check(with_paths(1, &["/"]), "/a/b", None, "/base/a/b");
        check(with_paths(1, &[r"~/\d+/"]), "/12/b", Some("/12/"), "/base/b");
        check(host.clone(), "/a/b", None, "/base/a/b");
        check(keep(host), "/", None, "/base");
        // What matched further on is cut off the front all the same, as Kong does.
        check(with_paths(1, &["~/x|/b"]), "/aaa/b", Some("/b"), "/base/aa/b");
    }

    #[test]
    fn ties_go_to_the_greater_id_or_to_the_earlier_route() {
        let headers = HeaderMap::new();
        let check = |flavor, expect| {
            let routes = [1, 3, 2].map(|id| with_paths(id, &["/a"]));
            let found = build(flavor, &routes).unwrap().find(&get("/a", &headers)).unwrap().route;
            assert_eq!(found, expect, "{flavor:?}");
        };
        check(Flavor::TraditionalCompatible, 1);
        check(Flavor::Traditional, 0);
    }

    #[test]
    fn routes_of_a_service_that_is_not_enabled_do_not_match() {
        let headers = HeaderMap::new();
        let route = with_paths(1, &["/"]);
        let service = Service { enabled: false, ..Service::default() };
        let input = RouteInput { route: &route, service: Some(&service) };
        let router = Router::build(Flavor::default(), &[input]).unwrap();
        assert_eq!(router.find(&get("/", &headers)), None);
    }

    #[test]
    fn streams_are_routed_by_name_and_address() {
        let stream = |id, snis: &[&str], source: Option<&str>, port: Option<u16>| Route {
            id: Uuid::from_u128(id),
            protocols: Set(vec![Protocol::Tcp, Protocol::Tls]),
            snis: snis.iter().map(|sni| (*sni).to_owned()).collect(),
            sources: source
                .iter()
                .map(|ip| Endpoint { ip: Some((*ip).into()), port: None })
                .collect(),
            destinations: port
                .iter()
                .map(|port| Endpoint { ip: None, port: Some(*port) })
                .collect(),
            ..Route::default()
        };
        let routes = [
            stream(1, &["one.test", "*.two.test."], None, None),
            stream(2, &[], None, Some(9000)),
            stream(3, &[], Some("10.0.0.0/8"), None),
            stream(4, &[], Some("10.1.2.3"), Some(9000)),
            with_paths(5, &["/"]),
        ];
        let router = build(Flavor::default(), &routes).unwrap();
        let headers = HeaderMap::new();
        let check = |sni: Option<&str>, source: &str, destination: &str, expect| {
            let found = router.find(&Lookup {
                method: "",
                host: "",
                scheme: if sni.is_some() { Protocol::Tls } else { Protocol::Tcp },
                sni,
                source: source.parse().ok(),
                destination: destination.parse().ok(),
                ..get("", &headers)
            });
            assert_eq!(found.map(|found| found.route), expect, "{sni:?} {source} {destination}");
        };
        check(Some("one.test"), "10.1.1.1:5", "192.0.2.1:9000", Some(0));
        check(Some("a.two.test"), "192.0.2.9:5", "192.0.2.1:1", Some(0));
        check(Some("two.test"), "192.0.2.9:5", "192.0.2.1:9000", Some(1));
        check(Some("one.test"), "10.1.2.3:5", "192.0.2.1:9000", Some(3));
        check(Some("x.test"), "[::ffff:10.9.9.9]:5", "192.0.2.1:9000", Some(2));
        check(Some("x.test"), "192.0.2.9:5", "192.0.2.1:1", None);
        // Without TLS a route for names takes every connection.
        check(None, "192.0.2.9:5", "192.0.2.1:1", Some(0));
    }
}
