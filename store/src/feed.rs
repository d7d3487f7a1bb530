//! The change feed: the newest state, who waits for the next, and which one is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use silverback_model::set::Entities;
use tokio::sync::watch;

use crate::versions::Versions;

/// How long a write waits to be served at the most. Whoever serves has a fault then, and says so.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// What is configured at a moment.
#[derive(Debug, Clone)]
pub struct State {
    /// The entities, as far as they are held in memory ([`Store::holds`](crate::Store::holds)).
    pub entities: Arc<Entities>,
    /// The hash of what they were loaded from.
    pub hash: String,
    /// How many states there were before, from 0.
    pub version: u64,
}

/// Holds the newest state and tells of it. Reading it takes no lock: requests do.
#[derive(Debug)]
pub(crate) struct Feed {
    newest: ArcSwap<State>,
    news: watch::Sender<Arc<State>>,
    /// The version that requests are served by, of which somebody tells.
    served: watch::Sender<u64>,
    /// Whether writes wait until they are served.
    strict: AtomicBool,
    /// How often kinds that are held have changed.
    pub(crate) versions: Versions,
}

impl Feed {
    pub(crate) fn new(entities: Arc<Entities>, hash: String) -> Feed {
        let state = Arc::new(State { entities, hash, version: 0 });
        Feed {
            newest: ArcSwap::new(Arc::clone(&state)),
            news: watch::Sender::new(state),
            served: watch::Sender::new(0),
            strict: AtomicBool::new(false),
            versions: Versions::default(),
        }
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.newest.load_full()
    }

    pub(crate) fn changes(&self) -> Changes {
        Changes(self.news.subscribe())
    }

    /// Makes this the newest state, and says its version.
    pub(crate) fn publish(&self, entities: Arc<Entities>, hash: String) -> u64 {
        let mut version = 0;
        self.news.send_modify(|state| {
            version = state.version + 1;
            let before = Arc::clone(&state.entities);
            *state = Arc::new(State { entities, hash, version });
            self.newest.store(Arc::clone(state));
            self.note_changes(&before, &state.entities);
        });
        version
    }

    /// Notes which kinds are not as before, now that readers get what they are.
    fn note_changes(&self, before: &Entities, now: &Entities) {
        if !Arc::ptr_eq(before.kinds(), now.kinds()) {
            return self.versions.all_changed();
        }
        let names = now.kinds().iter().map(|kind| kind.schema.name.as_str());
        names.filter(|name| !before.shares(now, name)).for_each(|name| self.versions.changed(name));
    }

    pub(crate) fn set_strict(&self, strict: bool) {
        self.strict.store(strict, Ordering::Relaxed);
    }

    pub(crate) fn set_served(&self, version: u64) {
        self.served.send_if_modified(|served| {
            let newer = *served < version;
            *served = (*served).max(version);
            newer
        });
    }

    /// Waits until a version is served, if writes are to wait for that.
    pub(crate) async fn until_served(&self, version: u64) {
        if !self.strict.load(Ordering::Relaxed) {
            return;
        }
        let mut served = self.served.subscribe();
        let wait = served.wait_for(|served| *served >= version);
        // Late is no fault of the write's: it is kept.
        let _ = tokio::time::timeout(SERVED_WITHIN, wait).await;
    }
}

/// The changes of a store, from the moment of asking for them.
#[derive(Debug, Clone)]
pub struct Changes(watch::Receiver<Arc<State>>);

impl Changes {
    /// Waits for the next state; none if the store is gone. Of states that came while nobody
    /// waited, only the newest is seen.
    pub async fn next(&mut self) -> Option<Arc<State>> {
        self.0.changed().await.ok()?;
        Some(Arc::clone(&self.0.borrow_and_update()))
    }

    /// The newest state, without waiting.
    pub fn newest(&mut self) -> Arc<State> {
        Arc::clone(&self.0.borrow_and_update())
    }
}
