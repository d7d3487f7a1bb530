//! Schemas of entities for Lua: what they say, and what they say of a value.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use mlua::{Lua, MultiValue, Table, Value};
use serde_json::{Value as Json, json};
use silverback_model::{
    Record,
    errors::Errors,
    schema::{Mode, Schema},
};

use super::{Database, LISTS};
use crate::{bind, convert, schema, state::State};

/// The schemas of kinds, and those that Lua code has made itself.
struct Known {
    database: Arc<Database>,
    /// Known by their numbers, from 1.
    own: RefCell<Vec<Arc<Schema>>>,
}

impl Known {
    /// The schema that an argument means: a kind's name, or a number.
    fn find(&self, args: &MultiValue) -> Result<Arc<Schema>, String> {
        let unknown = || "there is no such schema".to_owned();
        match json(args, 0)? {
            Json::String(name) => {
                self.database.schema(&name).ok_or_else(|| format!("there is no kind '{name}'"))
            }
            number => {
                let at = number.as_u64().and_then(|number| usize::try_from(number).ok());
                let at = at.and_then(|at| at.checked_sub(1)).ok_or_else(unknown)?;
                self.own.borrow().get(at).cloned().ok_or_else(unknown)
            }
        }
    }
}

/// Puts the functions into the module.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &Rc<State>, native: &Table) -> mlua::Result<()> {
    let known = Rc::new(Known { database: Arc::clone(&state.database), own: RefCell::default() });
    let database = Arc::clone(&state.database);
    native.set("names", bind::cold(state, move |_, _| Ok(database.names()))?)?;
    let database = Arc::clone(&state.database);
    let owner = move |_: &Lua, args: MultiValue| {
        let name = text(&args, 0)?;
        let own = database.own().iter().find(|(_, schema)| schema.name == name);
        Ok(own.map(|(plugin, _)| plugin.clone()))
    };
    native.set("owner", bind::cold(state, owner)?)?;
    let database = Arc::clone(&state.database);
    let schema = move |lua: &Lua, args: MultiValue| match database.schema(&text(&args, 0)?) {
        Some(schema) => lists(lua, &words(&schema)),
        None => Ok(Value::Nil),
    };
    native.set("schema", bind::cold(state, schema)?)?;
    let (weak, own) = (Rc::downgrade(state), Rc::clone(&known));
    let compile = move |_: &Lua, args: MultiValue| {
        let state = weak.upgrade().ok_or("the Lua state has ended")?;
        let table = args.front().and_then(Value::as_table).ok_or("expected a table")?;
        let number = own.own.borrow().len() + 1;
        let schema = schema::own(&state, number, table)?;
        own.own.borrow_mut().push(Arc::new(schema));
        Ok(number)
    };
    native.set("compile", bind::cold(state, compile)?)?;
    checks(state, native, &known)
}

/// What schemas say of values.
fn checks(state: &State, native: &Table, known: &Rc<Known>) -> mlua::Result<()> {
    let put = |name: &str, call: Call| native.set(name, of_schema(state, Rc::clone(known), call)?);
    put("process", |schema, args| {
        let input = record(args, 1)?;
        let done = match text(args, 2)?.as_str() {
            "select" => schema.process(input, Mode::Select),
            "update" => schema.changes(input),
            _ => schema.defaults(input),
        };
        Ok(done.map(Json::Object))
    })?;
    put("validate", |schema, args| Ok(yes(schema.validate(&record(args, 1)?))))?;
    put("validate_key", |schema, args| Ok(yes(schema.validate_primary_key(&record(args, 1)?))))?;
    put("validate_field", |schema, args| {
        let (name, value) = (text(args, 1)?, json(args, 2)?);
        let field = schema.field(&name).ok_or_else(|| format!("there is no field '{name}'"))?;
        Ok(yes(field.check(&value).map_err(|error| Errors::of("", error))))
    })
}

fn yes(checked: Result<(), Errors>) -> Result<Json, Errors> {
    checked.map(|()| Json::Bool(true))
}

/// What is asked of a schema with the arguments behind it.
type Call = fn(&Schema, &MultiValue) -> Result<Result<Json, Errors>, String>;

/// A function of a schema: a value, or nil and what is wrong by field, and in words.
fn of_schema(state: &State, known: Rc<Known>, call: Call) -> mlua::Result<mlua::Function> {
    bind::cold(state, move |lua, args| match call(&*known.find(&args)?, &args)? {
        Ok(value) => Ok((shown(lua, &value, is_true(&args, 3))?, Value::Nil, None)),
        Err(errors) => {
            let words = errors.to_string();
            let fields = match errors.fields().get("") {
                Some(error) => error.clone(),
                None => Json::from(errors),
            };
            Ok((Value::Nil, lists(lua, &fields)?, Some(words)))
        }
    })
}

/// All that a schema says, as `daos.lua` would.
fn words(schema: &Schema) -> Json {
    let mut words = schema.to_json();
    let some = |list: &Vec<String>| if list.is_empty() { Json::Null } else { json!(list) };
    words["name"] = json!(schema.name);
    words["primary_key"] = json!(schema.primary_key);
    words["endpoint_key"] = json!(schema.endpoint_key);
    words["cache_key"] = some(&schema.cache_key);
    words["ttl"] = json!(schema.ttl);
    words["workspaceable"] = json!(schema.workspaceable);
    words["admin_api_name"] = json!(schema.admin_api_name);
    words["admin_api_nested_name"] = json!(schema.admin_api_nested_name);
    words["generate_admin_api"] = json!(schema.generate_admin_api);
    words["db_export"] = json!(schema.db_export);
    words["table_name"] = json!(schema.table_name);
    words["subschema_key"] = json!(schema.subschema_key);
    words
}

fn lists(lua: &Lua, json: &Json) -> Result<Value, String> {
    shown(lua, json, false)
}

fn is_true(args: &MultiValue, at: usize) -> bool {
    args.get(at).and_then(Value::as_boolean) == Some(true)
}

fn shown(lua: &Lua, json: &Json, nulls: bool) -> Result<Value, String> {
    let lists = lua.named_registry_value::<Table>(LISTS);
    let made = lists.and_then(|lists| convert::to_lua_with_lists(lua, json, nulls, &lists));
    made.map_err(|error| error.to_string())
}

fn json(args: &MultiValue, at: usize) -> Result<Json, String> {
    args.get(at).map_or(Ok(Json::Null), convert::to_json)
}

fn text(args: &MultiValue, at: usize) -> Result<String, String> {
    let text = args.get(at).and_then(Value::as_string).map(|text| text.to_string_lossy());
    text.ok_or_else(|| format!("expected a string as argument {}", at + 1))
}

fn record(args: &MultiValue, at: usize) -> Result<Record, String> {
    match json(args, at)? {
        Json::Object(record) => Ok(record),
        _ => Ok(Record::new()),
    }
}
