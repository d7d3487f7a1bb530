//! From the entities as they stand in a file to a flat set: what they refer to, and whether what
//! must be unique is (`validate_references` and `flatten` of
//! kong/db/schema/others/declarative_config.lua).

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use serde_json::Value;

use super::tree::{List, Node};
use crate::errors::Errors;
use crate::schema::Flag;
use crate::set::{Kind, unique_text};
use crate::{Record, field};

/// Entities of one kind by their keys, in the order of the file.
pub(crate) type Flat<'a> = IndexMap<&'a str, (&'a Kind, Records), RandomState>;

type Records = IndexMap<String, Record, RandomState>;

/// Takes checked entities out of one another.
pub(crate) fn resolve<'a>(lists: Vec<List<'a>>) -> Result<Flat<'a>, Errors> {
    let mut resolver = Resolver::default();
    resolver.take_lists(lists, None);
    resolver.check_references();
    if !resolver.errors.is_empty() {
        return Err(finish(resolver.errors));
    }
    resolver.fill_in();
    let mut flat = resolver.flat;
    for (_, (kind, records)) in &mut flat {
        // What is not stored stands for entities of its own.
        let fields = kind.schema.fields.iter().filter(|(_, field)| field.is(Flag::Transient));
        let transient: Vec<&String> = fields.map(|(name, _)| name).collect();
        if !transient.is_empty() {
            for record in records.values_mut() {
                record.retain(|name, _| !transient.contains(&name));
            }
        }
    }
    let errors = check_unique(&flat);
    if errors.is_empty() { Ok(flat) } else { Err(finish(errors)) }
}

/// Where a list stands: in which entity, by which field this one is referred to.
#[derive(Clone, Copy)]
struct Parent<'a> {
    kind: &'a str,
    at: usize,
    id: &'a str,
    field: &'a str,
}

/// A reference that must lead somewhere.
struct Expected<'a> {
    kind: &'a str,
    /// Which of its kind has it.
    index: usize,
    /// How errors name that.
    at: String,
    field: &'a str,
    value: Value,
    other: &'a str,
}

#[derive(Default)]
struct Resolver<'a> {
    flat: Flat<'a>,
    /// Keys by kind and unique name.
    keys: HashMap<&'a str, HashMap<String, String, RandomState>, RandomState>,
    expected: Vec<Expected<'a>>,
    errors: Record,
}

impl<'a> Resolver<'a> {
    fn take_lists(&mut self, lists: Vec<List<'a>>, parent: Option<Parent<'_>>) {
        for list in lists {
            for (i, mut node) in list.nodes.into_iter().enumerate() {
                let key = list.kind.key(&node.record);
                let kind = &list.kind.schema.name;
                for nested in std::mem::take(&mut node.lists) {
                    let field = nested.field.unwrap_or_default();
                    let parent = Parent { kind, at: i, id: &key, field };
                    self.take_lists(vec![nested], Some(parent));
                }
                self.take(node, key, i, parent);
            }
        }
    }

    fn take(&mut self, mut node: Node<'a>, key: String, i: usize, parent: Option<Parent<'_>>) {
        let schema = &node.kind.schema;
        let kind = schema.name.as_str();
        let name = schema
            .endpoint_key
            .as_deref()
            .filter(|name| schema.fields.get(*name).is_some_and(|field| field.is(Flag::Unique)));
        let name = name.and_then(|name| Some((name, field(&node.record, name)?.as_str()?)));
        let mut failed = false;
        if let Some((field, value)) = name {
            let keys = self.keys.entry(kind).or_default();
            if keys.contains_key(value) {
                let error = declared_already(kind, field, value);
                add(&mut self.errors, parent, kind, i, error);
                failed = true;
            } else {
                keys.insert(value.to_owned(), key.clone());
            }
        }
        let (_, records) = self.flat.entry(kind).or_insert_with(|| (node.kind, Records::default()));
        let index = records.len();
        for (field, other) in &node.kind.foreign {
            if let Some(value) = crate::field(&node.record, field).filter(|value| !value.is_null())
            {
                let at = name.map_or_else(|| key.clone(), |(_, value)| value.to_owned());
                let value = value.clone();
                self.expected.push(Expected { kind, index, at, field, value, other });
            }
        }
        if let Some(parent) = parent {
            node.record.insert(parent.field.to_owned(), super::reference(parent.id));
        }
        if !failed && records.contains_key(&key) {
            let error = declared_already(kind, "primary key", &key);
            add(&mut self.errors, parent, kind, i, error);
        } else {
            records.insert(key, node.record);
        }
    }

