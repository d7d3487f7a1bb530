//! What the gateway fills in: ids, times, defaults (`process_auto_fields`).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};
use uuid::Uuid;

use super::rule::{Rule, same};
use super::validate::{special, table};
use super::{Field, Flag, Kind, Schema, Shorthand};
use crate::Record;
use crate::errors::Errors;

/// When fields are filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    /// A new entity: everything.
    Insert,
    /// Changes of an entity: what is absent stays absent.
    Update,
    /// An entity out of the store, to be shown: what schemas have got since it was written, and old
    /// names beside new ones.
    Select,
    /// An entity out of the store, to be used: what schemas have got since it was written.
    Stored,
}

/// What is kept beside the fields of a schema.
const BESIDE: [&str; 2] = [crate::WORKSPACE, "ttl"];

impl Schema {
    /// Spreads shorthand fields, and fills in what is absent. Fields come out in the order of the
    /// schema; unknown ones come last, or not at all out of the store.
    pub(crate) fn auto_fields(&self, mut data: Record, context: Context) -> Result<Record, Errors> {
        self.spread_shorthands(&mut data)?;
        let subschema = self.subschema(&data).cloned();
        self.fill(data, subschema.as_ref(), context)
    }

    fn fill(
        &self,
        data: Record,
        subschema: Option<&Arc<Schema>>,
        context: Context,
    ) -> Result<Record, Errors> {
        let mut out = self.empty_record();
        let mut values: Vec<(String, Value)> = data.into_iter().collect();
        for (name, own) in &self.fields {
            // Few are sent: to compare their names costs less than to hash each.
            let place = values.iter().position(|(other, _)| other == name);
            let value = place.map(|place| values.remove(place).1);
            let field = special(subschema, name).unwrap_or(own);
            let value = field.auto_value(name, value, context);
            if let Some(value) = field.adjusted(value, context)? {
                out.insert(name.clone(), value);
            }
        }
        let mut values: Record = values.into_iter().collect();
        if context == Context::Select {
            let shown = |name: &str| {
                let shorthand = self.shorthand_fields.get(name);
                name == "ttl" && self.ttl
                    || shorthand.is_some_and(|shorthand| shorthand.replaced_with().is_some())
            };
            values.retain(|name, _| shown(name));
            if self.ttl {
                values.entry("ttl").or_insert(Value::Null);
            }
            self.unset_empty(&mut out);
            for (name, shorthand) in &self.shorthand_fields {
                if let Some(path) = shorthand.replaced_with()
                    && let Some(value) = super::get_path(&out, &path.join("."))
                {
                    values.insert(name.clone(), value.clone());
                }
            }
        }
        if context != Context::Stored {
            out.append(&mut values);
        }
        Ok(out)
    }

    /// An entity out of a store as the schema has it now ([`Field::completed`]); none if it is so
    /// already. What is kept beside the schema's fields stays.
    pub fn completed(&self, entity: &Record) -> Option<Record> {
        let plain = |field: &Field| {
            !matches!(
                field.kind,
                Kind::Record(_) | Kind::Array(_) | Kind::Set(_) | Kind::Map { .. }
            )
        };
        let same = self.fields.iter().all(|(name, field)| match entity.get(name) {
            Some(Value::Null) => !field.is(Flag::Required),
            Some(_) => plain(field),
            None => field.is(Flag::Transient),
        });
        if same {
            return None;
        }
        let mut completed = self.auto_fields(entity.clone(), Context::Stored).ok()?;
        completed.retain(|name, _| {
            entity.contains_key(name)
                || !self.fields.get(name).is_some_and(|field| field.is(Flag::Transient))
        });
        let beside = entity.iter().filter(|(name, _)| BESIDE.contains(&name.as_str()));
        completed.extend(beside.map(|(name, value)| (name.clone(), value.clone())));
        (completed != *entity).then_some(completed)
    }

    /// With room for one field more than the schema has, such as the workspace: growing later would
    /// copy all of it.
    pub(super) fn empty_record(&self) -> Record {
        Record::with_capacity(self.fields.len() + 1)
    }

