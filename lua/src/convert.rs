//! Between JSON and Lua: configurations, schemas, entities.

use mlua::{Lua, Table, Value};
use serde_json::{Map, Number, Value as Json};

use crate::raw::ARRAY_MARK;

/// How deep a table may be nested that is made JSON.
const DEPTH_MAX: usize = 100;

/// What stands for null: `ngx.null`, `cjson.null`.
pub(crate) const NULL: Value = Value::NULL;

/// JSON as Lua. Null is nil, so that members and elements that are null are absent.
///
/// # Errors
/// If there is no memory.
pub(crate) fn to_lua(lua: &Lua, json: &Json) -> mlua::Result<Value> {
    make(lua, json, &Value::Nil, None)
}

/// JSON as Lua, with [`NULL`] where it has null.
///
/// # Errors
/// If there is no memory.
pub(crate) fn to_lua_with_nulls(lua: &Lua, json: &Json) -> mlua::Result<Value> {
    make(lua, json, &NULL, None)
}

/// JSON as Lua, with lists that stay lists however empty they are: `lists` is their metatable.
///
/// # Errors
/// If there is no memory.
pub(crate) fn to_lua_with_lists(
    lua: &Lua,
    json: &Json,
    nulls: bool,
    lists: &Table,
) -> mlua::Result<Value> {
    make(lua, json, if nulls { &NULL } else { &Value::Nil }, Some(lists))
}

fn make(lua: &Lua, json: &Json, null: &Value, lists: Option<&Table>) -> mlua::Result<Value> {
    Ok(match json {
        Json::Null => null.clone(),
        Json::Bool(b) => Value::Boolean(*b),
        Json::Number(n) => Value::Number(n.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for item in items {
                table.raw_push(make(lua, item, null, lists)?)?;
            }
            if let Some(lists) = lists {
                table.set_metatable(Some(lists.clone()))?;
            }
            Value::Table(table)
        }
        Json::Object(map) => {
            let table = lua.create_table_with_capacity(0, map.len())?;
            for (key, item) in map {
                table.raw_set(key.as_str(), make(lua, item, null, lists)?)?;
            }
            Value::Table(table)
        }
    })
}

/// Lua as JSON. Functions are left out; an empty table is an object.
///
/// # Errors
/// What can't be JSON: a table that is nested too deep, or has keys of odd types.
pub(crate) fn to_json(value: &Value) -> Result<Json, String> {
    json(value, 0)
}

fn json(value: &Value, depth: usize) -> Result<Json, String> {
    if depth > DEPTH_MAX {
        return Err("the table is nested too deep, or contains itself".to_owned());
    }
    Ok(match value {
        Value::Boolean(b) => Json::Bool(*b),
        Value::Integer(n) => Json::from(*n),
        Value::Number(n) => number(*n),
        Value::String(text) => Json::String(text.to_string_lossy()),
        Value::Table(table) => table_to_json(table, depth)?,
        _ => Json::Null,
    })
}

/// A number that is whole.
pub(crate) fn whole(n: f64) -> Option<i64> {
    silverback_pdk::Value::Number(n).as_int()
}

/// A number: whole where it is.
fn number(n: f64) -> Json {
    match whole(n) {
        Some(n) => Json::from(n),
        None => Number::from_f64(n).map_or(Json::Null, Json::Number),
    }
}

fn table_to_json(table: &Table, depth: usize) -> Result<Json, String> {
    let length = table.raw_len();
    let marked =
        table.metatable().is_some_and(|meta| meta.raw_get::<bool>(ARRAY_MARK).unwrap_or(false));
    if length > 0 || marked {
        let items = table.sequence_values::<Value>();
        let items = items.map(|item| json(&item.map_err(|e| e.to_string())?, depth + 1));
        return items.collect::<Result<_, _>>().map(Json::Array);
    }
    let mut map = Map::new();
    for pair in table.pairs::<Value, Value>() {
        let (key, item) = pair.map_err(|error| error.to_string())?;
        let key = match key {
            Value::String(text) => text.to_string_lossy(),
            Value::Integer(n) => n.to_string(),
            Value::Number(n) => number(n).to_string(),
            other => return Err(format!("a key is a {}", other.type_name())),
        };
        if !item.is_function() {
            map.insert(key, json(&item, depth + 1)?);
        }
    }
    Ok(Json::Object(map))
}
