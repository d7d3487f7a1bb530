//! Schemas as JSON: what plugin servers dump and what `/schemas/…` answers
//! (kong/api/api_helpers.lua, `schema_to_jsonable`).

use serde_json::{Map, Value, json};

use super::check::{Condition, Conditional, ConditionalAtLeastOneOf, CustomCheck, EntityCheck};
use super::rule::Rule;
use super::{Field, Flag, Kind, Schema, Shorthand};
use crate::Record;

/// The deepest nesting of a schema that is read.
const DEPTH_MAX: usize = 32;

/// Why JSON is no schema: where, and what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SchemaError(String);

impl SchemaError {
    pub(crate) fn new(text: impl Into<String>) -> SchemaError {
        SchemaError(text.into())
    }

    fn within(self, name: &str) -> SchemaError {
        SchemaError(format!("{name}: {}", self.0))
    }
}

impl Schema {
    /// Reads a schema: `{"fields": [{"name": {"type": …}}, …], "entity_checks": […]}`.
    ///
    /// # Errors
    /// If it is none; the error says which field is wrong.
    pub fn from_json(name: &str, json: &Value) -> Result<Schema, SchemaError> {
        schema(name, json, DEPTH_MAX)
    }

    /// What `/schemas/…` answers: fields and entity checks.
    pub fn to_json(&self) -> Value {
        let checks: Vec<Value> = self.entity_checks.iter().map(check_to_json).collect();
        json!({"entity_checks": checks, "fields": fields_to_json(&self.fields)})
    }
}

fn schema(name: &str, json: &Value, depth: usize) -> Result<Schema, SchemaError> {
    let depth = depth.checked_sub(1).ok_or_else(|| SchemaError::new("nested too deep"))?;
    let mut out = Schema::named(name);
    words(&mut out, json)?;
    let fields = json
        .get("fields")
        .ok_or_else(|| SchemaError::new("error in schema definition: no 'fields' table"))?;
    for (name, json) in entries(fields)? {
        let field = field(json, depth).map_err(|error| error.within(name))?;
        out.fields.insert(name.clone(), field);
    }
    for (name, arg) in entries(json.get("entity_checks").unwrap_or(&Value::Null))? {
        if let Some(check) = check(name, arg, depth).map_err(|error| error.within(name))? {
            out.entity_checks.push(check);
        }
    }
    for (name, json) in entries(json.get("shorthand_fields").unwrap_or(&Value::Null))? {
        let field = field(json, depth).map_err(|error| error.within(name))?;
        out.shorthand_fields.insert(name.clone(), Shorthand::renamed(field));
    }
    Ok(out)
}

/// What a schema says of the whole: as the schemas of Lua plugins' own entities do.
fn words(out: &mut Schema, json: &Value) -> Result<(), SchemaError> {
    let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
    let flag = |name: &str| json.get(name).and_then(Value::as_bool);
    let texts = |name: &str| match json.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(list) => serde_json::from_value::<Vec<String>>(list.clone())
            .map(Some)
            .map_err(|_| SchemaError::new("expected an array of field names").within(name)),
    };
    if let Some(key) = texts("primary_key")? {
        out.primary_key = key;
    }
    out.cache_key = texts("cache_key")?.unwrap_or_default();
    out.endpoint_key = text("endpoint_key");
    out.admin_api_name = text("admin_api_name");
    out.admin_api_nested_name = text("admin_api_nested_name");
    out.table_name = text("table_name");
    out.subschema_key = text("subschema_key");
    out.subschema_error = text("subschema_error");
    out.ttl = flag("ttl").unwrap_or(false);
    out.workspaceable = flag("workspaceable").unwrap_or(false);
    out.generate_admin_api = flag("generate_admin_api").unwrap_or(true);
    out.db_export = flag("db_export").unwrap_or(true);
    Ok(())
}

