//! Whether the entities of a file keep the rules of their schemas (`flatten` and what it calls in
//! kong/db/schema/others/declarative_config.lua).
//!
//! There are two passes. In the first, references are texts, and entities inside of others say
//! nothing of what they refer to. Rules that look at references may fail so: only then a second
//! pass fills them in.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::tree::{List, Node, is_note, kind_of_list};
use crate::Record;
use crate::errors::Errors;
use crate::schema::{Field, Schema, Templates};
use crate::set::Kinds;

const MUST_BE_NULL: &str = "value must be null";

/// Checks a file, and fills in the defaults of its entities.
pub(crate) fn check(kinds: &Kinds, file: &Record, lists: &mut [List<'_>]) -> Result<(), Errors> {
    let mut plain = check_file(kinds, file);
    let mut templates = Templates::default();
    check_lists(lists, None, &mut plain, &mut |node, parent| {
        let kind = node.kind;
        let schema = if parent.is_none() { &kind.flat } else { &kind.nested };
        let sent = std::mem::take(&mut node.record);
        let (record, checked) = schema.new_like(sent, &mut templates);
        node.record = record;
        checked
    });
    if plain.is_empty() {
        return Ok(());
    }
    let names = Names::of(lists);
    let mut full = check_file(kinds, file);
    check_lists(lists, None, &mut full, &mut |node, parent| {
        let input = names.resolve(node, parent);
        let schema = &node.kind.schema;
        schema.validate(&schema.defaults(input)?)
    });
    if full.is_empty() {
        return Ok(());
    }
    let mut errors = Value::from(full);
    if let Some(null) = only_null(&plain.into()) {
        merge(&mut errors, null);
    }
    match errors {
        Value::Object(errors) => Err(Errors::from(errors)),
        _ => Ok(()),
    }
}

/// What stands at the top of a file beside the lists of entities.
fn check_file(kinds: &Kinds, file: &Record) -> Errors {
    let mut errors = Errors::new();
    let fields = file_fields();
    for (name, field) in &fields {
        let value = file.get(*name).unwrap_or(&Value::Null);
        if let Err(error) = field.check(value) {
            errors.set(name, error);
        }
    }
    for name in file.keys() {
        let known = fields.iter().any(|(field, _)| field == name);
        if !known && kind_of_list(kinds, name).is_none() {
            errors.set(name, "unknown field");
        }
    }
    errors
}

fn file_fields() -> [(&'static str, Field); 4] {
    let [comment, ignore] = note_fields();
    [
        ("_format_version", Field::string().required().one_of(["1.1", "2.1", "3.0"])),
        ("_transform", Field::boolean()),
        comment,
        ignore,
    ]
}

fn note_fields() -> [(&'static str, Field); 2] {
    [("_comment", Field::string()), ("_ignore", Field::array(Field::new(crate::schema::Kind::Any)))]
}

/// What is called for each entity, with the field that refers to its parent and the parent's id.
type CheckNode<'f> = dyn FnMut(&mut Node<'_>, Option<Parent<'_>>) -> Result<(), Errors> + 'f;

#[derive(Clone, Copy)]
struct Parent<'a> {
    field: &'a str,
    id: Option<&'a str>,
}

fn check_lists(
    lists: &mut [List<'_>],
    parent: Option<&str>,
    errors: &mut Errors,
    check: &mut CheckNode<'_>,
) {
    for list in lists {
        if let Err(error) = check_list(list, parent, check) {
            errors.set(&list.kind.schema.name, error);
        }
    }
}

fn check_list(
    list: &mut List<'_>,
    parent: Option<&str>,
    check: &mut CheckNode<'_>,
) -> Result<(), Value> {
    match list.value {
        Value::Null | Value::Array(_) => {}
        Value::Object(fields) if fields.is_empty() => {}
        _ => return Err("expected an array".into()),
    }
    let parent = list.field.map(|field| Parent { field, id: parent });
    let mut errors = Vec::new();
    for (i, node) in list.nodes.iter_mut().enumerate() {
        if let Err(error) = check_node(node, parent, check) {
            errors.resize(i, Value::Null);
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Value::Array(errors)) }
}

fn check_node(
    node: &mut Node<'_>,
    parent: Option<Parent<'_>>,
    check: &mut CheckNode<'_>,
) -> Result<(), Value> {
    match node.item {
        Value::Object(_) | Value::Array(_) => {}
        Value::Null => return Err("required field missing".into()),
        _ => return Err("expected a record".into()),
    }
    let mut errors = check(node, parent).err().unwrap_or_default();
    if let Value::Object(fields) = node.item
        && fields.keys().any(|name| is_note(name))
    {
        for (name, field) in note_fields() {
            if let Err(error) = field.check(fields.get(name).unwrap_or(&Value::Null)) {
                errors.set(name, error);
            }
        }
    }
    let id = node.id.clone();
    check_lists(&mut node.lists, id.as_deref(), &mut errors, check);
    if errors.is_empty() { Ok(()) } else { Err(errors.into()) }
}

/// What references can mean: the ids of all entities, by kind and name.
struct Names {
    ids: HashMap<String, HashSet<String>>,
    keys: HashMap<String, HashMap<String, String>>,
}

impl Names {
    fn of(lists: &[List<'_>]) -> Names {
        let mut names = Names { ids: HashMap::new(), keys: HashMap::new() };
        names.add(lists);
        names
    }

    fn add(&mut self, lists: &[List<'_>]) {
        for list in lists {
            let schema: &Schema = &list.kind.schema;
            for node in &list.nodes {
                self.add(&node.lists);
                let Some(id) = &node.id else { continue };
                self.ids.entry(schema.name.clone()).or_default().insert(id.clone());
                let key = schema.endpoint_key.as_ref().and_then(|key| node.item.get(key)?.as_str());
                if let Some(key) = key {
                    let keys = self.keys.entry(schema.name.clone()).or_default();
                    keys.entry(key.to_owned()).or_insert_with(|| id.clone());
                }
            }
        }
    }

    fn find<'a>(&'a self, kind: &str, name: &'a str) -> Option<&'a str> {
        let by_key = self.keys.get(kind).and_then(|keys| keys.get(name)).map(String::as_str);
        by_key.or_else(|| self.ids.get(kind)?.get(name).map(String::as_str))
    }

    /// The fields of an entity with what they refer to in place of names.
    fn resolve(&self, node: &Node<'_>, parent: Option<Parent<'_>>) -> Record {
        let mut input = node.input();
        if let Some(Parent { field, id: Some(id) }) = parent
            && !input.contains_key(field)
        {
            input.insert(field.to_owned(), super::reference(id));
        }
        for (field, other, _) in node.kind.schema.foreign_fields() {
            if let Some(value) = input.get_mut(field)
                && let Some(id) = value.as_str().and_then(|name| self.find(other, name))
            {
                *value = super::reference(id);
            }
        }
        input
    }
}

/// The errors of references that must not be there: these hold whatever the second pass says.
fn only_null(errors: &Value) -> Option<Value> {
    match errors {
        Value::String(text) => (text == MUST_BE_NULL).then(|| errors.clone()),
        Value::Array(list) => {
            let list: Vec<Value> =
                list.iter().map(|error| only_null(error).unwrap_or_default()).collect();
            list.iter().any(|error| !error.is_null()).then_some(Value::Array(list))
        }
        Value::Object(fields) => {
            let fields: Record = fields
                .iter()
                .filter_map(|(name, error)| Some((name.clone(), only_null(error)?)))
                .collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        _ => None,
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, error) in from {
                merge(into.entry(name).or_insert(Value::Null), error);
            }
        }
        (Value::Array(into), Value::Array(from)) => {
            let length = into.len().max(from.len());
            into.resize(length, Value::Null);
            into.iter_mut().zip(from).for_each(|(into, from)| merge(into, from));
        }
        (_, Value::Null) => {}
        (into, from) => *into = from,
    }
}
