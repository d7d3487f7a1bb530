//! Which route goes first: the priority rules of the flavours, as data to sort by.

use silverback_model::entities::{Endpoint, Route};

use crate::hosts;

/// A place in the order of routes. Compared field by field; the greater goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank([i64; 8]);

/// Kong counts conditions in three bits shifted as a signed 32-bit number, so that from here on
/// the sign bit is set and outranks everything.
const MANY_CONDITIONS: i64 = 4;

/// `traditional_compatible`, for requests (kong/router/transform.lua, `get_priority`).
///
/// Kong packs the fields into one integer with shifts that wrap at 32 bits, so what counts, in
/// this order, is: four or more kinds of conditions, plain hosts only, a regex path, the number
/// of kinds of conditions, header count and `regex_priority`, the length of a prefix. Header
/// count and `regex_priority` share bits, one shifted by 20 and the other by 19. A
/// `regex_priority` that is negative or above 1023 spills into other fields in Kong; here it
/// only orders regexes.
pub(crate) fn compatible(route: &Route, path: Option<&str>) -> Rank {
    let conditions = count_conditions(route);
    let many = conditions >= MANY_CONDITIONS;
    let regex = path.is_some_and(is_regex);
    let plain_hosts = !route.hosts.is_empty() && !route.hosts.iter().any(|h| h.contains('*'));
    let regex_priority = if regex { route.regex_priority.unwrap_or(0) } else { 0 };
    let headers = i64::try_from(route.headers.len().min(255)).unwrap_or(255);
    Rank([
        many.into(),
        (plain_hosts && !many).into(),
        (regex && !many).into(),
        conditions,
        headers << 1 | regex_priority,
        prefix_length(path),
        0,
        0,
    ])
}

/// `traditional_compatible`, for streams (kong/router/transform.lua, `stream_get_priority`):
/// either a server name or both ends come first, then what is said of the source, then of the
/// destination; an address counts more than a port, a port more than a range.
pub(crate) fn compatible_stream(route: &Route) -> Rank {
    let both_ends = !route.sources.is_empty() && !route.destinations.is_empty();
    let first = both_ends || !route.snis.is_empty();
    let ends = [endpoint_weight(&route.sources), endpoint_weight(&route.destinations)];
    Rank([first.into(), ends[0], ends[1], 0, 0, 0, 0, 0])
}

/// `traditional` (kong/router/traditional.lua: `sort_categories`, `sort_routes`,
/// `sort_sources`): the number of kinds of conditions, which kinds, wildcard hosts with a port,
/// plain hosts, regexes, header count, `regex_priority`, length of the prefix, age.
pub(crate) fn traditional(route: &Route, path: Option<&str>) -> Rank {
    let kinds = [
        route.hosts.is_empty(),
        route.headers.is_empty(),
        path.is_none(),
        route.methods.is_empty(),
        route.snis.is_empty(),
        route.sources.is_empty(),
        route.destinations.is_empty(),
    ];
    let count = kinds.iter().filter(|absent| !**absent).count();
    let bits = kinds.iter().fold(0, |bits, absent| bits << 1 | i64::from(!absent));
    let regex = path.is_some_and(is_regex);
    let wildcard = |host: &&String| host.contains('*');
    let ported_wildcard = route.hosts.iter().filter(wildcard).any(|host| hosts::has_port(host));
    let plain = !route.hosts.is_empty() && !route.hosts.iter().any(|host| host.contains('*'));
    // Of routes for the same plain host, Kong tries those for the request's port first.
    let ported = plain && route.hosts.iter().any(|host| hosts::has_port(host));
    let exact = |ends: &[Endpoint]| ends.iter().any(|end| end.ip.is_some() && end.port.is_some());
    let exact_ends = i64::from(exact(&route.sources)) << 1 | i64::from(exact(&route.destinations));
    Rank([
        i64::try_from(count).unwrap_or(0),
        bits,
        i64::from(ported_wildcard) << 2 | i64::from(plain) << 1 | i64::from(regex),
        i64::from(ported) << 2 | exact_ends,
        i64::try_from(route.headers.len()).unwrap_or(i64::MAX),
        if regex { route.regex_priority.unwrap_or(0) } else { 0 },
        prefix_length(path),
        route.created_at.saturating_neg(),
    ])
}

/// Whether a route's path is a regular expression (kong/router/utils.lua, `is_regex_magic`).
pub(crate) fn is_regex(path: &str) -> bool {
    path.starts_with('~')
}

/// How many kinds of conditions a route has.
pub(crate) fn count_conditions(route: &Route) -> i64 {
    let kinds = [
        route.sources.is_empty(),
        route.destinations.is_empty(),
        route.methods.is_empty(),
        route.hosts.is_empty(),
        route.headers.is_empty(),
        route.snis.is_empty(),
        route.paths.is_empty(),
    ];
    kinds.iter().map(|absent| i64::from(!absent)).sum()
}

/// The length of a prefix path; 0 for a regex and for no path.
fn prefix_length(path: Option<&str>) -> i64 {
    let length = path.filter(|path| !is_regex(path)).map_or(0, str::len);
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn endpoint_weight(endpoints: &[Endpoint]) -> i64 {
    const ADDRESS: i64 = 8;
    const PORT: i64 = 4;
    const RANGE: i64 = 1;
    endpoints.iter().fold(0, |weight, endpoint| {
        let ip = endpoint.ip.as_deref();
        let ip = ip.map_or(0, |ip| if ip.contains('/') { RANGE } else { ADDRESS });
        weight | ip | if endpoint.port.is_some() { PORT } else { 0 }
    })
}