/// The entries of `[{"a": …}, {"b": …}]`; an empty Lua table comes as `{}`.
fn entries(list: &Value) -> Result<Vec<(&String, &Value)>, SchemaError> {
    let items = match list {
        Value::Null => return Ok(Vec::new()),
        Value::Object(fields) if fields.is_empty() => return Ok(Vec::new()),
        Value::Array(items) => items,
        _ => return Err(SchemaError::new("expected an array of tables with one key each")),
    };
    items
        .iter()
        .map(|item| match item {
            Value::Object(entry) if entry.len() == 1 => entry.iter().next(),
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or_else(|| SchemaError::new("expected a table with one key"))
}

/// Words that say what kind a field is, and are read with it.
const STRUCTURE: [&str; 10] = [
    "type",
    "elements",
    "keys",
    "values",
    "fields",
    "entity_checks",
    "shorthand_fields",
    "reference",
    "on_delete",
    "schema",
];

fn field(json: &Value, depth: usize) -> Result<Field, SchemaError> {
    let depth = depth.checked_sub(1).ok_or_else(|| SchemaError::new("nested too deep"))?;
    let words = json.as_object().ok_or_else(|| SchemaError::new("expected a table"))?;
    let mut out = Field::new(kind(words, depth)?);
    if let Some(text) = words.get("description").and_then(Value::as_str) {
        text.clone_into(&mut out.description);
    }
    for (name, arg) in words {
        let flag = Flag::ALL.into_iter().find(|flag| flag.name() == name);
        if STRUCTURE.contains(&name.as_str()) {
            continue;
        } else if let Some(flag) = flag {
            let yes = arg.as_bool().ok_or_else(|| SchemaError::new("expected a boolean"));
            out = out.with(flag, yes.map_err(|error| error.within(name))?);
        } else if name == "default" {
            out.default = Some(arg.clone());
        } else if name == "err" {
            out.err = arg.as_str().map(str::to_owned);
        } else if name == "deprecation" {
            out.deprecation = Some(arg.clone());
        } else if let Some(rule) = Rule::from_json(name, arg)? {
            out = out.rule(rule);
        } else {
            out.extra.insert(name.clone(), arg.clone());
        }
    }
    Ok(out)
}

fn kind(words: &Record, depth: usize) -> Result<Kind, SchemaError> {
    let part = |name: &str| {
        let json = words.get(name).ok_or_else(|| SchemaError::new("field required"));
        json.and_then(|json| field(json, depth)).map(Box::new).map_err(|error| error.within(name))
    };
    let name = words.get("type").and_then(Value::as_str);
    Ok(match name {
        Some("string") => Kind::String,
        Some("integer") => Kind::Integer,
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Boolean,
        Some("array") => Kind::Array(part("elements")?),
        Some("set") => Kind::Set(part("elements")?),
        Some("map") => Kind::Map { keys: part("keys")?, values: part("values")? },
        Some("record") => {
            let abstract_record = words.get("abstract") == Some(&Value::Bool(true));
            if abstract_record && !words.contains_key("fields") {
                return Ok(Kind::Record(Box::default()));
            }
            let json = Value::Object(words.clone());
            Kind::Record(Box::new(schema("", &json, depth)?))
        }
        Some("foreign") => Kind::Foreign {
            reference: words
                .get("reference")
                .and_then(Value::as_str)
                .ok_or_else(|| SchemaError::new("reference: field required"))?
                .to_owned(),
            on_delete: words.get("on_delete").and_then(Value::as_str).map(str::to_owned),
        },
        Some("json") => Kind::Json,
        Some("any") => Kind::Any,
        Some("function") => Kind::Function,
        Some(other) => return Err(SchemaError::new(format!("invalid type: {other}"))),
        None if words.contains_key("elements") => {
            Kind::Partial { elements: Some(part("elements")?) }
        }
        None => Kind::Partial { elements: None },
    })
}

fn check(name: &str, arg: &Value, depth: usize) -> Result<Option<EntityCheck>, SchemaError> {
    let texts = |value: &Value| -> Result<Vec<String>, SchemaError> {
        serde_json::from_value(value.clone())
            .map_err(|_| SchemaError::new("expected an array of field names"))
    };
    let get = |name: &str| arg.get(name).unwrap_or(&Value::Null);
    let text = |name: &str| get(name).as_str().map(str::to_owned);
    let named = |name: &str| text(name).ok_or_else(|| SchemaError::new(format!("{name}: missing")));
    let part = |name: &str| field(get(name), depth).map_err(|error| error.within(name));
    Ok(Some(match name {
        "at_least_one_of" => EntityCheck::AtLeastOneOf(texts(arg)?),
        "only_one_of" => EntityCheck::OnlyOneOf(texts(arg)?),
        "distinct" => EntityCheck::Distinct(texts(arg)?),
        "mutually_required" => EntityCheck::MutuallyRequired(texts(arg)?),
        "mutually_exclusive" => EntityCheck::MutuallyExclusive(texts(arg)?),
        "mutually_exclusive_sets" => {
            EntityCheck::MutuallyExclusiveSets(texts(get("set1"))?, texts(get("set2"))?)
        }
        "conditional" => EntityCheck::Conditional(Box::new(Conditional {
            if_field: named("if_field")?,
            if_match: part("if_match")?,
            then_field: named("then_field")?,
            then_match: part("then_match")?,
            then_err: text("then_err"),
        })),
        "conditional_at_least_one_of" => {
            let or_else = match get("else_match") {
                Value::Null => None,
                _ => Some(Condition {
                    matches: part("else_match")?,
                    at_least_one_of: texts(get("else_then_at_least_one_of"))?,
                    err: text("else_then_err"),
                }),
            };
            let then = Condition {
                matches: part("if_match")?,
                at_least_one_of: texts(get("then_at_least_one_of"))?,
                err: text("then_err"),
            };
            let if_field = named("if_field")?;
            EntityCheck::ConditionalAtLeastOneOf(Box::new(ConditionalAtLeastOneOf {
                if_field,
                then,
                or_else,
            }))
        }
        // The function itself is not in the JSON.
        "custom_entity_check" => {
            let sources = texts(get("field_sources"))?;
            let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
            let mut check = CustomCheck::new(&sources, |_| Ok(()));
            check.run_with_missing_fields = get("run_with_missing_fields").as_bool();
            check.run_with_invalid_fields = get("run_with_invalid_fields").as_bool();
            EntityCheck::Custom(check)
        }
        other => return Err(SchemaError::new(format!("unknown entity check: {other}"))),
    }))
}

fn fields_to_json(fields: &indexmap::IndexMap<String, Field>) -> Value {
    let entry = |(name, field): (&String, &Field)| json!({name: field_to_json(field)});
    fields.iter().map(entry).collect()
}

fn field_to_json(field: &Field) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    if let Some(name) = field.kind.name() {
        put("type", name.into());
    }
    match &field.kind {
        Kind::Array(elements) | Kind::Set(elements) => put("elements", field_to_json(elements)),
        Kind::Partial { elements: Some(elements) } => put("elements", field_to_json(elements)),
        Kind::Map { keys, values } => {
            put("keys", field_to_json(keys));
            put("values", field_to_json(values));
        }
        Kind::Foreign { reference, on_delete } => {
            put("reference", reference.as_str().into());
            if let Some(action) = on_delete {
                put("on_delete", action.as_str().into());
            }
        }
        Kind::Record(_) if field.is(Flag::Abstract) => {}
        Kind::Record(schema) => {
            put("fields", fields_to_json(&schema.fields));
            if !schema.entity_checks.is_empty() {
                put("entity_checks", schema.entity_checks.iter().map(check_to_json).collect());
            }
            if !schema.shorthand_fields.is_empty() {
                let entries = schema.shorthand_fields.iter();
                let entry =
                    |(name, old): (&String, &Shorthand)| json!({name: field_to_json(&old.field)});
                put("shorthand_fields", entries.map(entry).collect());
            }
        }
        _ => {}
    }
    for (flag, yes) in field.flags() {
        put(flag.name(), (*yes).into());
    }
    for rule in field.rules() {
        if let Some(arg) = rule.to_json() {
            put(rule.name(), arg);
        }
    }
    let words = [
        ("default", field.default.clone()),
        ("err", field.err.clone().map(Value::from)),
        ("deprecation", field.deprecation.clone()),
    ];
    for (name, value) in words {
        if let Some(value) = value {
            put(name, value);
        }
    }
    for (name, value) in &field.extra {
        put(name, value.clone());
    }
    Value::Object(out)
}

fn check_to_json(check: &EntityCheck) -> Value {
    let mut arg = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            arg.insert(name.to_owned(), value);
        }
    };
    match check {
        EntityCheck::AtLeastOneOf(list)
        | EntityCheck::OnlyOneOf(list)
        | EntityCheck::Distinct(list)
        | EntityCheck::MutuallyRequired(list)
        | EntityCheck::MutuallyExclusive(list) => return json!({(check.name()): list}),
        EntityCheck::MutuallyExclusiveSets(one, other) => {
            put("set1", Some(json!(one)));
            put("set2", Some(json!(other)));
        }
        EntityCheck::Conditional(conditional) => {
            put("if_field", Some(json!(conditional.if_field)));
            put("if_match", Some(field_to_json(&conditional.if_match)));
            put("then_field", Some(json!(conditional.then_field)));
            put("then_match", Some(field_to_json(&conditional.then_match)));
            put("then_err", conditional.then_err.clone().map(Value::from));
        }
        EntityCheck::ConditionalAtLeastOneOf(conditional) => {
            let then = &conditional.then;
            put("if_field", Some(json!(conditional.if_field)));
            put("if_match", Some(field_to_json(&then.matches)));
            put("then_at_least_one_of", Some(json!(then.at_least_one_of)));
            put("then_err", then.err.clone().map(Value::from));
            if let Some(other) = &conditional.or_else {
                put("else_match", Some(field_to_json(&other.matches)));
                put("else_then_at_least_one_of", Some(json!(other.at_least_one_of)));
                put("else_then_err", other.err.clone().map(Value::from));
            }
        }
        EntityCheck::Custom(custom) => {
            put("field_sources", Some(json!(custom.field_sources)));
            put("run_with_missing_fields", custom.run_with_missing_fields.map(Value::from));
            put("run_with_invalid_fields", custom.run_with_invalid_fields.map(Value::from));
        }
    }
    json!({(check.name()): arg})
}
