//! A transaction on entities in memory.

use std::future::{Ready, ready};
use std::sync::Arc;

use silverback_model::errors::Fault;
use silverback_model::set::{Entities, Kind};

use crate::transaction::{Answer, Kept, Transaction};

/// Entities that are being changed, and what is changed.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) entities: Entities,
    pub(crate) changes: Vec<Change>,
    checked_here: bool,
}

/// An entity that is written, or taken away.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The name of its kind.
    pub(crate) kind: String,
    /// Its primary key.
    pub(crate) key: String,
    /// What it is from now on; none if it is no more.
    pub(crate) record: Option<Kept>,
}

impl Draft {
    pub(crate) fn new(entities: &Entities) -> Draft {
        Draft { entities: entities.clone(), changes: Vec::new(), checked_here: true }
    }

    /// A draft that nothing will come of: only what a change says by itself is checked.
    pub(crate) fn unchecked(entities: &Entities) -> Draft {
        Draft { checked_here: false, ..Draft::new(entities) }
    }

    /// Puts an entity in, in the place of the one with its key.
    pub(crate) fn put(&mut self, kind: &Kind, record: Kept) {
        let (name, key) = (kind.schema.name.clone(), kind.key(&record));
        self.entities.put(&name, Arc::clone(&record));
        self.changes.push(Change { kind: name, key, record: Some(record) });
    }
}

fn found<T>(value: T) -> Ready<Result<T, Fault>> {
    ready(Ok(value))
}

impl Transaction for Draft {
    fn checked_here(&self) -> bool {
        self.checked_here
    }

    fn get(&mut self, kind: &Kind, key: &str) -> impl Answer<Option<Kept>> {
        found(self.entities.of(&kind.schema.name).get(key).cloned())
    }

    fn by(&mut self, kind: &Kind, field: &str, value: &str) -> impl Answer<Option<Kept>> {
        found(self.entities.of(&kind.schema.name).by(field, value).cloned())
    }

    fn by_cache_key(&mut self, kind: &Kind, key: &str) -> impl Answer<Option<Kept>> {
        found(self.entities.of(&kind.schema.name).by_cache_key(&[key]).cloned())
    }

    fn children(&mut self, kind: &Kind, field: &str, parent: &str) -> impl Answer<Vec<Kept>> {
        let children = self.entities.of(&kind.schema.name).children(field, parent);
        found(children.cloned().collect())
    }

    fn all(&mut self, kind: &Kind) -> impl Answer<Vec<Kept>> {
        found(self.entities.of(&kind.schema.name).iter().cloned().collect())
    }

    fn insert(&mut self, kind: &Kind, record: Kept) -> impl Answer<()> {
        self.put(kind, record);
        found(())
    }

    fn update(&mut self, kind: &Kind, _: &Kept, record: Kept) -> impl Answer<()> {
        self.put(kind, record);
        found(())
    }

    fn remove(&mut self, kind: &Kind, record: &Kept) -> impl Answer<()> {
        let (name, key) = (kind.schema.name.clone(), kind.key(record));
        self.entities.remove(&name, &key);
        self.changes.push(Change { kind: name, key, record: None });
        found(())
    }

    /// Where the changes go is for whoever made the draft.
    fn commit(self) -> impl Answer<()> {
        found(())
    }
}
