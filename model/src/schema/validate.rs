//! Validation: whether values are of their fields' kinds and keep all rules.

use std::iter;
use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use super::check::{EntityCheck, Scope};
use super::defaults::Context;
use super::references::may_refer;
use super::template::Known;
use super::text::quoted;
use super::{Field, Flag, Kind, Rule, Schema, get_path, is_nonempty};
use crate::errors::Errors;
use crate::{Record, field, is_reference};

const REQUIRED: &str = "required field missing";

/// Texts that differ when an entity is changed in part.
pub(crate) struct Words {
    pub(crate) required_for_entity_check: &'static str,
    pub(crate) at_least_one_of: &'static str,
}

const WHOLE: Words = Words {
    required_for_entity_check: "field required for entity check",
    at_least_one_of: "at least one of these fields must be non-empty",
};

const UPDATING: Words = Words {
    required_for_entity_check: "field required for entity check when updating",
    at_least_one_of: "when updating, at least one of these fields must be non-empty",
};

impl Field {
    /// Checks a value.
    ///
    /// # Errors
    /// What is wrong with it: a text, a list, or a tree.
    pub fn check(&self, value: &Value) -> Result<(), Value> {
        Overlaid { field: self, condition: None }.check(value)
    }

    /// Checks an element, key or value of a table: these are never null.
    fn check_inside(&self, value: &Value) -> Result<(), Value> {
        match self.check(value) {
            Ok(()) if value.is_null() && !matches!(self.kind, Kind::Any | Kind::Json) => {
                Err(REQUIRED.into())
            }
            result => result,
        }
    }
}

/// A field as a condition sees it: what the condition says takes the place of what the field says.
/// Conditions are checked for every entity: nothing is copied.
#[derive(Clone, Copy)]
pub(crate) struct Overlaid<'a> {
    field: &'a Field,
    condition: Option<&'a Field>,
}

impl<'a> Overlaid<'a> {
    pub(crate) fn new(field: &'a Field, condition: &'a Field) -> Overlaid<'a> {
        Overlaid { field, condition: Some(condition) }
    }

    /// Checks a value.
    ///
    /// # Errors
    /// What is wrong with it: a text, a list, or a tree.
    pub(crate) fn check(self, value: &Value) -> Result<(), Value> {
        if value.is_null() {
            return self.check_null().map_err(Value::from);
        }
        // Of all rules it is the first.
        let first = match self.condition {
            None => self.field.rules().first(),
            Some(_) => self.rules().next(),
        };
        if matches!(first, Some(Rule::Eq(Value::Null))) {
            return Err(self.said_or("value must be null"));
        }
        if self.is(Flag::Abstract) {
            let text = "error in schema definition: abstract field was not specialized";
            return Err(text.into());
        }
        let (kind, elements) = self.kind();
        check_kind(kind, elements, value)?;
        if let Kind::String = kind
            && self.is(Flag::Referenceable)
            && value.as_str().is_some_and(is_reference)
        {
            return Ok(());
        }
        let checked = match self.condition {
            None => check_rules(kind, self.field.rules(), value),
            Some(_) => check_rules(kind, self.rules(), value),
        };
        checked.map_err(|error| self.said_or(&error))
    }

    fn check_null(self) -> Result<(), String> {
        for rule in self.rules() {
            match rule {
                Rule::Ne(Value::Null) => {
                    return Err(self.err().unwrap_or("value must not be null").to_owned());
                }
                Rule::Eq(wanted) if !wanted.is_null() => {
                    return Err(format!("value must be {}", super::text::show(wanted)));
                }
                _ => {}
            }
        }
        if self.is(Flag::Required) { Err(REQUIRED.to_owned()) } else { Ok(()) }
    }

    /// The kind, and what is asked of its elements in place of what the kind says.
    fn kind(self) -> (&'a Kind, Option<&'a Field>) {
        let own = &self.field.kind;
        match (own, self.condition.map(|condition| &condition.kind)) {
            (Kind::Array(_) | Kind::Set(_), Some(Kind::Partial { elements })) => {
                (own, elements.as_deref())
            }
            (_, None | Some(Kind::Partial { .. })) => (own, None),
            (_, Some(kind)) => (kind, None),
        }
    }

    /// The rules, in the order in which they are checked.
    fn rules(self) -> impl Iterator<Item = &'a Rule> {
        let over = self.condition.map_or(&[][..], Field::rules);
        let own = self.field.rules().iter();
        let mut own =
            own.filter(move |own| !over.iter().any(|other| other.rank() == own.rank())).peekable();
        let mut over = over.iter().peekable();
        iter::from_fn(move || match (own.peek(), over.peek()) {
            (Some(a), Some(b)) if b.rank() < a.rank() => over.next(),
            (Some(_), _) => own.next(),
            (None, _) => over.next(),
        })
    }

    fn is(self, flag: Flag) -> bool {
        let said = self.condition.and_then(|condition| condition.said(flag));
        said.or_else(|| self.field.said(flag)) == Some(true)
    }

    fn err(self) -> Option<&'a str> {
        let said = self.condition.and_then(|condition| condition.err.as_deref());
        said.or(self.field.err.as_deref())
    }

    fn said_or(self, error: &str) -> Value {
        self.err().unwrap_or(error).into()
    }
}

