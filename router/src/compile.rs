//! Routes, compiled: what the layers of a router are made of.

use silverback_model::entities::Route;
use uuid::Uuid;

use crate::conditions::Conditions;
use crate::expressions::Rule;
use crate::index::{Entry, Handling, Place};
use crate::order;
use crate::pattern::PathPattern;
use crate::router::{BuildError, Flavor, Problem, RouteInput};

/// What some routes have become: of each, an entry for each of its paths, or a rule.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    pub(crate) requests: Vec<Entry>,
    pub(crate) streams: Vec<Entry>,
    pub(crate) request_rules: Vec<Rule>,
    pub(crate) stream_rules: Vec<Rule>,
}

impl Compiled {
    /// Adds a route that is to stand in this position, if nothing is wrong with it.
    pub(crate) fn add(
        &mut self,
        flavor: Flavor,
        position: u32,
        input: &RouteInput<'_>,
        errors: &mut Vec<BuildError>,
    ) {
        let route = input.route;
        if input.service.is_some_and(|service| !service.enabled) {
            return;
        }
        let stream = route.protocols.first().is_some_and(|protocol| protocol.is_stream());
        let mut problems = Vec::new();
        if let (Flavor::Expressions, Some(expression)) = (flavor, &route.expression) {
            let rules = if stream { &mut self.stream_rules } else { &mut self.request_rules };
            match Rule::compile(position, route, stream, expression) {
                Ok(rule) => rules.push(rule),
                Err(problem) => problems.push(problem),
            }
        } else {
            let entries = if stream { &mut self.streams } else { &mut self.requests };
            let before = entries.len();
            add_entries(entries, position, route, stream, flavor, &mut problems);
            if !problems.is_empty() {
                // Half a route would let through what the other half is for.
                entries.truncate(before);
            }
        }
        if problems.is_empty() {
            return;
        }
        let name = route.name.clone().unwrap_or_else(|| route.id.to_string());
        let error = |problem| BuildError { position, route: name.clone(), problem };
        errors.extend(problems.into_iter().map(error));
    }

    /// Adds what others have.
    pub(crate) fn extend(&mut self, other: &Compiled) {
        self.requests.extend_from_slice(&other.requests);
        self.streams.extend_from_slice(&other.streams);
        self.request_rules.extend_from_slice(&other.request_rules);
        self.stream_rules.extend_from_slice(&other.stream_rules);
    }
}

fn add_entries(
    entries: &mut Vec<Entry>,
    position: u32,
    route: &Route,
    stream: bool,
    flavor: Flavor,
    problems: &mut Vec<Problem>,
) {
    if order::count_conditions(route) == 0 {
        problems.push(Problem::NoCondition);
    }
    let conditions = Conditions::compile(route, flavor, problems);
    let handling = Handling {
        strip: route.strip_path,
        verbatim: flavor == Flavor::Traditional && route.path_handling.as_deref() == Some("v1"),
    };
    let paths: &[String] = if stream { &[] } else { &route.paths };
    let groups = path_groups(paths);
    let split = groups.iter().any(|group| *group != 1);
    let none = paths.is_empty().then_some((None, 1));
    let some = paths.iter().map(|path| Some(path.as_str())).zip(groups);
    for (path, group) in some.chain(none) {
        let place = match flavor {
            // What is left equal is put in an order that does not depend on what came first.
            Flavor::Traditional => Place {
                rank: order::traditional(route, path),
                id: Uuid::from_u128(!route.id.as_u128()),
            },
            _ if stream => Place { rank: order::compatible_stream(route), id: route.id },
            Flavor::TraditionalCompatible | Flavor::Expressions => Place {
                rank: order::compatible(route, path),
                id: if split { split_id(route.id, group) } else { route.id },
            },
        };
        match PathPattern::compile(path, flavor) {
            Ok(path) => {
                let conditions = conditions.clone();
                entries.push(Entry { route: position, handling, path, conditions, place });
            }
            Err(problem) => problems.push(problem),
        }
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
