//! The list itself, in the order of the reference.

use super::Function;

/// Every function, in the order of the reference.
pub fn all() -> impl Iterator<Item = &'static Function> {
    [].into_iter()
}

/// The function of that dotted name.
pub fn find(name: &str) -> Option<&'static Function> {
    all().find(|f| f.name == name)
}