    /// Texts that the schema does not allow to be empty are shown as not set.
    fn unset_empty(&self, out: &mut Record) {
        for (name, value) in out.iter_mut().filter(|(_, value)| *value == "") {
            let may_be_empty =
                |field: &Field| field.rules().iter().any(|rule| matches!(rule, Rule::LenMin(0)));
            let field = self.fields.get(name);
            if field.is_some_and(|f| matches!(f.kind, Kind::String) && !may_be_empty(f)) {
                *value = Value::Null;
            }
        }
    }

    pub(crate) fn spread_shorthands(&self, data: &mut Record) -> Result<(), Errors> {
        let mut errors = Errors::new();
        for (name, shorthand) in &self.shorthand_fields {
            let Some(value) = data.get(name).cloned() else { continue };
            if let Err(error) = shorthand.field.check(&value) {
                errors.set(name, error);
            } else if let Some(error) = shorthand.contradiction(name, &value, data) {
                errors.set(name, error);
            } else {
                data.shift_remove(name);
                if let Some(fields) = shorthand.expand(&value) {
                    let old = shorthand.field.deprecation.is_some();
                    fields.into_iter().for_each(|(name, value)| spread(data, name, value, old));
                }
            }
        }
        errors.into_result()
    }
}

/// Sets a field that a shorthand stands for. An old name gives way to the new one.
fn spread(data: &mut Record, name: String, value: Value, old: bool) {
    let current = data.get(&name).filter(|value| !value.is_null());
    match (value, current) {
        (Value::Object(fields), current) => {
            let source = current.and_then(table).unwrap_or_default();
            let merged = if old {
                let mut merged = fields;
                for (name, value) in source {
                    if !merged.contains_key(&name) || !value.is_null() {
                        merged.insert(name, value);
                    }
                }
                merged
            } else {
                let mut merged = source;
                merged.extend(fields);
                merged
            };
            data.insert(name, Value::Object(merged));
        }
        (value, current) => {
            if !old || current.is_none() {
                data.insert(name, value);
            }
        }
    }
}

impl Shorthand {
    /// Whether an old name and its new one are both sent and differ
    /// (`validate_deprecation_exclusiveness`).
    fn contradiction(&self, name: &str, value: &Value, data: &Record) -> Option<String> {
        if value.is_null() {
            return None;
        }
        let path = self.replaced_with()?.join(".");
        let new = super::get_path(data, &path).filter(|new| !new.is_null())?;
        if same(new, value) {
            return None;
        }
        Some(format!(
            "both deprecated and new field are used but their values mismatch: \
             {name} = {} vs {path} = {}",
            super::text::show(value),
            super::text::show(new),
        ))
    }
}

impl Field {
    /// A value out of a store as the schema has it now: fields that came since it was written have
    /// their defaults, those that are gone are left out, and old names are given up for new ones.
    /// What contradicts itself stays as it is.
    pub fn completed(&self, value: Value) -> Value {
        match self.adjusted(Some(value.clone()), Context::Stored) {
            Ok(Some(completed)) => completed,
            Ok(None) | Err(_) => value,
        }
    }

    /// What the gateway itself sets: ids, keys, times.
    pub(super) fn auto_value(
        &self,
        name: &str,
        value: Option<Value>,
        context: Context,
    ) -> Option<Value> {
        if matches!(context, Context::Select | Context::Stored) || !self.is(Flag::Auto) {
            return value;
        }
        let new = context == Context::Insert;
        if self.rules().iter().any(|rule| matches!(rule, Rule::Uuid)) {
            return value.or_else(|| new.then(|| Uuid::new_v4().to_string().into()));
        }
        if let Kind::String = self.kind {
            return value.or_else(|| new.then(|| random_string().into()));
        }
        let created = name == "created_at" && new && value.as_ref().is_none_or(Value::is_null);
        if created || name == "updated_at" { self.now().or(value) } else { value }
    }

