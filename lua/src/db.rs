//! `kong.db`: how Lua reaches the store. What plugins see of it is made by the modules under
//! `lib/kong/db`, of the functions here: the module `silverback.database`.
//!
//! Nothing blocks a worker: a database that has to be asked is waited for, others run meanwhile.

mod calls;
mod cluster;
mod schemas;

use std::{
    fmt,
    rc::Rc,
    sync::{Arc, OnceLock},
};

use mlua::Table;
use silverback_model::{entities, schema::Schema, set::Kinds};
use silverback_store::Store;

use crate::{
    bind,
    raw::{Args, Out, Outcome},
    state::State,
};

/// The store, from the moment that there is one, and the kinds that plugins add to it.
#[derive(Default)]
pub(crate) struct Database {
    store: OnceLock<Arc<Store>>,
    /// Of each the plugin that has it.
    own: OnceLock<Vec<(String, Arc<Schema>)>>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("connected", &self.store.get().is_some()).finish()
    }
}

impl Database {
    /// Says which kinds the plugins add. Only the first call counts.
    pub(crate) fn add(&self, own: Vec<(String, Arc<Schema>)>) {
        let _ = self.own.set(own);
    }

    /// Says where entities live. Only the first call counts.
    pub(crate) fn connect(&self, store: Arc<Store>) {
        let _ = self.store.set(store);
    }

    /// The store.
    ///
    /// # Errors
    /// If the node is still starting: plugins are found before the store is opened.
    pub(crate) fn store(&self) -> Result<&Arc<Store>, String> {
        self.store.get().ok_or_else(|| "the database is not open yet".to_owned())
    }

    fn own(&self) -> &[(String, Arc<Schema>)] {
        self.own.get().map_or(&[], Vec::as_slice)
    }

    /// The kinds that the store has.
    fn kinds(&self) -> Option<Arc<Kinds>> {
        self.store.get().map(|store| Arc::clone(store.entities().kinds()))
    }

    /// The schema of a kind.
    fn schema(&self, name: &str) -> Option<Arc<Schema>> {
        if let Some(kinds) = self.kinds() {
            return kinds.get(name).map(|kind| Arc::clone(&kind.schema));
        }
        let own = self.own().iter().map(|(_, schema)| schema).find(|schema| schema.name == name);
        own.cloned().or_else(|| entities::schema(name))
    }

    /// The names of all kinds.
    fn names(&self) -> Vec<String> {
        if let Some(kinds) = self.kinds() {
            return kinds.iter().map(|kind| kind.schema.name.clone()).collect();
        }
        let own = self.own().iter().map(|(_, schema)| schema);
        own.chain(entities::schemas()).map(|schema| schema.name.clone()).collect()
    }
}

/// The name under which the metatable of lists is kept.
const LISTS: &str = "silverback.lists";

/// Puts the module `silverback.database` into a state.
///
/// # Errors
/// If there is no memory.
pub(crate) fn register(state: &Rc<State>) -> mlua::Result<()> {
    let native = state.lua.create_table()?;
    let lists: Table = state.require::<Table>("cjson")?.get("array_mt")?;
    state.lua.set_named_registry_value(LISTS, lists)?;
    let database = Arc::clone(&state.database);
    let strategy = move || match database.store.get() {
        Some(store) => Out::Static(store.database()),
        None => Out::Nil,
    };
    native.set("strategy", bind::fast(state, move |_| Outcome::One(strategy()))?)?;
    let database = Arc::clone(&state.database);
    let trouble = move || database.store.get().and_then(|store| store.trouble());
    let trouble = move || trouble().map_or(Out::Nil, Out::from);
    native.set("trouble", bind::fast(state, move |_| Outcome::One(trouble()))?)?;
    let database = Arc::clone(&state.database);
    let workspace = move || database.store.get().map(|store| store.workspace_id());
    let workspace = move || workspace().map_or(Out::Nil, Out::from);
    native.set("workspace", bind::fast(state, move |_| Outcome::One(workspace()))?)?;
    let database = Arc::clone(&state.database);
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
    let version = move |args: &Args<'_>| {
        let store = database.store.get();
        store.zip(args.text(1)).map_or(0.0, |(store, kind)| store.version_of(kind) as f64)
    };
    native.set("version", bind::fast(state, move |args| Outcome::One(version(args).into()))?)?;
    cluster::register(state, &native)?;
    schemas::register(state, &native)?;
    calls::register(state, &native)?;
    let loaded: Table = state.lua.globals().get::<Table>("package")?.get("loaded")?;
    loaded.set("silverback.database", native)
}

#[cfg(test)]
mod tests;
