//! The schema of a Lua plugin: `schema.lua` becomes a [`Schema`] like any other's. What it says by
//! functions is called back on the state of the thread that validates.

use std::sync::Arc;

use mlua::{Function, Table, Value};
use serde_json::Value as Json;
use silverback_model::{
    Record,
    schema::{CustomCheck, EntityCheck, Field, Kind, Rule, Schema, Shorthand, Validator},
};

use crate::{convert, host::Shared, state::State};

/// Turns schemas in the form of Kong 0.14 into today's.
const LEGACY: &str = include_str!("schema/legacy.lua");

/// The schema that a plugin's `schema.lua` says.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn plugin(
    shared: &Arc<Shared>,
    state: &State,
    name: &str,
    table: &Table,
) -> Result<Schema, String> {
    let table = modern(state, table)?;
    let json = convert::to_json(&Value::Table(table.clone()))?;
    let mut schema =
        Schema::for_plugin(name, &json).map_err(|error| format!("bad schema: {error}"))?;
    let mut owner = Owner { shared, name, functions: Vec::new() };
    owner.schema(&table, &mut schema)?;
    state.keep_functions(name, owner.functions);
    Ok(schema)
}

/// The functions of a plugin's schema, in the order in which they stand there.
///
/// # Errors
/// If the schema can't be loaded.
pub(crate) fn functions(shared: &Arc<Shared>, state: &State, name: &str) -> Result<(), String> {
    let module = format!("kong.plugins.{name}.schema");
    let table: Table = state.require(&module).map_err(|error| error.to_string())?;
    plugin(shared, state, name, &table).map(|_| ())
}

/// A schema in today's form.
fn modern(state: &State, table: &Table) -> Result<Table, String> {
    let fields = table.get::<Value>("fields").unwrap_or(Value::Nil);
    let legacy = match &fields {
        Value::Table(fields) => fields.raw_len() == 0 && !fields.is_empty(),
        _ => false,
    } || table.contains_key("no_consumer").unwrap_or(false);
    if !legacy {
        return Ok(table.clone());
    }
    let chunk = state.lua.load(LEGACY).set_name("=[silverback] legacy schema");
    chunk.call::<Table>(table).map_err(|error| crate::raw::plain(&error))
}

/// Whose functions are noted.
struct Owner<'a> {
    shared: &'a Arc<Shared>,
    name: &'a str,
    functions: Vec<Function>,
}

impl Owner<'_> {
    /// Notes a function: how it is called from any thread.
    fn note(&mut self, function: Function) -> Callback {
        self.functions.push(function);
        Callback {
            shared: self.shared.clone(),
            plugin: self.name.to_owned(),
            number: self.functions.len() - 1,
        }
    }

    fn schema(&mut self, table: &Table, schema: &mut Schema) -> Result<(), String> {
        let fields = entries(table, "fields")?;
        for (name, words) in fields {
            if let Some(field) = schema.fields.get_mut(&name) {
                self.field(&words, field)?;
            }
        }
        for (name, words) in entries(table, "shorthand_fields")? {
            if let Ok(function) = words.get::<Function>("func") {
                let callback = self.note(function);
                if let Some(shorthand) = schema.shorthand_fields.get_mut(&name) {
                    let field = shorthand.field.clone();
                    *shorthand = Shorthand::new(field, move |value| callback.expand(value));
                }
            }
        }
        let checks = entries(table, "entity_checks")?;
        for ((name, words), check) in checks.into_iter().zip(&mut schema.entity_checks) {
            if name == "custom_entity_check"
                && let EntityCheck::Custom(known) = check
                && let Ok(function) = words.get::<Function>("fn")
            {
                let sources: Vec<&str> = known.field_sources.iter().map(String::as_str).collect();
                let callback = self.note(function);
                let mut custom =
                    CustomCheck::new(&sources, move |entity| callback.check_record(entity));
                custom.run_with_missing_fields = known.run_with_missing_fields;
                custom.run_with_invalid_fields = known.run_with_invalid_fields;
                *check = EntityCheck::Custom(custom);
            }
        }
        Ok(())
    }

    fn field(&mut self, words: &Table, field: &mut Field) -> Result<(), String> {
        match &mut field.kind {
            Kind::Record(schema) => self.schema(words, schema)?,
            Kind::Array(elements) | Kind::Set(elements) => {
                if let Ok(words) = words.get::<Table>("elements") {
                    self.field(&words, elements)?;
                }
            }
            Kind::Map { keys, values } => {
                for (name, part) in [("keys", keys), ("values", values)] {
                    if let Ok(words) = words.get::<Table>(name) {
                        self.field(&words, part)?;
                    }
                }
            }
            _ => {}
        }
        // An empty table of Lua's is a list where the field is one.
        let is_list = matches!(field.kind, Kind::Array(_) | Kind::Set(_));
        if is_list && field.default.as_ref().and_then(Json::as_object).is_some_and(Record::is_empty)
        {
            field.default = Some(Json::Array(Vec::new()));
        }
        if let Ok(function) = words.get::<Function>("custom_validator") {
            let callback = self.note(function);
            let rule = Rule::Custom(Validator::new(move |value| callback.check(value)));
            let plain = std::mem::replace(field, Field::boolean());
            *field = plain.rule(rule);
        }
        Ok(())
    }
}

/// The entries of `{ { a = {…} }, { b = {…} } }`; those that are no tables have nothing to say.
fn entries(table: &Table, name: &str) -> Result<Vec<(String, Table)>, String> {
    let Ok(list) = table.get::<Table>(name) else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for item in list.sequence_values::<Table>() {
        let item = item.map_err(|error| format!("{name}: {error}"))?;
        for pair in item.pairs::<String, Value>() {
            let (key, words) = pair.map_err(|error| format!("{name}: {error}"))?;
            let words = words.as_table().cloned().unwrap_or(item.clone());
            entries.push((key, words));
        }
    }
    Ok(entries)
}

/// A function of a schema, called on whatever thread validates.
struct Callback {
    shared: Arc<Shared>,
    plugin: String,
    number: usize,
}

impl Callback {
    fn call(&self, value: &Json) -> Result<(Value, Value), String> {
        let state = self.shared.state()?;
        let function = match state.function(&self.plugin, self.number) {
            Some(function) => function,
            None => {
                functions(&self.shared, &state, &self.plugin)?;
                let function = state.function(&self.plugin, self.number);
                function.ok_or_else(|| "the schema has changed since it was loaded".to_owned())?
            }
        };
        let value = convert::to_lua_with_nulls(&state.lua, value).map_err(|e| e.to_string())?;
        function.call(value).map_err(|error| crate::raw::plain(&error))
    }

    fn check(&self, value: &Json) -> Result<(), String> {
        let (ok, error) = self.call(value)?;
        match ok {
            Value::Nil | Value::Boolean(false) => Err(match error {
                Value::String(text) => text.to_string_lossy(),
                Value::Nil => "validation failed".to_owned(),
                other => other.to_string().unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }

    fn check_record(&self, entity: &Record) -> Result<(), String> {
        self.check(&Json::Object(entity.clone()))
    }

    fn expand(&self, value: &Json) -> Option<Record> {
        let (fields, _) = self.call(value).ok()?;
        convert::to_json(&fields).ok()?.as_object().cloned()
    }
}
