//! A replica that look-ups for traffic are sent to, where it may be asked: it lags behind the
//! server that is written to, and it may be gone while that is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::hint::{Hint, Lookup};
use super::pool::Pool;

/// How long a replica may lag behind at the least, whatever `db_update_propagation` says: what has
/// changed is asked of the primary for that long.
const LAG_MIN: Duration = Duration::from_secs(10);
/// How long a replica that failed is left alone.
const REST: Duration = Duration::from_secs(5);
/// How many changes are remembered, before what has passed is forgotten.
const CHANGES: usize = 10_000;

/// A replica, and what it may not have heard of yet.
#[derive(Debug)]
pub(crate) struct Replica {
    pool: Arc<Pool>,
    lag: Duration,
    /// Held only to look or to put; asked only for what is not kept.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lookups: HashMap<Lookup, Instant>,
    kinds: HashMap<String, Instant>,
    all: Option<Instant>,
    /// When it failed last.
    failed: Option<Instant>,
}

impl Replica {
    pub(crate) fn new(pool: Arc<Pool>, propagation: Duration) -> Replica {
        Replica { pool, lag: propagation.max(LAG_MIN), state: Mutex::default() }
    }

    /// Notes that something may have changed on the primary.
    pub(crate) fn note(&self, hint: &Hint) {
        let now = Instant::now();
        let mut state = self.state();
        match hint {
            Hint::Entity { lookups, .. } => {
                if state.lookups.len() > CHANGES {
                    let lag = self.lag;
                    state.lookups.retain(|_, noted| noted.elapsed() < lag);
                }
                state.lookups.extend(lookups.iter().map(|lookup| (*lookup, now)));
            }
            Hint::Kind(kind) => {
                state.kinds.insert(kind.clone(), now);
            }
            Hint::All => state.all = Some(now),
            Hint::Plugin { .. } => {}
        }
    }

    /// Its connections, if it is there and has heard of all that concerns a look-up.
    pub(crate) fn pool(&self, kind: &str, lookup: Lookup) -> Option<&Arc<Pool>> {
        let state = self.state();
        let lags = |noted: Option<&Instant>| noted.is_some_and(|n| n.elapsed() < self.lag);
        let may_lag = lags(state.all.as_ref())
            || lags(state.kinds.get(kind))
            || lags(state.lookups.get(&lookup));
        let rests = state.failed.is_some_and(|failed| failed.elapsed() < REST);
        (!may_lag && !rests).then_some(&self.pool)
    }

    /// Notes that it can't be asked.
    pub(crate) fn failed(&self) {
        self.state().failed = Some(Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
