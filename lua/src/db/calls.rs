//! Reading and writing entities. A result is a row, or nil and what is wrong: a table with `code`,
//! `name`, `message` and `fields` (kong/db/errors.lua).

use std::{future::Future, rc::Rc, sync::Arc};

use futures_util::FutureExt;
use mlua::{IntoLua, IntoLuaMulti, Lua, MultiValue, Table, Value};
use serde_json::Value as Json;
use silverback_model::{
    Record,
    set::{Page, PageQuery, TagFilter},
};
use silverback_store::{Key, Options, Outcome, Queried, Store};

use super::{Database, LISTS};
use crate::{bind, convert, state::State};

/// Puts the functions into the module.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &Rc<State>, native: &Table) -> mlua::Result<()> {
    let put = |name: &str, function| native.set(name, function);
    put(
        "select",
        call(state, |store, mut args| {
            let (kind, key, nulls) = (args.text()?, Named::of(&mut args)?, args.flag());
            Ok(async move {
                Told::row(key.with(async |key| store.select(&kind, key).await).await, nulls)
            })
        })?,
    )?;
    let database = Arc::clone(&state.database);
    let query = bind::waits(state, move |lua, args| {
        let sql: String = lua.unpack_multi(args).map_err(|error| crate::raw::plain(&error))?;
        let store = database.store()?.clone();
        let asked = async move { store.query(&sql).await.map_err(|fault| fault.message) };
        Ok(asked.map(|queried| Ok(Rows(queried))).boxed_local())
    })?;
    put("query", query)?;
    put(
        "page",
        call(state, |store, mut args| {
            let (kind, asked) = (args.text()?, Asked::of(&mut args)?);
            Ok(async move { Told::page(store.page(&kind, &asked.query()).await, asked.nulls) })
        })?,
    )?;
    put(
        "insert",
        call(state, |store, mut args| {
            let (kind, input, options) = (args.text()?, args.record()?, args.options()?);
            let nulls = args.flag();
            Ok(async move { Told::made(store.insert(&kind, input, &options).await, nulls) })
        })?,
    )?;
    put(
        "update",
        call(state, |store, mut args| {
            let (kind, key) = (args.text()?, Named::of(&mut args)?);
            let (input, options, nulls) = (args.record()?, args.options()?, args.flag());
            Ok(async move {
                let write = async |key: Key<'_>| store.update(&kind, key, input, &options).await;
                Told::made(key.with(write).await, nulls)
            })
        })?,
    )?;
    put(
        "upsert",
        call(state, |store, mut args| {
            let (kind, key) = (args.text()?, Named::of(&mut args)?);
            let (input, options, nulls) = (args.record()?, args.options()?, args.flag());
            Ok(async move {
                let write = async |key: Key<'_>| store.upsert(&kind, key, input, &options).await;
                Told::made(key.with(write).await, nulls)
            })
        })?,
    )?;
    put(
        "delete",
        call(state, |store, mut args| {
            let (kind, key) = (args.text()?, Named::of(&mut args)?);
            Ok(async move {
                let write = async |key: Key<'_>| store.delete(&kind, key).await;
                Told::done(key.with(write).await)
            })
        })?,
    )
}

/// A function over the store, which waits where the store does.
fn call<F: Future<Output = Told> + 'static>(
    state: &State,
    begin: impl Fn(Arc<Store>, Given) -> Result<F, String> + 'static,
) -> mlua::Result<mlua::Function> {
    let database: Arc<Database> = Arc::clone(&state.database);
    bind::waits(state, move |_, args| {
        let store = Arc::clone(database.store()?);
        let future = begin(store, Given(args.into_iter()))?;
        Ok(future.map(Ok).boxed_local())
    })
}

/// The arguments of a call; our own Lua code has checked them.
struct Given(<MultiValue as IntoIterator>::IntoIter);

impl Given {
    fn next(&mut self) -> Value {
        self.0.next().unwrap_or(Value::Nil)
    }

    fn optional_text(&mut self) -> Option<String> {
        match self.next() {
            Value::String(text) => Some(text.to_string_lossy()),
            _ => None,
        }
    }

    fn text(&mut self) -> Result<String, String> {
        self.optional_text().ok_or_else(|| "expected a string".to_owned())
    }

    fn flag(&mut self) -> bool {
        self.next().as_boolean().unwrap_or(false)
    }

    fn json(&mut self) -> Result<Json, String> {
        convert::to_json(&self.next())
    }

    fn record(&mut self) -> Result<Record, String> {
        match self.json()? {
            Json::Object(record) => Ok(record),
            // An entity without fields.
            _ => Ok(Record::new()),
        }
    }

    /// In how many seconds an entity ends, or nil.
    fn options(&mut self) -> Result<Options, String> {
        let ttl = self.json()?;
        Ok(Options { ttl: (!ttl.is_null()).then_some(ttl) })
    }
}

/// What names an entity: `nil, id`; `field, value`; or `"cache_key", value`.
enum Named {
    Id(String),
    Unique(String, String),
    Cache(String),
}

