//! The library of Lua modules that plugins require: part of the binary.

/// The modules by name, sorted.
static MODULES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/library.rs"));

/// Modules that users may have in a version of their own, which is theirs to choose then. All
/// others are part of the gateway's interface.
const THEIRS: [&str; 19] = [
    "date",
    "inspect",
    "ltn12",
    "lyaml",
    "mime",
    "pl",
    "resty.cookie",
    "resty.counter",
    "resty.http",
    "resty.ipmatcher",
    "resty.jit-uuid",
    "resty.lock",
    "resty.lrucache",
    "resty.openssl",
    "resty.redis",
    "resty.upload",
    "resty.url",
    "resty.websocket",
    "version",
];

/// Whether a module gives way to one of that name in `lua_package_path`.
pub(crate) fn gives_way(name: &str) -> bool {
    let below = |family: &str| {
        name.strip_prefix(family)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('_'))
    };
    THEIRS.iter().any(|family| below(family))
}

/// The source of a module.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    let place = MODULES.binary_search_by(|(known, _)| known.cmp(&name)).ok()?;
    MODULES.get(place).map(|(_, source)| *source)
}

/// The names of all modules.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    MODULES.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_sorted() {
        assert!(MODULES.is_sorted_by(|a, b| a.0 < b.0));
    }
}
