//! What a database has to do for the rules in [`dao`](crate::dao).

use std::future::Future;
use std::sync::Arc;

use silverback_model::Record;
use silverback_model::errors::Fault;
use silverback_model::set::Kind;

/// Entities in the form in which they are kept: every field of the schema but those that are not
/// stored, in its order. Beside them, `ttl` holds the time at which the entity ends, in seconds
/// since 1970, or null ([`ttl`](crate::ttl)); `ws_id` is there for the kinds of
/// [`declarative::WITH_WORKSPACE`](silverback_model::declarative::WITH_WORKSPACE).
pub type Kept = Arc<Record>;

/// Reads and writes of one change; all of it happens, or nothing. Dropping it without
/// [`commit`](Transaction::commit) undoes it.
///
/// Reads see the transaction's own writes. Entities that have ended may still be found.
pub trait Transaction: Send {
    /// Whether uniqueness and references are checked here, by the other methods, before a write.
    /// A database that checks them itself says no, and names what is violated in its faults:
    /// [`Fault::primary_key_violation`], [`Fault::unique_violation`],
    /// [`Fault::foreign_key_missing`], [`Fault::foreign_key_restricted`]. Deleting what refers to
    /// a deleted entity is done here all the same, so that the change can be told of.
    fn checked_here(&self) -> bool {
        true
    }

    /// The entity of this primary key; several fields are joined by `:` ([`Kind::key`]).
    fn get(&mut self, kind: &Kind, key: &str) -> impl Answer<Option<Kept>>;

    /// The entity with this value in a unique field: a text, or the id of what it refers to.
    fn by(&mut self, kind: &Kind, field: &str, value: &str) -> impl Answer<Option<Kept>>;

    /// The entity of this cache key: the values of the schema's `cache_key`, an empty text for
    /// null, joined by `:` ([`Kind::cache_key`]).
    fn by_cache_key(&mut self, kind: &Kind, key: &str) -> impl Answer<Option<Kept>>;

    /// All entities whose field refers to the entity of this key.
    fn children(&mut self, kind: &Kind, field: &str, parent: &str) -> impl Answer<Vec<Kept>>;

    /// All entities of a kind. Asked only of kinds that are compiled into snapshots.
    fn all(&mut self, kind: &Kind) -> impl Answer<Vec<Kept>>;

    /// Adds an entity.
    fn insert(&mut self, kind: &Kind, record: Kept) -> impl Answer<()>;

    /// Replaces the entity with the same primary key, which is `old`.
    fn update(&mut self, kind: &Kind, old: &Kept, record: Kept) -> impl Answer<()>;

    /// Removes an entity.
    fn remove(&mut self, kind: &Kind, record: &Kept) -> impl Answer<()>;

    /// Makes it last. When this has answered `Ok`, nothing can undo the change but another.
    fn commit(self) -> impl Answer<()>;
}

/// What the methods of a [`Transaction`] return.
pub trait Answer<T>: Future<Output = Result<T, Fault>> + Send {}

impl<T, F: Future<Output = Result<T, Fault>> + Send> Answer<T> for F {}