/// Checks a value by rules, in their order.
fn check_rules<'r>(
    kind: &Kind,
    rules: impl IntoIterator<Item = &'r Rule>,
    value: &Value,
) -> Result<(), String> {
    // An empty text is refused unless the schema says otherwise.
    let length = Rule::LenMin(1);
    let mut implied = matches!(kind, Kind::String);
    for rule in rules {
        if implied && rule.rank() >= length.rank() {
            if !matches!(rule, Rule::LenMin(_)) {
                length.check(value)?;
            }
            implied = false;
        }
        rule.check(value)?;
    }
    if implied { length.check(value) } else { Ok(()) }
}

fn check_kind(kind: &Kind, elements: Option<&Field>, value: &Value) -> Result<(), Value> {
    let expect = |right: bool, text: &str| if right { Ok(()) } else { Err(text.into()) };
    match kind {
        Kind::String => expect(value.is_string(), "expected a string"),
        Kind::Integer => {
            let whole = value.as_f64().is_some_and(|n| n.fract() == 0.0 && n.is_finite());
            expect(whole, "expected an integer")
        }
        Kind::Number => expect(value.is_number(), "expected a number"),
        Kind::Boolean => expect(value.is_boolean(), "expected a boolean"),
        Kind::Array(own) => check_list(elements.unwrap_or(own), value, "expected an array"),
        Kind::Set(own) => check_list(elements.unwrap_or(own), value, "expected a set"),
        Kind::Map { keys, values } => check_map(keys, values, value),
        Kind::Record(schema) => match table(value) {
            None => Err("expected a record".into()),
            Some(fields) => check_record(schema, fields),
        },
        Kind::Foreign { reference, .. } => check_foreign(reference, value),
        Kind::Function => expect(false, "expected a function"),
        Kind::Json | Kind::Any | Kind::Partial { .. } => Ok(()),
    }
}

/// A table of names: an empty list is one too, as Lua has no other tables. The items of other
/// lists are named by their positions.
pub(crate) fn table(value: &Value) -> Option<Record> {
    match value {
        Value::Object(fields) => Some(fields.clone()),
        Value::Array(list) => {
            let items = list.iter().enumerate();
            Some(items.map(|(i, item)| ((i + 1).to_string(), item.clone())).collect())
        }
        _ => None,
    }
}

fn check_list(elements: &Field, value: &Value, text: &str) -> Result<(), Value> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        Value::Object(fields) if fields.is_empty() => &[],
        _ => return Err(text.into()),
    };
    let mut errors: Vec<Value> = Vec::new();
    for (i, item) in list.iter().enumerate() {
        if let Err(error) = elements.check_inside(item) {
            errors.resize(i, Value::Null);
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Value::Array(errors)) }
}

fn check_map(keys: &Field, values: &Field, value: &Value) -> Result<(), Value> {
    match value {
        Value::Object(entries) => entries.iter().try_for_each(|(key, value)| {
            keys.check_inside(&Value::String(key.clone()))?;
            values.check_inside(value)
        }),
        Value::Array(list) => list.iter().enumerate().try_for_each(|(i, value)| {
            keys.check_inside(&json!(i + 1))?;
            values.check_inside(value)
        }),
        _ => Err("expected a map".into()),
    }
}

fn check_record(schema: &Schema, fields: Record) -> Result<(), Value> {
    let fields = schema.auto_fields(fields, Context::Insert).map_err(Value::from)?;
    schema.validate(&fields).map_err(Value::from)
}

