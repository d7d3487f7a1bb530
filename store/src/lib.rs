//! Where entities live: in memory only, filled from a declarative file.
//!
//! Whatever keeps them, what they are at a moment is a [`State`], and whoever depends on them
//! follows the [`Changes`]. A store with a database stands beside [`memory`] and publishes the
//! same way.

mod feed;
pub mod memory;

use std::sync::Arc;

use silverback_model::set::{Entities, Kinds};

pub use feed::{Changes, State};
use memory::Memory;

/// Where the entities of a node live.
#[derive(Debug)]
pub enum Store {
    /// In memory, replaced as a whole.
    Memory(Memory),
}

impl Store {
    /// A store in memory, without entities.
    pub fn memory(kinds: Arc<Kinds>) -> Store {
        Store::Memory(Memory::new(kinds))
    }

    /// What the entities are now, and the hash of what they were loaded from.
    pub fn state(&self) -> Arc<State> {
        match self {
            Store::Memory(memory) => memory.feed().state(),
        }
    }

    /// What the entities are now.
    pub fn entities(&self) -> Arc<Entities> {
        Arc::clone(&self.state().entities)
    }

    /// The hash of what the entities were loaded from, as `/status` shows it.
    pub fn hash(&self) -> String {
        self.state().hash.clone()
    }

    /// Follows the changes: each is a whole state, of which only the newest waits to be seen.
    pub fn changes(&self) -> Changes {
        match self {
            Store::Memory(memory) => memory.feed().changes(),
        }
    }

    /// Replaces all entities.
    pub fn replace(&self, entities: Arc<Entities>, hash: impl Into<String>) {
        match self {
            Store::Memory(memory) => memory.replace(entities, hash.into()),
        }
    }
}
