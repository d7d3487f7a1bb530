//! The router: compiling routes, and finding the one for a request.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use silverback_model::entities::{Route, Service};
use thiserror::Error;
use uuid::Uuid;

use crate::conditions::{Conditions, Subject};
use crate::expressions::{Expressions, Hit};
use crate::index::{Entry, Found, Index, Place};
use crate::lookup::{Lookup, Match};
use crate::order;
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
/// It has two layers: a base that changes share, and few routes that came or changed since.
#[derive(Debug, Default)]
pub struct Router {
    flavor: Flavor,
    base: Arc<Layer>,
    recent: Layer,
    /// Routes of the base that are not there any more, or stand among the recent ones.
    stale: HashSet<u32>,
}

#[derive(Debug, Default)]
struct Layer {
    requests: Index,
    streams: Index,
    expressions: Option<Box<ByExpression>>,
    /// The position of the first route.
    first: u32,
    rewrites: Vec<RouteRewrite>,
}

/// Routes with an expression, which only the flavour `expressions` has.
#[derive(Debug)]
struct ByExpression {
    requests: Expressions,
    streams: Expressions,
}

/// What a route does to paths.
#[derive(Debug, Clone, Copy)]
struct RouteRewrite {
    strip: bool,
    verbatim: bool,
}

impl Router {
    /// Builds the router. Matches speak of routes by their position in `routes`.
    ///
    /// # Errors
    /// Everything that is wrong with any of the routes.
    pub fn build(flavor: Flavor, routes: &[RouteInput<'_>]) -> Result<Router, BuildErrors> {
        let (router, errors) = Router::build_without_wrong(flavor, routes);
        if errors.is_empty() { Ok(router) } else { Err(BuildErrors(errors)) }
    }

    /// Builds the router of the routes that nothing is wrong with; the others never match.
    pub fn build_without_wrong(
        flavor: Flavor,
        routes: &[RouteInput<'_>],
    ) -> (Router, Vec<BuildError>) {
        let (base, errors) = Layer::build(flavor, 0, routes);
        (Router { flavor, base: Arc::new(base), ..Router::default() }, errors)
    }

    /// This router's base with other recent routes. Matches speak of them by their position in
    /// `recent`, counted on from the last of the base. It costs no more than they do.
    ///
    /// None where routes have expressions: their order is that of all of them together.
    pub fn with_recent(
        &self,
        recent: &[RouteInput<'_>],
        stale: HashSet<u32>,
    ) -> Option<(Router, Vec<BuildError>)> {
        if self.flavor == Flavor::Expressions {
            return None;
        }
        let first = u32::try_from(self.base.rewrites.len()).ok()?;
        let (recent, errors) = Layer::build(self.flavor, first, recent);
        Some((Router { flavor: self.flavor, base: Arc::clone(&self.base), recent, stale }, errors))
    }
}

impl Layer {
    fn build(flavor: Flavor, first: u32, routes: &[RouteInput<'_>]) -> (Layer, Vec<BuildError>) {
        let mut requests = Builder::default();
        let mut streams = Builder::default();
        let mut expressions = (Expressions::new(false), Expressions::new(true));
        let mut errors = Vec::new();
        let mut rewrites = Vec::with_capacity(routes.len());
        for (position, input) in (first..).zip(routes) {
            let route = input.route;
            let verbatim =
                flavor == Flavor::Traditional && route.path_handling.as_deref() == Some("v1");
            rewrites.push(RouteRewrite { strip: route.strip_path, verbatim });
            if input.service.is_some_and(|service| !service.enabled) {
                continue;
            }
            let stream = route.protocols.first().is_some_and(|protocol| protocol.is_stream());
            let builder = if stream { &mut streams } else { &mut requests };
            let before = builder.drafts.len();
            let mut problems = Vec::new();
            if let (Flavor::Expressions, Some(expression)) = (flavor, &route.expression) {
                let own = if stream { &mut expressions.1 } else { &mut expressions.0 };
                problems.extend(own.add(position, route, expression).err());
            } else if stream {
                builder.add_stream(position, route, flavor, &mut problems);
            } else {
                builder.add_request(position, route, flavor, &mut problems);
            }
            if !problems.is_empty() {
                // Half a route would let through what the other half is for.
                builder.drafts.truncate(before);
            }
            let name = route.name.clone().unwrap_or_else(|| route.id.to_string());
            let name = |problem| BuildError { position, route: name.clone(), problem };
            errors.extend(problems.into_iter().map(name));
        }
        let expressions = (flavor == Flavor::Expressions).then(|| {
            let (requests, streams) = expressions;
            Box::new(ByExpression { requests: requests.finish(), streams: streams.finish() })
        });
        let (requests, streams) = (requests.build(), streams.build());
        (Layer { requests, streams, expressions, first, rewrites }, errors)
    }

    fn index(&self, stream: bool) -> &Index {
        if stream { &self.streams } else { &self.requests }
    }
}

impl Router {
    /// The route for a request or a connection.
    pub fn find<'a>(&self, lookup: &Lookup<'a>) -> Option<Match<'a>> {
        let stream = lookup.scheme.is_stream();
        if let Some(both) = &self.base.expressions {
            let expressions = if stream { &both.streams } else { &both.requests };
            if let Some(hit) = expressions.find(lookup) {
                return self.found(hit);
            }
        }
        let subject = Subject::new(lookup, self.flavor);
        let mut found = self.base.index(stream).find(&subject, &self.stale);
        if !self.recent.rewrites.is_empty() {
            let recent = self.recent.index(stream).find(&subject, &HashSet::new());
            let place = |found: &Found<'_>| found.entry.place;
            if recent.as_ref().map(place) > found.as_ref().map(place) {
                found = recent;
            }
        }
        let found = found?;
        let route = found.entry.route;
        let rewrite = self.rewrite(route)?;
        let pattern = &found.entry.path;
        let Span { start, end } = found.span;
        let matched = lookup.path.get(start..end).unwrap_or_default();
        let shown = rewrite.strip && !matched.is_empty() && matched != "/";
        // The slash that every path starts with counts as matched where no path is demanded.
        let cut = if matches!(pattern, PathPattern::Any) { 1 } else { matched.len() };
        Some(Match {
            route,
            prefix: shown.then_some(matched.into()),
            captures: pattern.captures(lookup.path),
            rewrite: Rewrite { strip: rewrite.strip, cut, verbatim: rewrite.verbatim },
        })
    }
}

impl Router {
    fn rewrite(&self, route: u32) -> Option<&RouteRewrite> {
        match route.checked_sub(self.recent.first) {
            Some(at) if !self.recent.rewrites.is_empty() => self.recent.rewrites.get(at as usize),
            _ => self.base.rewrites.get(route as usize),
        }
    }

    /// The match of a route with an expression. As many characters are cut off as the condition on
    /// the path matched, and always from the front.
    fn found<'a>(&self, hit: Hit<'a>) -> Option<Match<'a>> {
        let rewrite = self.rewrite(hit.route)?;
        let cut = hit.path.as_ref().map_or(1, |matched| matched.len());
        let shown = |matched: &Cow<'_, str>| rewrite.strip && !matched.is_empty() && matched != "/";
        Some(Match {
            route: hit.route,
            prefix: hit.path.filter(shown),
            captures: hit.captures,
            rewrite: Rewrite { strip: rewrite.strip, cut, verbatim: rewrite.verbatim },
        })
    }
}

