//! The list itself, in the order of the reference.

use std::sync::OnceLock;

use super::{
    Function, client, client_tls, cluster, ctx, ip, log, nginx, node, plugin, request, response,
    router, service, service_request, service_response, telemetry, vault,
};

/// The groups of functions, in the order of the reference.
static GROUPS: [&[Function]; 17] = [
    client::FUNCTIONS,
    client_tls::FUNCTIONS,
    cluster::FUNCTIONS,
    ctx::FUNCTIONS,
    ip::FUNCTIONS,
    log::FUNCTIONS,
    nginx::FUNCTIONS,
    node::FUNCTIONS,
    plugin::FUNCTIONS,
    request::FUNCTIONS,
    response::FUNCTIONS,
    router::FUNCTIONS,
    service::FUNCTIONS,
    service_request::FUNCTIONS,
    service_response::FUNCTIONS,
    telemetry::FUNCTIONS,
    vault::FUNCTIONS,
];

/// Every function, in the order of the reference.
pub fn all() -> impl Iterator<Item = &'static Function> {
    GROUPS.into_iter().flatten()
}

/// The function of that dotted name.
#[inline]
pub fn find(name: impl AsRef<[u8]>) -> Option<&'static Function> {
    static BY_NAME: OnceLock<ByName> = OnceLock::new();
    BY_NAME.get_or_init(ByName::new).find(name.as_ref())
}

/// The functions by their names, of which every call of a plugin looks one up: each stands at the
/// place that its name leads to, or at the next one that was free.
struct ByName([Option<&'static Function>; ByName::PLACES]);

impl ByName {
    /// A power of two, several times as many as there are functions.
    const PLACES: usize = 1024;

    fn new() -> ByName {
        let mut places = [None; ByName::PLACES];
        for function in all() {
            let free = ByName::places(function.name.as_bytes()).find(|at| places[*at].is_none());
            if let Some(free) = free {
                places[free] = Some(function);
            }
        }
        ByName(places)
    }

    fn find(&self, name: &[u8]) -> Option<&'static Function> {
        ByName::places(name)
            .map_while(|at| *self.0.get(at)?)
            .find(|function| function.name.as_bytes() == name)
    }

    /// Where to look for a name. All begin alike, and differ by their length and their last bytes.
    fn places(name: &[u8]) -> impl Iterator<Item = usize> {
        let last = name.last_chunk().map_or(0, |last| u64::from_le_bytes(*last));
        let mixed = (last ^ name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let first = (mixed >> 32) as usize;
        (first..first + ByName::PLACES).map(|at| at % ByName::PLACES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_its_name_alone() {
        for function in all() {
            let found = find(function.name).expect(function.name);
            assert!(std::ptr::eq(found, function), "{}", function.name);
            assert!(find(format!("{}x", function.name)).is_none());
            assert!(find(function.name.replacen('k', "K", 1)).is_none());
        }
        assert!(find("").is_none() && find("kong").is_none() && find([0xff; 30]).is_none());
        assert!(all().count() * 4 < ByName::PLACES);
    }

    #[test]
    fn few_names_share_a_place() {
        let mut taken = [0; ByName::PLACES];
        all()
            .filter_map(|f| ByName::places(f.name.as_bytes()).next())
            .for_each(|at| taken[at] += 1);
        assert!(taken.iter().all(|names| *names <= 3), "{taken:?}");
    }
}