/// A reference is the primary key of another entity. Where it is not, other fields that were sent
/// with it are checked as well.
fn check_foreign(reference: &str, value: &Value) -> Result<(), Value> {
    let empty = Record::new();
    let key = value.as_object().unwrap_or(&empty);
    let schema = crate::entities::schema(reference);
    let Err(errors) = schema.as_deref().unwrap_or(&FALLBACK).validate_primary_key(key) else {
        return Ok(());
    };
    if let (Some(schema), Value::Object(fields)) = (&schema, value)
        && let Err(errors) = schema.validate_change(fields, false, None, None)
    {
        return Err(errors.into());
    }
    Err(errors.into())
}

/// What is asked of references to schemas of plugins: a UUID as id.
static FALLBACK: LazyLock<Schema> =
    LazyLock::new(|| Schema::default().with_field("id", super::typedefs::uuid()));

impl Schema {
    /// Checks that a record has the primary key of an entity; other fields may be there.
    ///
    /// # Errors
    /// What is wrong with it, by field.
    pub fn validate_primary_key(&self, key: &Record) -> Result<(), Errors> {
        let mut errors = Errors::new();
        for name in &self.primary_key {
            let Some(field) = self.fields.get(name) else { continue };
            match key.get(name) {
                None | Some(Value::Bool(false)) => errors.set(name, "missing primary key"),
                Some(Value::Null) if field.is(Flag::Required) || field.is(Flag::Auto) => {
                    errors.set(name, REQUIRED);
                }
                Some(value) => {
                    if let Err(error) = field.check(value) {
                        errors.set(name, error);
                    }
                }
            }
        }
        errors.into_result()
    }

    /// Validates an entity: one that is whole (`full`), or one changed in part. `input` is what
    /// the client sent, `existing` the entity before the change.
    pub(crate) fn validate_change(
        &self,
        entity: &Record,
        full: bool,
        input: Option<&Record>,
        existing: Option<&Record>,
    ) -> Result<(), Errors> {
        self.validate_all(entity, full, [input, existing], None)
    }

    /// Validates a whole entity of which something is known.
    pub(super) fn validate_known(&self, entity: &Record, known: &Known<'_>) -> Result<(), Errors> {
        self.validate_all(entity, true, [None, None], Some(known))
    }

    fn validate_all(
        &self,
        entity: &Record,
        full: bool,
        [input, existing]: [Option<&Record>; 2],
        known: Option<&Known<'_>>,
    ) -> Result<(), Errors> {
        let subschema = self.subschema(entity);
        if subschema.is_none() {
            self.check_subschema(entity)?;
        }
        let mut errors = self.check_fields(entity, subschema, known);
        for (at, (name, own)) in self.fields.iter().enumerate() {
            if !known.is_some_and(|known| known.is_right(at))
                && special(subschema, name).unwrap_or(own).is(Flag::Required)
            {
                let value = field(entity, name);
                if value.map_or(full, Value::is_null) {
                    errors.set(name, REQUIRED);
                }
            }
        }
        // An update is merged with what was there, but says so in its texts.
        let words = if existing.is_some() { &UPDATING } else { &WHOLE };
        let refers = may_refer(entity);
        let scope = Scope { schema: self, subschema: None, entity, full, words, refers };
        let needed = |at, special| !known.is_some_and(|known| known.passes(at, special));
        for (at, check) in self.entity_checks.iter().enumerate() {
            if needed(at, false) {
                check.run(&scope, &mut errors);
            }
        }
        if let Some(subschema) = subschema {
            let scope = Scope { subschema: Some(subschema), ..scope };
            for (at, check) in subschema.entity_checks.iter().enumerate() {
                if needed(at, true) {
                    check.run(&scope, &mut errors);
                }
            }
        }
        let original = input.unwrap_or(entity);
        self.check_transformations(entity, original, existing, &mut errors);
        if let Some(subschema) = subschema {
            subschema.check_transformations(entity, original, existing, &mut errors);
        }
        errors.into_result()
    }

