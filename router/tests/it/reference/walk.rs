//! What a router finds, by a plain walk over all routes: Kong's rules, each written out. Only what
//! the routes of `random.rs` may hold is known here.

use std::{cell::RefCell, collections::HashMap, net::SocketAddr};

use regex::Regex;
use silverback_model::entities::{Endpoint, Protocol, Route};
use silverback_router::{Flavor, Lookup};
use uuid::Uuid;

/// The best of all routes that match, one after the other.
pub(crate) fn walk(flavor: Flavor, routes: &[Route], lookup: &Lookup<'_>) -> Option<u32> {
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
    let (name, port) = split(lookup.host);
    let host = |pattern: &String| {
        let (own, own_port) = split(pattern);
        let implied = match flavor {
            Flavor::TraditionalCompatible | Flavor::Expressions => {
                Some(lookup.destination.unwrap().port().into())
            }
            Flavor::Traditional if !own.contains('*') => None,
            Flavor::Traditional => Some(if tls { 443 } else { 80 }),
        };
        glob(own, name) && (own_port.is_none() || own_port == port.or(implied))
    };
    let path = |pattern: &String| match pattern.strip_prefix('~') {
        None => lookup.path.starts_with(&**pattern),
        Some(regex) if flavor == Flavor::Traditional => fits(&format!("^(?:{regex})"), lookup.path),
        Some(regex) => fits(&format!("^{regex}"), lookup.path),
    };
    let header = |(name, values): (&String, &Vec<String>)| {
        lookup.headers.get_all(name).iter().any(|value| {
            let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            values.iter().any(|own| match own.strip_prefix("~*") {
                Some(regex) if values.len() == 1 || flavor != Flavor::Traditional => {
                    fits(&regex.to_lowercase(), &value)
                }
                _ => own.to_lowercase() == value,
            })
        })
    };
    let sni = |own: &String| {
        let wild = flavor != Flavor::Traditional;
        lookup.sni.is_some_and(|sni| if wild { glob(own, sni) } else { own == sni })
    };
    let (source, destination) = (lookup.source.unwrap(), lookup.destination.unwrap());
    // A number that is no port's is one for expressions only.
    let named = port.filter(|port| *port <= 65535 || route.expression.is_some());
    let end = |end: &Endpoint, address: SocketAddr, port: u64| {
        end.ip.as_deref().is_none_or(|ip| match ip {
            "10.0.0.0/8" => address.ip().to_string().starts_with("10."),
            ip => address.ip().to_string() == ip,
        }) && end.port.is_none_or(|own| u64::from(own) == port)
    };
    let from = |own| end(own, source, source.port().into());
    let to = |own| end(own, destination, named.unwrap_or(destination.port().into()));
    let scheme = flavor != Flavor::Expressions
        || *route.protocols == [Protocol::Https]
        || route.protocols.contains(&lookup.scheme);
    scheme
        && (route.methods.is_empty() || route.methods.iter().any(|own| own == lookup.method))
        && (route.hosts.is_empty() || route.hosts.iter().any(host))
        && (paths.is_empty() || paths.iter().any(path))
        && route.headers.iter().all(header)
        && (route.snis.is_empty() || !tls || route.snis.iter().any(sni))
        && (route.sources.is_empty() || route.sources.iter().any(from))
        && (route.destinations.is_empty() || route.destinations.iter().any(to))
}

/// A host and its port. What follows the first colon is one if it is a number.
fn split(host: &str) -> (&str, Option<u64>) {
    let port = |digits: &str| {
        let fine = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| fine)
    };
    match host.split_once(':') {
        Some((name, digits)) if port(digits).is_some() => (name, port(digits)),
        _ => (host, None),
    }
}

/// Whether a text matches; what has been compiled once is kept.
fn fits(pattern: &str, text: &str) -> bool {
    thread_local! {
        static KNOWN: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        let new = || Regex::new(pattern).unwrap();
        known.entry(pattern.to_owned()).or_insert_with(new).is_match(text)
    })
}

/// Whether a name fits a pattern with at most one `*`, at an end.
fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
        None => pattern == name,
    }
}
