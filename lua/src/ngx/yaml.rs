//! YAML for the module `lyaml`.

use mlua::{Lua, LuaString, MultiValue, Table, Value};
use serde::Deserialize as _;
use serde_yaml_ng::{Deserializer, Mapping, Value as Yaml};

use crate::{raw, state::State};

/// How many documents a text may hold, and how deep they may be nested.
const DOCUMENTS_MAX: usize = 10_000;

/// Puts the functions into a table.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, native: &Table) -> mlua::Result<()> {
    let load = |lua: &Lua, text: LuaString| load(lua, &text);
    let dump = |lua: &Lua, value: Value| dump(lua, &value);
    native.set("yaml_load", state.lua.create_function(load)?)?;
    native.set("yaml_dump", state.lua.create_function(dump)?)
}

/// The documents of a text; nil and what is wrong.
fn load(lua: &Lua, text: &LuaString) -> mlua::Result<MultiValue> {
    let bytes = text.as_bytes();
    let list = lua.create_table()?;
    for document in Deserializer::from_slice(&bytes).take(DOCUMENTS_MAX) {
        match Yaml::deserialize(document) {
            Ok(document) => list.raw_push(to_lua(lua, &document)?)?,
            Err(error) => {
                let error = lua.create_string(error.to_string())?;
                return Ok(MultiValue::from_vec(vec![Value::Nil, Value::String(error)]));
            }
        }
    }
    Ok(MultiValue::from_vec(vec![Value::Table(list)]))
}

/// The parser has bounded how deep it is.
fn to_lua(lua: &Lua, yaml: &Yaml) -> mlua::Result<Value> {
    Ok(match yaml {
        Yaml::Null => Value::NULL,
        Yaml::Bool(yes) => Value::Boolean(*yes),
        Yaml::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        Yaml::String(text) => Value::String(lua.create_string(text)?),
        Yaml::Sequence(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for item in items {
                table.raw_push(to_lua(lua, item)?)?;
            }
            Value::Table(table)
        }
        Yaml::Mapping(members) => Value::Table(members_to_lua(lua, members)?),
        Yaml::Tagged(tagged) => to_lua(lua, &tagged.value)?,
    })
}

fn members_to_lua(lua: &Lua, members: &Mapping) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, members.len())?;
    for (key, item) in members {
        let key = to_lua(lua, key)?;
        if !matches!(key, Value::Number(number) if number.is_nan()) {
            table.raw_set(key, to_lua(lua, item)?)?;
        }
    }
    Ok(table)
}

/// A value as a document.
fn dump(lua: &Lua, value: &Value) -> mlua::Result<String> {
    let value = raw::read(lua, value).map_err(mlua::Error::runtime)?;
    if let Some(kind) = value.foreign() {
        return Err(mlua::Error::runtime(format!("cannot dump object of type '{kind}'")));
    }
    serde_yaml_ng::to_string(&value.to_json()).map_err(mlua::Error::external)
}