    /// Runs each check of several fields, of the subschema (`special`) or of the schema, as if
    /// nothing else were wrong: which fields it looks at, if it says nothing.
    pub(super) fn check_alone<'a>(
        &'a self,
        entity: &'a Record,
        subschema: Option<&'a Arc<Schema>>,
        special: bool,
    ) -> impl Iterator<Item = Option<impl Iterator<Item = &'a str>>> {
        let subschema = subschema.filter(|_| special).map(Arc::as_ref);
        let none: &[EntityCheck] = &[];
        let checks = match (special, subschema) {
            (false, _) => &*self.entity_checks,
            (true, Some(subschema)) => &*subschema.entity_checks,
            (true, None) => none,
        };
        let refers = may_refer(entity);
        let scope = Scope { schema: self, subschema, entity, full: true, words: &WHOLE, refers };
        checks.iter().map(move |check| {
            let mut errors = Errors::new();
            check.run(&scope, &mut errors);
            check.sources().filter(|_| errors.is_empty())
        })
    }

    /// Where a subschema is asked for, nothing else can be said of an entity without one.
    fn check_subschema(&self, entity: &Record) -> Result<(), Errors> {
        let Some(name) = &self.subschema_key else { return Ok(()) };
        let key = match entity.get(name) {
            None | Some(Value::Null) => return Err(Errors::of(name, REQUIRED)),
            Some(Value::Array(keys)) => keys.first().unwrap_or(&Value::Null),
            Some(key) => key,
        };
        let text = self.subschema_error.as_deref().unwrap_or("unknown type: %s");
        let key = if key.is_null() { "nil".to_owned() } else { super::text::show(key) };
        Err(Errors::of(name, text.replace("%s", &key)))
    }

    fn check_fields(
        &self,
        entity: &Record,
        subschema: Option<&Arc<Schema>>,
        known: Option<&Known<'_>>,
    ) -> Errors {
        let mut errors = Errors::new();
        for (at, (name, value)) in entity.iter().enumerate() {
            if name == "updated_at" || (name == "ttl" && self.ttl) {
                continue;
            }
            // Most entities have their fields in the order of the schema: no need to search.
            let own = match self.fields.get_index(at) {
                Some((own, _)) if own == name && known.is_some_and(|k| k.is_right(at)) => continue,
                Some((own, field)) if own == name => Some(field),
                _ => self.fields.get(name),
            };
            match own.map(|own| special(subschema, name).unwrap_or(own)) {
                None if name == "ttl" && self.ttl => {}
                None => errors.set(name, "unknown field"),
                Some(field) => {
                    if let Err(error) = field.check(value) {
                        errors.set(name, error);
                    }
                }
            }
        }
        errors
    }

    /// Whether the fields that a transformation takes were sent together.
    fn check_transformations(
        &self,
        entity: &Record,
        original: &Record,
        existing: Option<&Record>,
        errors: &mut Errors,
    ) {
        for transformation in &self.transformations {
            let sent = |path: &&String| is_nonempty(get_path(original, path));
            let any_sent = transformation.input.iter().any(|path| sent(&path));
            let changed = existing.is_some_and(|existing| {
                let mut needs = transformation.needs.iter();
                needs.any(|path| get_path(original, path) != get_path(existing, path))
            });
            if !changed && !any_sent {
                continue;
            }
            let all: Vec<&String> =
                transformation.input.iter().chain(&transformation.needs).collect();
            let source = if changed { original } else { entity };
            let input: Vec<&String> = transformation.input.iter().collect();
            for (source, list) in [(source, all), (original, input)] {
                let set = list.iter().filter(|path| is_nonempty(get_path(source, path))).count();
                if set != 0 && set != list.len() {
                    let list = quoted(&list);
                    errors.add_entity(format!("all or none of these fields must be set: {list}"));
                    break;
                }
            }
        }
    }

    /// Whether fields that cannot be changed are as they were; lists may differ in order.
    pub(crate) fn check_immutable(
        &self,
        changes: &Record,
        existing: &Record,
    ) -> Result<(), Errors> {
        let mut errors = Errors::new();
        for (name, field) in self.each_field(changes) {
            let (Some(new), Some(old)) = (changes.get(name), existing.get(name)) else { continue };
            if field.is(Flag::Immutable) && !same_in_any_order(new, old) {
                errors.set(name, "immutable field cannot be updated");
            }
        }
        errors.into_result()
    }
}

/// The field that a subschema has in place of its schema's. Subschemas of entities have few.
pub(crate) fn special<'a>(subschema: Option<&'a Arc<Schema>>, name: &str) -> Option<&'a Field> {
    let mut fields = subschema?.fields.iter();
    fields.find(|(other, _)| *other == name).map(|(_, field)| field)
}

fn same_in_any_order(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().all(|item| b.contains(item))
        }
        (a, b) => super::rule::same(a, b),
    }
}
