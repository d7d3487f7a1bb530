//! Where plugins look up entities and secrets: what is in memory and what the store has to be
//! asked for is not this crate's to know.

use std::sync::Arc;

use silverback_model::{
    Record,
    counters::{Count, Tally},
    set::Entities,
};
use silverback_pdk::{Counted, Found, SecretRef};

/// Answers what plugins ask of the configuration beyond routes and services.
/// See [`silverback_pdk::View`] for the meaning of each.
pub trait Directory: Send + Sync {
    /// The entity of a kind that has this value in a unique field.
    fn find(&self, kind: &str, field: &str, value: &str) -> Found;

    /// The entities of a kind that belong to another.
    fn children(&self, kind: &str, parent: &str, parent_id: &str) -> Found<Vec<Arc<Record>>>;

    /// How often entities of these kinds may have changed since it was made. None where only the
    /// store knows.
    fn changes(&self, _kinds: &[&str]) -> Option<u64> {
        None
    }

    /// All entities of a kind.
    fn all(&self, _kind: &str) -> Vec<Arc<Record>> {
        Vec::new()
    }

    /// Counts in counters that nodes share, where they share any.
    fn count(&self, _tally: Tally, _count: Count) -> Option<Counted> {
        None
    }

    /// The id of the workspace, where the entities know of one.
    fn workspace_id(&self) -> Option<&str>;

    /// The secret that a vault reference names.
    ///
    /// # Errors
    /// Kong's text.
    fn secret(&self, reference: &SecretRef) -> Result<String, String>;

    /// The same, read again whatever is remembered.
    ///
    /// # Errors
    /// As [`Directory::secret`].
    fn renewed_secret(&self, reference: &SecretRef) -> Result<String, String> {
        self.secret(reference)
    }

    /// Has all secrets read again, soon.
    fn flush_secrets(&self) {}
}

/// A directory of nothing.
pub struct NoDirectory;

impl Directory for NoDirectory {
    fn find(&self, _: &str, _: &str, _: &str) -> Found {
        Found::Now(None)
    }

    fn children(&self, _: &str, _: &str, _: &str) -> Found<Vec<Arc<Record>>> {
        Found::Now(Vec::new())
    }

    fn workspace_id(&self) -> Option<&str> {
        None
    }

    fn secret(&self, reference: &SecretRef) -> Result<String, String> {
        Err(format!("could not find vault ({})", reference.name))
    }
}

/// A set of entities in memory is a directory of them. It knows no secrets.
impl Directory for Entities {
    fn find(&self, kind: &str, field: &str, value: &str) -> Found {
        let of_kind = self.of(kind);
        let found = if field == "id" { of_kind.get(value) } else { of_kind.by(field, value) };
        Found::Now(found.cloned())
    }

    fn children(&self, kind: &str, parent: &str, parent_id: &str) -> Found<Vec<Arc<Record>>> {
        Found::Now(self.of(kind).children(parent, parent_id).cloned().collect())
    }

    fn all(&self, kind: &str) -> Vec<Arc<Record>> {
        self.of(kind).iter().cloned().collect()
    }

    fn workspace_id(&self) -> Option<&str> {
        self.of("workspaces").by("name", "default")?.get("id")?.as_str()
    }

    fn secret(&self, reference: &SecretRef) -> Result<String, String> {
        NoDirectory.secret(reference)
    }
}