impl Named {
    fn of(args: &mut Given) -> Result<Named, String> {
        let field = args.optional_text();
        let value = match args.json()? {
            Json::String(text) => text,
            Json::Null => String::new(),
            other => other.to_string(),
        };
        Ok(match field.as_deref() {
            None => Named::Id(value),
            Some("cache_key") => Named::Cache(value),
            Some(field) => Named::Unique(field.to_owned(), value),
        })
    }

    async fn with<T>(&self, call: impl AsyncFnOnce(Key<'_>) -> Outcome<T>) -> Outcome<T> {
        match self {
            Named::Id(id) => call(Key::Id(id)).await,
            Named::Unique(field, value) => call(Key::Unique(field, value)).await,
            Named::Cache(values) => call(Key::Cache(&[values.as_str()])).await,
        }
    }
}

/// Which page is asked for: size, offset, tags with "and" or "or", field and parent.
struct Asked {
    size: usize,
    offset: Option<String>,
    tags: Option<TagFilter>,
    parent: Option<(String, String)>,
    nulls: bool,
}

impl Asked {
    fn of(args: &mut Given) -> Result<Asked, String> {
        let size = args.json()?.as_u64().and_then(|size| usize::try_from(size).ok());
        let size = size.ok_or("expected a size")?;
        let offset = args.optional_text();
        let tags: Option<Vec<String>> = serde_json::from_value(args.json()?).unwrap_or(None);
        let any = args.optional_text().as_deref() == Some("or");
        let tags = tags.map(|tags| if any { TagFilter::Any(tags) } else { TagFilter::All(tags) });
        let (field, parent) = (args.optional_text(), args.optional_text());
        Ok(Asked { size, offset, tags, parent: field.zip(parent), nulls: args.flag() })
    }

    fn query(&self) -> PageQuery<'_> {
        let parent = self.parent.as_ref();
        PageQuery {
            size: self.size,
            offset: self.offset.as_deref(),
            tags: self.tags.as_ref(),
            parent: parent.map(|(field, parent)| (field.as_str(), parent.as_str())),
        }
    }
}

/// What a statement has given: the rows and how many they are, or nil and what is wrong.
struct Rows(Result<Queried, String>);

impl IntoLuaMulti for Rows {
    fn into_lua_multi(self, lua: &Lua) -> mlua::Result<MultiValue> {
        match self.0 {
            Ok(Queried { rows, affected }) => {
                let rows = Json::Array(rows.into_iter().map(Json::Object).collect());
                #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
                (convert::to_lua(lua, &rows)?, affected as f64).into_lua_multi(lua)
            }
            Err(text) => (Value::Nil, text).into_lua_multi(lua),
        }
    }
}

/// What comes back.
struct Told {
    outcome: Outcome<Reply>,
    /// Whether what is null is `ngx.null`, rather than absent.
    nulls: bool,
}

enum Reply {
    Row(Option<Arc<Record>>),
    Page(Page),
    Done,
}

impl Told {
    fn row(outcome: Outcome<Option<Arc<Record>>>, nulls: bool) -> Told {
        Told { outcome: outcome.map(Reply::Row), nulls }
    }

    fn made(outcome: Outcome<Arc<Record>>, nulls: bool) -> Told {
        Told { outcome: outcome.map(Some).map(Reply::Row), nulls }
    }

    fn page(outcome: Outcome<Page>, nulls: bool) -> Told {
        Told { outcome: outcome.map(Reply::Page), nulls }
    }

    fn done(outcome: Outcome<()>) -> Told {
        Told { outcome: outcome.map(|()| Reply::Done), nulls: false }
    }
}

impl IntoLuaMulti for Told {
    fn into_lua_multi(self, lua: &Lua) -> mlua::Result<MultiValue> {
        let lists: Table = lua.named_registry_value(LISTS)?;
        let row = |record: &Record| {
            let table = lua.create_table_with_capacity(0, record.len())?;
            for (name, value) in record {
                let value = convert::to_lua_with_lists(lua, value, self.nulls, &lists)?;
                table.raw_set(name.as_str(), value)?;
            }
            Ok(Value::Table(table))
        };
        match self.outcome {
            Ok(Reply::Row(None)) => Value::Nil.into_lua_multi(lua),
            Ok(Reply::Row(Some(record))) => row(&record)?.into_lua_multi(lua),
            Ok(Reply::Done) => true.into_lua_multi(lua),
            Ok(Reply::Page(page)) => {
                let rows = page.records.iter().map(|record| row(record));
                let rows = lua.create_sequence_from(rows.collect::<mlua::Result<Vec<_>>>()?)?;
                rows.set_metatable(Some(lists.clone()))?;
                (rows, Value::Nil, page.next).into_lua_multi(lua)
            }
            Err(fault) => {
                let fault = fault.to_json();
                let fault = convert::to_lua_with_lists(lua, &fault, true, &lists)?;
                (Value::Nil, fault.into_lua(lua)?).into_lua_multi(lua)
            }
        }
    }
}
