//! A store in a directory of its own.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use silverback_model::errors::Fault;
use silverback_model::schema::{Field, Schema};
use silverback_model::set::Kinds;
use silverback_model::{Record, declarative::WITH_WORKSPACE};
use silverback_store::{Key, Options, Store};
use tempfile::TempDir;

pub(crate) struct Kit {
    directory: TempDir,
    store: Option<Store>,
}

impl Kit {
    pub(crate) fn new() -> Kit {
        let mut kit = Kit { directory: TempDir::new().unwrap(), store: None };
        kit.reopen();
        kit
    }

    pub(crate) fn file(&self) -> PathBuf {
        // Its directory is made with it.
        self.directory.path().join("made/silverback.db")
    }

    pub(crate) fn close(&mut self) {
        self.store = None;
    }

    /// Closes the file and opens it again.
    pub(crate) fn reopen(&mut self) {
        self.close();
        self.store = Some(Store::sqlite(&self.file(), &kinds()).unwrap());
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub(crate) async fn insert(&self, kind: &str, input: Value) -> Result<Arc<Record>, Fault> {
        self.store().insert(kind, record(input), &Options::default()).await
    }

    pub(crate) async fn update(
        &self,
        kind: &str,
        key: Key<'_>,
        input: Value,
    ) -> Result<Arc<Record>, Fault> {
        self.store().update(kind, key, record(input), &Options::default()).await
    }

    pub(crate) async fn upsert(
        &self,
        kind: &str,
        key: Key<'_>,
        input: Value,
    ) -> Result<Arc<Record>, Fault> {
        self.store().upsert(kind, key, record(input), &Options::default()).await
    }
}

/// The kinds that there are, with a plugin that has a key.
pub(crate) fn kinds() -> Arc<Kinds> {
    assert!(WITH_WORKSPACE.contains(&"plugins"));
    let config = Schema::default().with_field("key", Field::string());
    let plugin = Schema::plugin("plain", Field::record(config));
    Arc::new(Kinds::bundled([("plain".to_owned(), Arc::new(plugin))]))
}

pub(crate) fn record(value: Value) -> Record {
    let Value::Object(record) = value else { panic!("{value} is no object") };
    record
}

/// An id that is easy to tell.
pub(crate) fn id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

pub(crate) fn to(n: u32) -> Value {
    json!({ "id": id(n) })
}
