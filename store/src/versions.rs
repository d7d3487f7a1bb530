//! How often the entities of each kind may have changed: for those who keep what they have made of
//! them.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many counters there are. Kinds that share one are taken for changed too often, never too
/// seldom.
const COUNTERS: usize = 256;

/// A counter for each kind. It never goes back, and reading it takes no lock.
#[derive(Debug)]
pub(crate) struct Versions {
    /// How often any entity may have changed.
    all: AtomicU64,
    kinds: Box<[AtomicU64]>,
}

impl Default for Versions {
    fn default() -> Versions {
        let kinds = (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
        Versions { all: AtomicU64::new(0), kinds }
    }
}

impl Versions {
    /// Notes that entities of a kind may have changed; whoever reads them from now on must get
    /// what they are.
    pub(crate) fn changed(&self, kind: &str) {
        self.counter(kind).fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that any entity may have changed.
    pub(crate) fn all_changed(&self) {
        self.all.fetch_add(1, Ordering::AcqRel);
    }

    /// A number that is another when entities of the kind may have changed.
    pub(crate) fn of(&self, kind: &str) -> u64 {
        self.all.load(Ordering::Acquire) + self.counter(kind).load(Ordering::Acquire)
    }

    fn counter(&self, kind: &str) -> &AtomicU64 {
        // FNV-1a: names are short.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = kind.bytes().fold(0xcbf2_9ce4_8422_2325, step);
        let at = (hash % COUNTERS as u64) as usize;
        self.kinds.get(at).unwrap_or(&self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_its_kind() {
        let versions = Versions::default();
        let (acls, routes) = (versions.of("acls"), versions.of("routes"));
        versions.changed("acls");
        assert_ne!(versions.of("acls"), acls);
        assert_eq!(versions.of("routes"), routes);
        versions.all_changed();
        assert_ne!(versions.of("routes"), routes);
    }
}
