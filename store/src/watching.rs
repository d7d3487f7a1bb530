//! Who is told of each change that this node makes, with the entity as it was before: what Kong's
//! plugins hear as `crud` events (kong/runloop/events.lua).

use std::sync::Arc;

use silverback_model::Record;
use tokio::sync::broadcast;

use crate::{Backend, Outcome, Store, change::Change};

/// How many changes may wait for one who listens; more are lost for it.
const WAITING_MAX: usize = 4096;

/// What was done to an entity.
#[derive(Debug, Clone)]
pub struct Changed {
    /// "create", "update" or "delete".
    pub operation: &'static str,
    /// The kind of entity.
    pub kind: String,
    /// The entity, as it was last.
    pub entity: Arc<Record>,
    /// As it was before an update.
    pub old: Option<Arc<Record>>,
}

pub(crate) fn channel() -> broadcast::Sender<Changed> {
    broadcast::channel(WAITING_MAX).0
}

impl Store {
    /// The changes that this node makes from now on, one by one; none without a database, where
    /// entities are replaced as a whole.
    pub fn watch(&self) -> Option<broadcast::Receiver<Changed>> {
        match &self.backend {
            Backend::Memory => None,
            Backend::Sqlite(_) | Backend::Postgres(_) => Some(self.changed.subscribe()),
        }
    }

    /// The entity that a change is about, as long as somebody listens.
    pub(crate) async fn before(
        &self,
        kind: &str,
        change: &Change<'_>,
    ) -> Outcome<Option<Arc<Record>>> {
        let (true, Some(key)) = (self.changed.receiver_count() > 0, change.key()) else {
            return Ok(None);
        };
        self.select(kind, key).await
    }

    /// Tells who listens of a change.
    pub(crate) fn tell(&self, kind: &str, old: Option<Arc<Record>>, new: Option<&Arc<Record>>) {
        let (operation, entity, old) = match (new, old) {
            (Some(new), None) => ("create", Arc::clone(new), None),
            (Some(new), old) => ("update", Arc::clone(new), old),
            (None, Some(old)) => ("delete", old, None),
            (None, None) => return,
        };
        // Nobody may listen.
        let _ = self.changed.send(Changed { operation, kind: kind.to_owned(), entity, old });
    }
}