    fn now(&self) -> Option<Value> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        match self.kind {
            Kind::Integer => Some(now.as_secs().into()),
            Kind::Number => {
                let seconds = now.as_millis() as f64 / 1000.0;
                Number::from_f64(seconds).map(Value::Number)
            }
            _ => None,
        }
    }

    /// A value with what is absent inside of it filled in; `None` if it stays absent.
    pub(super) fn adjusted(
        &self,
        value: Option<Value>,
        context: Context,
    ) -> Result<Option<Value>, Errors> {
        if matches!(context, Context::Select | Context::Stored)
            && value.as_ref().is_some_and(Value::is_null)
            && self.is(Flag::Required)
        {
            return self.missing(Some(Value::Null));
        }
        if self.is(Flag::Abstract) {
            return Ok(value);
        }
        if let Kind::Record(schema) = &self.kind {
            return self.adjusted_record(schema, value, context);
        }
        let value = match value {
            Some(value) => Some(self.adjusted_inside(value, context)?),
            None => None,
        };
        if value.is_none() && context != Context::Update { self.missing(None) } else { Ok(value) }
    }

    fn adjusted_record(
        &self,
        schema: &Schema,
        value: Option<Value>,
        context: Context,
    ) -> Result<Option<Value>, Errors> {
        let recurse = match &value {
            Some(value) => !value.is_null(),
            None => context != Context::Update && self.is(Flag::Required),
        };
        let value = if recurse && value.is_none() { self.missing(None)? } else { value };
        match value {
            Some(value) if recurse => match table(&value) {
                Some(fields) => Ok(Some(schema.auto_fields(fields, context)?.into())),
                None => Ok(Some(value)),
            },
            None if context != Context::Update => self.missing(None),
            value => Ok(value),
        }
    }

    fn adjusted_inside(&self, value: Value, context: Context) -> Result<Value, Errors> {
        let inside = |elements: &Field, value: Value| {
            Ok::<_, Errors>(elements.adjusted(Some(value), context)?.unwrap_or_default())
        };
        match (&self.kind, value) {
            // An empty Lua table is a list too.
            (Kind::Array(_) | Kind::Set(_), Value::Object(fields)) if fields.is_empty() => {
                Ok(Value::Array(Vec::new()))
            }
            (Kind::Map { .. }, Value::Array(list)) if list.is_empty() => Ok(Record::new().into()),
            (Kind::Array(elements), Value::Array(list)) => {
                list.into_iter().map(|item| inside(elements, item)).collect()
            }
            (Kind::Set(elements), Value::Array(list)) => {
                let mut items: Vec<Value> = Vec::with_capacity(list.len());
                for item in list {
                    if item.is_object() || !items.iter().any(|other| same(other, &item)) {
                        items.push(item);
                    }
                }
                items.into_iter().map(|item| inside(elements, item)).collect()
            }
            (Kind::Map { values, .. }, Value::Object(entries)) => entries
                .into_iter()
                .map(|(key, value)| Ok((key, inside(values, value)?)))
                .collect::<Result<Record, _>>()
                .map(Value::Object),
            (Kind::Integer | Kind::Number, Value::Number(n)) => Ok(Value::Number(whole(n))),
            (_, value) => Ok(value),
        }
    }

    /// The value of an absent field (`handle_missing_field`).
    fn missing(&self, value: Option<Value>) -> Result<Option<Value>, Errors> {
        if let Some(default) = &self.default {
            return Ok(Some(default.clone()));
        }
        if self.is(Flag::Nilable) {
            return Ok(value);
        }
        if !self.is(Flag::Required) {
            return Ok(Some(Value::Null));
        }
        match &self.kind {
            Kind::Record(schema) if !self.is(Flag::Abstract) => {
                Ok(Some(schema.auto_fields(Record::new(), Context::Insert)?.into()))
            }
            // Required: refused later on.
            _ => Ok(None),
        }
    }
}

/// A whole number without a fraction, as Lua writes it.
fn whole(n: Number) -> Number {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match n.as_f64() {
        Some(float) if n.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT_MAX => {
            Number::from(float as i64)
        }
        _ => n,
    }
}

/// 32 letters and digits that nobody can guess (kong/tools/rand.lua).
fn random_string() -> String {
    let mut bytes = [0; 24];
    let rng = ring::rand::SystemRandom::new();
    if ring::rand::SecureRandom::fill(&rng, &mut bytes).is_err() {
        // Without a source of randomness, UUIDs fail as well.
        return Uuid::new_v4().simple().to_string();
    }
    let replace = |c| match c {
        '/' => 'S',
        '+' => 'p',
        c => c,
    };
    STANDARD.encode(bytes).chars().map(replace).collect()
}