    /// Puts ids in place of the names that are references.
    fn fill_in(&mut self) {
        for Expected { kind, index, field, other, .. } in &self.expected {
            let records = self.flat.get_mut(kind).map(|(_, records)| records);
            let record = records.and_then(|records| records.get_index_mut(*index));
            let Some(value) = record.and_then(|(_, record)| record.get_mut(*field)) else {
                continue;
            };
            if let Value::String(name) = value {
                let id = self.keys.get(other).and_then(|keys| keys.get(name));
                *value = super::reference(id.unwrap_or(name));
            }
        }
    }

    fn check_references(&mut self) {
        for expected in &self.expected {
            let other = expected.other;
            let (found, shown) = match &expected.value {
                Value::String(name) => (Some(name.as_str()), name.clone()),
                value => (value.get("id").and_then(Value::as_str), value.to_string()),
            };
            let exists = found.is_some_and(|name| {
                self.keys.get(other).is_some_and(|keys| keys.contains_key(name))
                    || self.flat.get(other).is_some_and(|(_, records)| records.contains_key(name))
            });
            if exists {
                continue;
            }
            let field = expected.field;
            let error =
                format!("invalid reference '{field}: {shown}' (no such entry in '{other}')");
            within(&mut self.errors, expected.kind, |errors| {
                let list = errors.entry(&expected.at).or_insert_with(|| Value::Array(Vec::new()));
                match list {
                    Value::Array(list) => list.push(error.into()),
                    other => *other = Value::Array(vec![error.into()]),
                }
            });
        }
    }
}

/// Whether the values of unique fields are; keys and names are checked before.
fn check_unique(flat: &Flat<'_>) -> Record {
    let mut errors = Record::new();
    for (name, (kind, records)) in flat {
        let endpoint_key = kind.schema.endpoint_key.as_deref();
        for field in kind.unique_fields().filter(|field| Some(*field) != endpoint_key) {
            let mut seen = HashSet::with_capacity(records.len());
            for (key, record) in records {
                let Some(value) = crate::field(record, field).and_then(unique_text) else {
                    continue;
                };
                if seen.insert(value.clone()) {
                    continue;
                }
                let at = endpoint_key.and_then(|field| record.get(field)?.as_str()).unwrap_or(key);
                within(&mut errors, name, |errors| {
                    errors.insert(at.to_owned(), declared_already(name, field, &value).into());
                });
            }
        }
    }
    errors
}

fn declared_already(kind: &str, field: &str, value: &str) -> String {
    format!("uniqueness violation: '{kind}' entity with {field} set to '{value}' already declared")
}

/// Marks a name that is a position, until [`finish`] makes lists of tables of positions only.
const POSITION: char = '\0';

fn add(errors: &mut Record, parent: Option<Parent<'_>>, kind: &str, i: usize, error: String) {
    let position = format!("{POSITION}{i}");
    let set = |errors: &mut Record| {
        within(errors, kind, |errors| {
            errors.insert(position, error.into());
        });
    };
    match parent {
        None => set(errors),
        Some(parent) => within(errors, parent.kind, |errors| {
            within(errors, &format!("{POSITION}{}", parent.at), set);
        }),
    }
}

/// Sets errors inside of a name.
fn within(errors: &mut Record, name: &str, set: impl FnOnce(&mut Record)) {
    let inside = errors.entry(name).or_insert_with(|| Value::Object(Record::new()));
    if let Value::Object(inside) = inside {
        set(inside);
    }
}

fn finish(errors: Record) -> Errors {
    match listed(Value::Object(errors)) {
        Value::Object(errors) => Errors::from(errors),
        _ => Errors::new(),
    }
}

/// Tables of positions as lists; in tables of names and positions, these count from 1 as in Lua.
fn listed(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let position = |name: &str| name.strip_prefix(POSITION)?.parse::<usize>().ok();
    if !fields.is_empty() && fields.keys().all(|name| position(name).is_some()) {
        let mut list = Vec::new();
        for (name, error) in fields {
            let at = position(&name).unwrap_or_default();
            if list.len() <= at {
                list.resize(at + 1, Value::Null);
            }
            list[at] = listed(error);
        }
        return Value::Array(list);
    }
    let named = fields.into_iter().map(|(name, error)| {
        let name = position(&name).map_or(name, |at| (at + 1).to_string());
        (name, listed(error))
    });
    Value::Object(named.collect())
}
