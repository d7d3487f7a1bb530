//! The index of routes by their hosts, paths and so on, best first.

use std::cmp::Reverse;
use std::sync::Arc;

use uuid::Uuid;

use crate::buckets::{Buckets, Key};
use crate::conditions::{Conditions, Subject};
use crate::order::Rank;
use crate::pattern::{PathPattern, Span};

/// Everything that can match, best first: a route once for each of its paths.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    buckets: Buckets,
}

/// A route with one of its paths. Copies share what is large.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The position of the route.
    pub(crate) route: u32,
    /// What the route does to paths.
    pub(crate) handling: Handling,
    pub(crate) path: PathPattern,
    pub(crate) conditions: Arc<Conditions>,
    pub(crate) place: Place,
}

/// What a route does to paths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handling {
    /// Whether what matched is cut off.
    pub(crate) strip: bool,
    /// Whether paths are joined as they are (`path_handling` v1).
    pub(crate) verbatim: bool,
}

/// A place in the order of entries; the greater goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) rank: Rank,
    /// Of equals, the greater goes first.
    pub(crate) id: Uuid,
}

/// What the index found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'i> {
    pub(crate) entry: &'i Entry,
    pub(crate) span: Span,
}

impl Index {
    /// Makes the index.
    pub(crate) fn new(mut entries: Vec<Entry>) -> Index {
        // Stable: what is left equal keeps the order of a route's paths.
        entries.sort_by_key(|entry| Reverse(entry.place));
        entries.shrink_to_fit();
        let keys = (0..).zip(&entries).flat_map(|(rank, entry)| {
            let path = entry.path.literal();
            entry.conditions.buckets().map(move |host| (Key { host, path }, rank))
        });
        let buckets = Buckets::new(keys);
        Index { entries, buckets }
    }

    /// The best entry that matches, of those that are `wanted`.
    pub(crate) fn find(
        &self,
        subject: &Subject<'_>,
        wanted: impl Fn(u32) -> bool,
    ) -> Option<Found<'_>> {
        let path = subject.lookup.path;
        let (_, found) = self.buckets.find(subject.host.name, path, |rank| {
            let entry = self.entries.get(rank as usize)?;
            let holds = wanted(entry.route) && entry.conditions.hold(subject);
            let span = if holds { entry.path.find(path) } else { None };
            span.map(|span| Found { entry, span })
        })?;
        Some(found)
    }

    /// All entries, best first.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}
