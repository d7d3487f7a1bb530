//! The schemas of a Lua plugin: what `schema.lua` and `daos.lua` say becomes a [`Schema`] like any
//! other. What it says by
//! functions is called back on the state of the thread that validates.

use std::{rc::Rc, sync::Arc};

use mlua::{Function, MultiValue, Table, Value};
use serde_json::Value as Json;
use silverback_model::{
    Record, entities as built_in,
    schema::{
        CustomCheck, EntityCheck, Field, Kind, Rule, Schema, Shorthand, Transformation, Validator,
    },
};

use crate::{bundled, convert, host::Shared, state::State};

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
    let source = Source { plugin: name.to_owned(), entity: None };
    Owner::new(Home::Host(shared.clone()), source).read(state, &table, &mut schema)?;
    bundled::describe(&mut schema);
    Ok(schema)
}

/// The kinds of entities that a plugin's `daos.lua` says: a list of schemas, or schemas by name.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn entities(
    shared: &Arc<Shared>,
    state: &State,
    plugin: &str,
) -> Result<Vec<Schema>, String> {
    let mut schemas = Vec::new();
    for (name, table) in definitions(state, plugin)? {
        let schema = entity(shared, state, plugin, &name, &table);
        schemas.push(schema.map_err(|error| format!("entity '{name}': {error}"))?);
    }
    Ok(schemas)
}

/// These kinds, if they can be beside the built-in ones and those that others have added.
///
/// # Errors
/// If a name is taken, or a field refers to what can't be referred to.
pub(crate) fn check_new(
    others: &[(String, Arc<Schema>)],
    schemas: Vec<Schema>,
) -> Result<Vec<Arc<Schema>>, String> {
    let new: Vec<Arc<Schema>> = schemas.into_iter().map(Arc::new).collect();
    let beside = || others.iter().map(|(_, schema)| schema).chain(built_in::schemas());
    for (i, schema) in new.iter().enumerate() {
        let name = &schema.name;
        let before = new.get(..i).unwrap_or_default();
        if beside().chain(before).any(|other| other.name == *name) {
            return Err(format!("entity '{name}': there is one of that name already"));
        }
        for (field, reference, _) in schema.foreign_fields() {
            let other = beside().chain(&new).find(|other| other.name == reference);
            let other = other.ok_or_else(|| {
                format!("entity '{name}': {field}: there are no '{reference}' to refer to")
            })?;
            if other.primary_key != ["id"] {
                let text = "only entities whose primary key is 'id' can be referred to";
                return Err(format!("entity '{name}': {field}: {text}"));
            }
        }
    }
    Ok(new)
}

fn entity(
    shared: &Arc<Shared>,
    state: &State,
    plugin: &str,
    name: &str,
    table: &Table,
) -> Result<Schema, String> {
    let json = convert::to_json(&Value::Table(table.clone()))?;
    let mut schema = Schema::for_entity(name, &json).map_err(|error| error.to_string())?;
    let source = Source { plugin: plugin.to_owned(), entity: Some(name.to_owned()) };
    Owner::new(Home::Host(shared.clone()), source).read(state, table, &mut schema)?;
    Ok(schema)
}

/// The schemas of `daos.lua` with their names.
fn definitions(state: &State, plugin: &str) -> Result<Vec<(String, Table)>, String> {
    let all: Value = state
        .require(&format!("kong.plugins.{plugin}.daos"))
        .map_err(|error| crate::raw::plain(&error))?;
    let Value::Table(all) = all else { return Err("it does not return a table".to_owned()) };
    let mut found = Vec::new();
    for pair in all.pairs::<Value, Table>() {
        let (key, table) = pair.map_err(|_| "expected a list of schemas".to_owned())?;
        let own: Option<String> = table.get("name").unwrap_or_default();
        let name = own.or_else(|| key.as_string().map(|key| key.to_string_lossy()));
        let place = match key {
            Value::Integer(n) => n,
            Value::Number(n) => convert::whole(n).unwrap_or(i64::MAX),
            _ => i64::MAX,
        };
        found.push((place, name.ok_or("a schema has no name")?, table));
    }
    // Lua gives tables in no order.
    found.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    Ok(found.into_iter().map(|(_, name, table)| (name, table)).collect())
}

/// Whose schema it is: a plugin's, or that of one of its entities.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    plugin: String,
    entity: Option<String>,
}

impl Source {
    /// Notes the functions of the schema in a state that has not read it yet.
    fn read(&self, shared: &Arc<Shared>, state: &State) -> Result<(), String> {
        match &self.entity {
            None => {
                let module = format!("kong.plugins.{}.schema", self.plugin);
                let table: Table = state.require(&module).map_err(|error| error.to_string())?;
                plugin(shared, state, &self.plugin, &table).map(drop)
            }
            Some(name) => {
                let all = definitions(state, &self.plugin)?;
                let found = all.iter().find(|(other, _)| other == name);
                let (_, table) =
                    found.ok_or_else(|| format!("daos.lua has no '{name}' any more"))?;
                entity(shared, state, &self.plugin, name, table).map(drop)
            }
        }
    }
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

/// A schema that Lua code has made itself. It holds in the state that it was made in; `number`
/// tells it from others there.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn own(state: &State, number: usize, table: &Table) -> Result<Schema, String> {
    let json = convert::to_json(&Value::Table(table.clone()))?;
    let name = json.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
    let mut schema = Schema::from_json(&name, &json).map_err(|error| error.to_string())?;
    let source = Source { plugin: String::new(), entity: Some(number.to_string()) };
    Owner::new(Home::Here(state.number), source).read(state, table, &mut schema)?;
    Ok(schema)
}

