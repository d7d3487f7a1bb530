//! An entity as it is kept: its fields by name, and beside them the typed view.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// An entity as it stands in the store: its fields by name, in the order of its schema.
pub type Record = Map<String, Value>;

/// The field that says which workspace an entity belongs to. It is kept with the entity, plugins
/// see it, and the Admin API and exports leave it out (kong/db/dao/init.lua).
pub const WORKSPACE: &str = "ws_id";

/// A record as the Admin API and exports show it.
pub fn shown(record: &Record) -> Record {
    shown_fields(record).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The fields of a record that the Admin API and exports show.
pub(crate) fn shown_fields(record: &Record) -> impl Iterator<Item = (&String, &Value)> {
    record.iter().filter(|(name, _)| *name != WORKSPACE)
}

/// A field of a record. Records have few: looking at each takes less than hashing the name.
pub fn field<'a>(record: &'a Record, name: &str) -> Option<&'a Value> {
    record.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// A record with its typed view; both are immutable and shared.
#[derive(Debug, Clone)]
pub struct Entity<T> {
    record: Arc<Record>,
    typed: T,
    json: OnceLock<Box<str>>,
}

impl<T: DeserializeOwned> Entity<T> {
    /// Reads the typed view out of a validated record.
    ///
    /// # Errors
    /// If the record does not have the fields of `T`: it was not validated by T's schema.
    pub fn new(record: Arc<Record>) -> Result<Entity<T>, serde_json::Error> {
        let typed = T::deserialize(&*record)?;
        Ok(Entity { record, typed, json: OnceLock::new() })
    }
}

impl<T> Entity<T> {
    /// All fields, as the Admin API shows them.
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// Its fields that are not null, as JSON: what logs tell of it. It is made when it is first
    /// asked for, and kept.
    pub fn json(&self) -> &str {
        self.json.get_or_init(|| {
            let there = self.record.iter().filter(|(_, value)| !value.is_null());
            let there: Record = there.map(|(name, value)| (name.clone(), value.clone())).collect();
            Value::Object(there).to_string().into()
        })
    }
}

impl<T> Deref for Entity<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.typed
    }
}
