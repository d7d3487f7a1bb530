//! Schemas of entities for Lua: what they say, and what they say of a value.

use std::{rc::Rc, sync::Arc};

use mlua::{Lua, MultiValue, Table, Value};
use serde_json::{Value as Json, json};
use silverback_model::{
    Record,
    errors::Errors,
    schema::{Mode, Schema},
};

use super::{Database, LISTS};
use crate::{bind, convert, state::State};

/// Puts the functions into the module.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &Rc<State>, native: &Table) -> mlua::Result<()> {
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
    native.set(
        "process",
        of_schema(state, |schema, args| {
            let input = record(args, 1)?;
            match text(args, 2)?.as_str() {
                "select" => Ok(schema.process(input, Mode::Select)),
                "update" => Ok(schema.changes(input)),
                _ => Ok(schema.defaults(input)),
            }
            .map(|done| done.map(Json::Object))
        })?,
    )?;
    native.set(
        "validate",
        of_schema(state, |schema, args| {
            Ok(schema.validate(&record(args, 1)?).map(|()| Json::Bool(true)))
        })?,
    )?;
    native.set(
        "validate_key",
        of_schema(state, |schema, args| {
            Ok(schema.validate_primary_key(&record(args, 1)?).map(|()| Json::Bool(true)))
        })?,
    )?;
    native.set(
        "validate_field",
        of_schema(state, |schema, args| {
            let (name, value) = (text(args, 1)?, json(args, 2)?);
            let field = schema.field(&name).ok_or_else(|| format!("there is no field '{name}'"))?;
            Ok(field.check(&value).map(|()| Json::Bool(true)).map_err(|e| Errors::of("", e)))
        })?,
    )
}

/// A function of a kind's schema: a value, or nil and what is wrong by field, and in words.
fn of_schema(
    state: &State,
    call: impl Fn(&Schema, &MultiValue) -> Result<Result<Json, Errors>, String> + 'static,
) -> mlua::Result<mlua::Function> {
    let database: Arc<Database> = Arc::clone(&state.database);
    bind::cold(state, move |lua, args| {
        let name = text(&args, 0)?;
        let schema = database.schema(&name).ok_or_else(|| format!("there is no kind '{name}'"))?;
        match call(&schema, &args)? {
            Ok(value) => Ok((shown(lua, &value, is_true(&args, 3))?, Value::Nil, None)),
            Err(errors) => {
                let words = errors.to_string();
                let fields = match errors.fields().get("") {
                    Some(error) => error.clone(),
                    None => Json::from(errors),
                };
                Ok((Value::Nil, lists(lua, &fields)?, Some(words)))
            }
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
