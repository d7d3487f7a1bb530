//! The router: compiling routes, and finding the one for a request.

use std::fmt;

use regex::Regex;
use regex_syntax::hir::{Hir, HirKind, Look};
use silverback_model::entities::{Route, Service};
use thiserror::Error;
use uuid::Uuid;

use crate::conditions::{Conditions, Subject};
use crate::index::{Entry, Index, PathPattern, Span};
use crate::lookup::{Captures, Lookup, Match};
use crate::order::{self, Rank};
use crate::path::Rewrite;

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
}

impl Flavor {
    /// The flavour of this name. None if it is unknown or not of this kind.
    pub fn from_name(name: &str) -> Option<Flavor> {
        match name {
            "traditional" => Some(Flavor::Traditional),
            "traditional_compatible" => Some(Flavor::TraditionalCompatible),
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
#[derive(Debug, Default)]
pub struct Router {
    flavor: Flavor,
    requests: Index,
    streams: Index,
    rewrites: Vec<RouteRewrite>,
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
        let mut requests = Builder::default();
        let mut streams = Builder::default();
        let mut errors = Vec::new();
        let mut rewrites = Vec::with_capacity(routes.len());
        for (position, input) in (0..).zip(routes) {
            let route = input.route;
            let verbatim =
                flavor == Flavor::Traditional && route.path_handling.as_deref() == Some("v1");
            rewrites.push(RouteRewrite { strip: route.strip_path, verbatim });
            if input.service.is_some_and(|service| !service.enabled) {
                continue;
            }
            let stream = route.protocols.first().is_some_and(|protocol| protocol.is_stream());
            let builder = if stream { &mut streams } else { &mut requests };
            let mut problems = Vec::new();
            if stream {
                builder.add_stream(position, route, flavor, &mut problems);
            } else {
                builder.add_request(position, route, flavor, &mut problems);
            }
            let name = route.name.clone().unwrap_or_else(|| route.id.to_string());
            let name = |problem| BuildError { position, route: name.clone(), problem };
            errors.extend(problems.into_iter().map(name));
        }
        if !errors.is_empty() {
            return Err(BuildErrors(errors));
        }
        Ok(Router { flavor, requests: requests.build(), streams: streams.build(), rewrites })
    }

    /// The route for a request or a connection.
    pub fn find<'a>(&self, lookup: &Lookup<'a>) -> Option<Match<'a>> {
        let index = if lookup.scheme.is_stream() { &self.streams } else { &self.requests };
        let found = index.find(&Subject::new(lookup, self.flavor))?;
        let route = found.entry.route;
        let rewrite = self.rewrites.get(route as usize)?;
        let Span { start, end } = found.span;
        let matched = lookup.path.get(start..end).unwrap_or_default();
        let shown = rewrite.strip && !matched.is_empty() && matched != "/";
        let (cut, captures) = match &found.entry.path {
            // The slash that every path starts with counts as matched.
            PathPattern::Any => (1, None),
            PathPattern::Prefix(_) => (matched.len(), None),
            PathPattern::Regex { regex, .. } => (matched.len(), captures(regex, lookup.path)),
        };
        Some(Match {
            route,
            prefix: shown.then_some(matched),
            captures,
            rewrite: Rewrite { strip: rewrite.strip, cut, verbatim: rewrite.verbatim },
        })
    }
}

/// The groups of a regex that is known to match. None if it has none, or none took part.
fn captures(regex: &Regex, path: &str) -> Option<Box<Captures>> {
    if regex.captures_len() < 2 {
        return None;
    }
    let found = regex.captures(path)?;
    let text = |group: regex::Match<'_>| group.as_str().to_owned();
    let unnamed: Vec<_> = found.iter().map(|group| group.map(text)).collect();
    unnamed.iter().skip(1).any(Option::is_some).then(|| {
        let names = regex.capture_names().flatten();
        let named = names.filter_map(|name| Some((name.to_owned(), text(found.name(name)?))));
        Box::new(Captures { named: named.collect(), unnamed })
    })
}

/// Gathers routes, to sort them.
#[derive(Default)]
struct Builder {
    conditions: Vec<Conditions>,
    drafts: Vec<Draft>,
}

/// An entry with its place in the order.
struct Draft {
    rank: Rank,
    /// Of equals, the greater goes first.
    id: Uuid,
    entry: Entry,
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
                Flavor::TraditionalCompatible => {
                    let id = if split { split_id(route.id, group) } else { route.id };
                    (order::compatible(route, path), id)
                }
            };
            match compile_path(path, flavor) {
                Ok(path) => {
                    let entry = Entry { route: position, conditions, path };
                    self.drafts.push(Draft { rank, id, entry });
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
            Flavor::TraditionalCompatible => (order::compatible_stream(route), route.id),
        };
        let entry = Entry { route: position, conditions, path: PathPattern::Any };
        self.drafts.push(Draft { rank, id, entry });
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
        self.drafts.sort_by(|a, b| b.rank.cmp(&a.rank).then_with(|| b.id.cmp(&a.id)));
        Index::new(self.drafts.into_iter().map(|draft| draft.entry).collect(), self.conditions)
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

fn compile_path(path: Option<&str>, flavor: Flavor) -> Result<PathPattern, Problem> {
    let Some(path) = path else { return Ok(PathPattern::Any) };
    let Some(pattern) = path.strip_prefix('~') else { return Ok(PathPattern::Prefix(path.into())) };
    // `traditional_compatible` anchors the first branch of an alternation only, as Kong does.
    let anchored = match flavor {
        Flavor::Traditional => format!("^(?:{pattern})"),
        Flavor::TraditionalCompatible => format!("^{pattern}"),
    };
    let problem = |reason: String| Problem::Regex { pattern: path.to_owned(), reason };
    // Parsed as written first, so that the reason shows the pattern as written.
    regex_syntax::parse(pattern).map_err(|error| problem(error.to_string()))?;
    let hir = regex_syntax::parse(&anchored).map_err(|error| problem(error.to_string()))?;
    let regex = Regex::new(&anchored).map_err(|error| problem(error.to_string()))?;
    Ok(PathPattern::Regex { regex, literal: leading_literal(&hir).into() })
}

/// The text that everything that a regex matches starts with, at the start of the path. Empty
/// if there is none.
fn leading_literal(hir: &Hir) -> String {
    let HirKind::Concat(parts) = hir.kind() else { return String::new() };
    let mut parts = parts.iter().map(Hir::kind);
    if !matches!(parts.next(), Some(HirKind::Look(Look::Start))) {
        return String::new();
    }
    let mut literal = String::new();
    for part in parts {
        match part {
            HirKind::Literal(text) => match std::str::from_utf8(&text.0) {
                Ok(text) => literal.push_str(text),
                Err(_) => break,
            },
            _ => break,
        }
    }
    literal
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
