//! The library of Lua modules that plugins require: part of the binary.

/// The modules by name, sorted.
static MODULES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/library.rs"));

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
