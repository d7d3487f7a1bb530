//! What is counted: each worker counts for itself, whoever asks adds up.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use silverback_pdk::Statistics;

/// Counts of all workers.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    workers: Vec<Arc<Counters>>,
}

impl Stats {
    pub(crate) fn of(workers: usize) -> Stats {
        Stats { workers: (0..workers).map(|_| Arc::default()).collect() }
    }

    pub(crate) fn worker(&self, number: usize) -> Arc<Counters> {
        self.workers.get(number).cloned().unwrap_or_default()
    }

    /// Connections and requests since the start, as nginx counts them.
    pub fn totals(&self) -> Statistics {
        let sum =
            |count: fn(&Counters) -> &Count| self.workers.iter().map(|w| count(w).get()).sum();
        let accepted: u64 = sum(|w| &w.accepted);
        let closed: u64 = sum(|w| &w.closed);
        let writing: u64 = sum(|w| &w.writing);
        let active = accepted.saturating_sub(closed);
        Statistics {
            active,
            reading: 0,
            writing,
            waiting: active.saturating_sub(writing),
            accepted,
            handled: accepted.saturating_sub(sum(|w| &w.refused)),
            requests: sum(|w| &w.requests),
        }
    }

    /// Panics that were caught while requests were served.
    pub fn panics(&self) -> u64 {
        self.workers.iter().map(|w| w.panics.get()).sum()
    }

    /// Lines of the access log that were dropped because the disk could not keep up.
    pub fn log_lines_dropped(&self) -> u64 {
        self.workers.iter().map(|w| w.log_lines_dropped.get()).sum()
    }
}

/// Counts of one worker. Only that worker writes them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) accepted: Count,
    pub(crate) refused: Count,
    pub(crate) closed: Count,
    pub(crate) writing: Count,
    pub(crate) requests: Count,
    pub(crate) panics: Count,
    pub(crate) log_lines_dropped: Count,
}

/// A number that one thread writes and any may read: a plain load and store, no lock prefix.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn up(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub(crate) fn down(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_workers() {
        let stats = Stats::of(2);
        for number in [0, 0, 1] {
            let worker = stats.worker(number);
            worker.accepted.up();
            worker.requests.up();
        }
        stats.worker(1).closed.up();
        stats.worker(0).writing.up();
        let totals = stats.totals();
        assert_eq!((totals.accepted, totals.requests), (3, 3));
        assert_eq!((totals.active, totals.writing, totals.waiting), (2, 1, 1));
    }
}