/// Where the functions of a schema are.
#[derive(Clone)]
enum Home {
    /// In the state of the thread, whichever it is.
    Host(Arc<Shared>),
    /// In the state of this number.
    Here(u64),
}

impl Home {
    fn state(&self) -> Result<Rc<State>, String> {
        match self {
            Home::Host(shared) => shared.state(),
            Home::Here(number) => State::of_number(*number)
                .ok_or_else(|| "the schema is used outside of its Lua state".to_owned()),
        }
    }
}

/// Whose functions are noted.
struct Owner {
    home: Home,
    source: Source,
    functions: Vec<Function>,
}

impl Owner {
    fn new(home: Home, source: Source) -> Owner {
        Owner { home, source, functions: Vec::new() }
    }

    /// Gives a schema its functions, and keeps them in the state.
    fn read(mut self, state: &State, table: &Table, schema: &mut Schema) -> Result<(), String> {
        self.schema(table, schema)?;
        self.transformations(table, schema)?;
        state.keep_functions(self.source, self.functions);
        Ok(())
    }

    fn transformations(&mut self, table: &Table, schema: &mut Schema) -> Result<(), String> {
        let Ok(list) = table.get::<Table>("transformations") else { return Ok(()) };
        for item in list.sequence_values::<Table>() {
            let item = item.map_err(|error| format!("transformations: {error}"))?;
            let names = |name: &str| match item.get::<Option<Vec<String>>>(name) {
                Ok(names) => Ok(names.unwrap_or_default()),
                Err(_) => Err(format!("transformations: {name}: expected a list of field names")),
            };
            let (input, needs) = (names("input")?, names("needs")?);
            if let Some(name) =
                input.iter().chain(&needs).find(|name| !has_field(schema, name.as_str()))
            {
                return Err(format!("transformations: there is no field '{name}'"));
            }
            let mut transformation = Transformation::of(input, needs);
            if let Ok(function) = item.get::<Function>("on_write") {
                let callback = self.note(function);
                transformation = transformation.writing(move |args| callback.transform(args));
            }
            if let Ok(function) = item.get::<Function>("on_read") {
                let callback = self.note(function);
                transformation = transformation.reading(move |args| callback.transform(args));
            }
            schema.transformations.push(transformation);
        }
        Ok(())
    }

    /// Notes a function: how it is called from any thread.
    fn note(&mut self, function: Function) -> Callback {
        self.functions.push(function);
        Callback {
            home: self.home.clone(),
            source: self.source.clone(),
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

/// Whether a field is there; what is inside of a reference is the other entity's to say.
fn has_field(schema: &Schema, path: &str) -> bool {
    let head = path.split('.').next().unwrap_or_default();
    let foreign = schema.fields.get(head).is_some_and(|f| matches!(f.kind, Kind::Foreign { .. }));
    foreign || schema.field(path).is_some()
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
    home: Home,
    source: Source,
    number: usize,
}

impl Callback {
    fn call(&self, args: &[Json]) -> Result<(Value, Value), String> {
        let state = self.home.state()?;
        let function = match state.function(&self.source, self.number) {
            Some(function) => function,
            None => {
                if let Home::Host(shared) = &self.home {
                    self.source.read(shared, &state)?;
                }
                let function = state.function(&self.source, self.number);
                function.ok_or_else(|| "the schema has changed since it was loaded".to_owned())?
            }
        };
        let args = args.iter().map(|arg| convert::to_lua_with_nulls(&state.lua, arg));
        let args: MultiValue = args.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        state.watched(|| function.call(args)).map_err(|error| {
            // Clients see it: they are told what is wrong, and not where.
            let text = crate::raw::plain(&error);
            text.lines().next().unwrap_or_default().to_owned()
        })
    }

    fn check(&self, value: &Json) -> Result<(), String> {
        let (ok, error) = self.call(std::slice::from_ref(value))?;
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
        let (fields, _) = self.call(std::slice::from_ref(value)).ok()?;
        convert::to_json(&fields).ok()?.as_object().cloned()
    }

    /// The fields that a transformation sets.
    fn transform(&self, args: &[Json]) -> Result<Record, String> {
        let (fields, error) = self.call(args)?;
        match (&fields, error) {
            (Value::Nil | Value::Boolean(false), Value::Nil) => Ok(Record::new()),
            (Value::Nil | Value::Boolean(false), error) => {
                Err(error.to_string().unwrap_or_default())
            }
            _ => match convert::to_json(&fields)? {
                Json::Object(fields) => Ok(fields),
                _ => Err("it did not give a table of fields".to_owned()),
            },
        }
    }
}