/// Gathers routes, to sort them.
#[derive(Default)]
struct Builder {
    conditions: Vec<Conditions>,
    drafts: Vec<Entry>,
}

impl Builder {
    fn add_request(
        &mut self,
        position: u32,
        route: &Route,
        flavor: Flavor,
        problems: &mut Vec<Problem>,
    ) {
        let Some(conditions) = self.add_conditions(route, flavor, problems) else { return };
        let groups = path_groups(&route.paths);
        let split = groups.iter().any(|group| *group != 1);
        let paths = route.paths.iter().map(|path| Some(path.as_str()));
        let none = route.paths.is_empty().then_some(None);
        let groups = groups.iter().copied().chain(std::iter::once(1));
        for (path, group) in paths.chain(none).zip(groups) {
            let (rank, id) = match flavor {
                Flavor::Traditional => (order::traditional(route, path), Uuid::nil()),
                Flavor::TraditionalCompatible | Flavor::Expressions => {
                    let id = if split { split_id(route.id, group) } else { route.id };
                    (order::compatible(route, path), id)
                }
            };
            match PathPattern::compile(path, flavor) {
                Ok(path) => {
                    let place = Place { rank, id };
                    self.drafts.push(Entry { route: position, conditions, path, place });
                }
                Err(problem) => problems.push(problem),
            }
        }
    }

    fn add_stream(
        &mut self,
        position: u32,
        route: &Route,
        flavor: Flavor,
        problems: &mut Vec<Problem>,
    ) {
        let Some(conditions) = self.add_conditions(route, flavor, problems) else { return };
        let (rank, id) = match flavor {
            Flavor::Traditional => (order::traditional(route, None), Uuid::nil()),
            Flavor::TraditionalCompatible | Flavor::Expressions => {
                (order::compatible_stream(route), route.id)
            }
        };
        let (path, place) = (PathPattern::Any, Place { rank, id });
        self.drafts.push(Entry { route: position, conditions, path, place });
    }

    /// Adds a route's conditions, for its entries to point to.
    fn add_conditions(
        &mut self,
        route: &Route,
        flavor: Flavor,
        problems: &mut Vec<Problem>,
    ) -> Option<u32> {
        if order::count_conditions(route) == 0 {
            problems.push(Problem::NoCondition);
        }
        let position = u32::try_from(self.conditions.len()).ok()?;
        self.conditions.push(Conditions::compile(route, flavor, problems));
        Some(position)
    }

    fn build(mut self) -> Index {
        // Stable: what is left equal keeps the order of paths and routes.
        self.drafts.sort_by_key(|entry| Reverse(entry.place));
        Index::new(self.drafts, self.conditions)
    }
}

/// Numbers the groups of paths that Kong splits a route into, from 1, in the order of their
/// first paths: the regexes are one, prefixes of the same length are one
/// (kong/router/transform.lua, `group_by_regex_or_length`).
fn path_groups(paths: &[String]) -> Vec<usize> {
    let key = |path: &String| if order::is_regex(path) { 0 } else { path.len() };
    let mut keys: Vec<usize> = Vec::new();
    let number = |path| {
        let key = key(path);
        let at = keys.iter().position(|known| *known == key);
        at.unwrap_or_else(|| {
            keys.push(key);
            keys.len() - 1
        }) + 1
    };
    paths.iter().map(number).collect()
}

/// The id by which a group of a route's paths takes part in ties (kong/router/transform.lua,
/// `split_routes_and_services_by_path`).
fn split_id(route: Uuid, group: usize) -> Uuid {
    const NAMESPACE: Uuid = Uuid::from_u128(0x7f145bf9_0dce_4f91_98eb_debbce4b9f6b);
    Uuid::new_v5(&NAMESPACE, format!("{route}#{group}").as_bytes())
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
