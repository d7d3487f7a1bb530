//! What secrets took the place of: `$refs` in a configuration, which `kong.vault.update` and
//! `kong.vault.try` go by (kong/db/schema/init.lua, `process_auto_fields`).

use mlua::{Lua, Table};
use serde_json::Value as Json;
use silverback_model::{
    is_reference,
    schema::{Field, Flag, Kind, Schema},
};
use silverback_pdk::Record;

/// Adds `$refs` to every record of `config` that has fields with secrets; `stored` has the
/// references themselves.
pub(super) fn add(lua: &Lua, config: &Table, stored: &Record, schema: &Schema) -> mlua::Result<()> {
    let references = lua.create_table()?;
    for (name, field) in &schema.fields {
        match (&field.kind, stored.get(name)) {
            (Kind::String, Some(value)) => {
                if let Some(reference) = reference(field, value) {
                    references.raw_set(name.as_str(), reference)?;
                }
            }
            (Kind::Record(inner), Some(Json::Object(record))) => {
                add(lua, &config.raw_get(name.as_str())?, record, inner)?;
            }
            (Kind::Array(elements) | Kind::Set(elements), Some(Json::Array(items))) => {
                let inner: Option<Table> = config.raw_get(name.as_str())?;
                let found = lua.create_table()?;
                for (at, item) in (1..).zip(items) {
                    if let Some(reference) = reference(elements, item) {
                        found.raw_set(at, reference)?;
                    }
                    if let (Kind::Record(schema), Json::Object(record), Some(inner)) =
                        (&elements.kind, item, &inner)
                    {
                        add(lua, &inner.raw_get(at)?, record, schema)?;
                    }
                }
                put(&references, name, found)?;
            }
            (Kind::Map { values, .. }, Some(Json::Object(map))) => {
                let found = lua.create_table()?;
                for (key, item) in map {
                    if let Some(reference) = reference(values, item) {
                        found.raw_set(key.as_str(), reference)?;
                    }
                }
                put(&references, name, found)?;
            }
            _ => {}
        }
    }
    put(config, "$refs", references)
}

fn reference<'a>(field: &Field, value: &'a Json) -> Option<&'a str> {
    let text = value.as_str()?;
    (field.is(Flag::Referenceable) && is_reference(text)).then_some(text)
}

/// Sets a field to a table, if there is something in it.
fn put(table: &Table, name: &str, value: Table) -> mlua::Result<()> {
    if value.is_empty() { Ok(()) } else { table.raw_set(name, value) }
}
