//! The change feed: the newest state, and who waits for the next.

use std::sync::Arc;

use silverback_model::set::Entities;
use tokio::sync::watch;

/// What is configured at a moment.
#[derive(Debug, Clone)]
pub struct State {
    /// The entities.
    pub entities: Arc<Entities>,
    /// The hash of what they were loaded from.
    pub hash: String,
    /// How many states there were before, from 0.
    pub version: u64,
}

/// Holds the newest state and tells of it. Reading it costs a lock that is only ever held to copy
/// a pointer.
#[derive(Debug)]
pub(crate) struct Feed {
    newest: watch::Sender<Arc<State>>,
}

impl Feed {
    pub(crate) fn new(entities: Arc<Entities>, hash: String) -> Feed {
        Feed { newest: watch::Sender::new(Arc::new(State { entities, hash, version: 0 })) }
    }

    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.newest.borrow())
    }

    pub(crate) fn changes(&self) -> Changes {
        Changes(self.newest.subscribe())
    }

    pub(crate) fn publish(&self, entities: Arc<Entities>, hash: String) {
        self.newest.send_modify(|state| {
            let version = state.version + 1;
            *state = Arc::new(State { entities, hash, version });
        });
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
