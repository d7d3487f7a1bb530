//! What resolving names has come to: `/status/dns` (kong/dns/stats.lua), and sums for `/status`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde_json::{Map, Value, json};

/// How many names have numbers of their own.
const NAMES_MAX: usize = 10_000;

/// What resolving names has come to, on all workers.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    names: Mutex<BTreeMap<String, Name>>,
    pub(super) queries: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) cached: AtomicU64,
}

#[derive(Debug, Default)]
struct Name {
    counts: BTreeMap<String, u64>,
    workers: Vec<Arc<Hits>>,
}

/// What one worker has found of a name in its own memory. Only that worker writes it.
#[derive(Debug, Default)]
pub(super) struct Hits {
    fresh: AtomicU64,
    stale: AtomicU64,
}

impl Hits {
    pub(super) fn up(&self, fresh: bool) {
        let count = if fresh { &self.fresh } else { &self.stale };
        count.store(count.load(Relaxed) + 1, Relaxed);
    }
}

impl Facts {
    /// Counts something of a name and type: "a.test|A".
    pub(super) fn up(&self, key: &str, what: &str) {
        self.change(key, |name| *name.counts.entry(what.to_owned()).or_default() += 1);
    }

    pub(super) fn set(&self, key: &str, what: &str, number: u64) {
        self.change(key, |name| {
            name.counts.insert(what.to_owned(), number);
        });
    }

    /// Numbers of a worker for a name.
    pub(super) fn hits(&self, key: &str) -> Arc<Hits> {
        let hits = Arc::<Hits>::default();
        self.change(key, |name| {
            // A worker that has forgotten the name begins anew; its numbers count on.
            let (left, kept) = name.workers.drain(..).partition(|own| Arc::strong_count(own) == 1);
            name.workers = kept;
            let left: Vec<Arc<Hits>> = left;
            for (what, of) in HITS {
                let sum: u64 = left.iter().map(|hits| of(hits)).sum();
                if sum > 0 {
                    *name.counts.entry(what.to_owned()).or_default() += sum;
                }
            }
            name.workers.push(hits.clone());
        });
        hits
    }

    fn change(&self, key: &str, change: impl FnOnce(&mut Name)) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = names.get_mut(key) {
            change(name);
        } else if names.len() < NAMES_MAX {
            change(names.entry(key.to_owned()).or_default());
        }
    }

    /// Names and types with what was counted of each.
    pub(crate) fn names(&self) -> Map<String, Value> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let show = |(key, name): (&String, &Name)| {
            let mut counts = name.counts.clone();
            for (what, of) in HITS {
                let sum: u64 = name.workers.iter().map(|hits| of(hits)).sum();
                if sum > 0 {
                    *counts.entry(what.to_owned()).or_default() += sum;
                }
            }
            (key.clone(), json!(counts))
        };
        names.iter().map(show).collect()
    }

    /// Sums over all names.
    pub(crate) fn sums(&self) -> Value {
        json!({
            "cached_names": self.cached.load(Relaxed),
            "queries": self.queries.load(Relaxed),
            "failed_queries": self.failures.load(Relaxed),
            "stale_answers": self.stale.load(Relaxed),
        })
    }
}

/// A number of [`Hits`], by Kong's name for it.
type OfHits = (&'static str, fn(&Hits) -> u64);

/// Every look-up is a run, whatever comes of it.
const HITS: [OfHits; 3] = [
    ("runs", |hits| hits.fresh.load(Relaxed) + hits.stale.load(Relaxed)),
    ("hit_lru", |hits| hits.fresh.load(Relaxed)),
    ("hit_stale", |hits| hits.stale.load(Relaxed)),
];
