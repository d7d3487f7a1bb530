//! Errors of a declarative file as a list by entity, for `flatten_errors=1` (kong/db/errors.lua,
//! `flatten_errors`).

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{ENTITY, Errors};
use crate::Record;
use crate::schema::Schema;

/// Takes the errors of entities out of the tree and lists them, each with its entity. What cannot
/// be told of an entity stays in the tree. `input` is the file, `schemas` are those of all kinds.
pub fn flatten(errors: &mut Errors, input: &Record, schemas: &[Arc<Schema>]) -> Vec<Value> {
    let mut flattener = Flattener { schemas, out: Vec::new() };
    let sections: Vec<String> = errors.fields().keys().cloned().collect();
    for section in sections {
        let Some(Value::Array(entities)) = input.get(&section) else { continue };
        let Some(Value::Array(wrong)) = errors.get(&section) else { continue };
        let wrong = wrong.clone();
        let mut left: Vec<Value> = Vec::new();
        for (i, error) in wrong.into_iter().enumerate().filter(|(_, error)| !error.is_null()) {
            match entities.get(i) {
                Some(Value::Object(entity)) => flattener.entity(&section, entity.clone(), error),
                _ => {
                    left.resize(i, Value::Null);
                    left.push(error);
                }
            }
        }
        errors.remove(&section);
        if !left.is_empty() {
            errors.set(&section, left);
        }
    }
    flattener.out
}

struct Flattener<'a> {
    schemas: &'a [Arc<Schema>],
    out: Vec<Value>,
}

impl Flattener<'_> {
    /// Lists the errors of one entity; those of entities within it come first.
    fn entity(&mut self, kind: &str, mut entity: Record, errors: Value) {
        let mut errors = match errors {
            Value::String(text) => Record::from_iter([(ENTITY.to_owned(), text.into())]),
            Value::Object(errors) => errors,
            _ => return,
        };
        let key = primary_key(&entity);
        self.parents(kind, &mut entity, &mut errors);
        self.children(kind, key.as_ref(), &mut entity, &mut errors);
        let mut list = Vec::new();
        categorize(&Value::Object(errors), "", &mut list);
        if list.is_empty() {
            return;
        }
        let mut item = json!({
            "entity_type": kind.strip_suffix('s').unwrap_or(kind),
            "errors": list,
        });
        let name = entity.get("name").filter(|name| name.as_str().is_some_and(|n| !n.is_empty()));
        let tags = entity
            .get("tags")
            .filter(|tags| tags.as_array().is_some_and(|tags| tags.iter().all(Value::is_string)));
        let id = key.as_ref().and_then(|key| key.get("id"));
        for (word, value) in [("entity_name", name), ("entity_id", id), ("entity_tags", tags)] {
            if let Some(value) = value {
                item[word] = value.clone();
            }
        }
        item["entity"] = Value::Object(entity);
        self.out.push(item);
    }

    /// Entities written in place of references to them.
    fn parents(&mut self, kind: &str, entity: &mut Record, errors: &mut Record) {
        let Some(schema) = self.schemas.iter().find(|schema| schema.name == kind).cloned() else {
            return;
        };
        for (field, reference, _) in schema.foreign_fields() {
            let Some(Value::Object(parent)) = entity.get(field) else { continue };
            let parent = parent.clone();
            match primary_key(&parent) {
                Some(key) => entity.insert(field.to_owned(), key.into()),
                None => entity.shift_remove(field),
            };
            if let Some(error) = errors.shift_remove(field) {
                self.entity(reference, parent, error);
            }
        }
    }

    /// Entities written within the one that they refer to.
    fn children(
        &mut self,
        kind: &str,
        key: Option<&Record>,
        entity: &mut Record,
        errors: &mut Record,
    ) {
        for schema in self.schemas {
            let mut fields = schema.foreign_fields();
            let Some((field, ..)) = fields.find(|(_, reference, _)| *reference == kind) else {
                continue;
            };
            if !entity.get(&schema.name).is_some_and(Value::is_array) {
                continue;
            }
            let items = entity.shift_remove(&schema.name);
            let (Some(Value::Array(items)), Some(Value::Array(wrong))) =
                (items, errors.shift_remove(&schema.name))
            else {
                continue;
            };
            for (item, error) in items.into_iter().zip(wrong) {
                let Value::Object(mut item) = item else { continue };
                if let Some(key) = key {
                    item.entry(field).or_insert_with(|| key.clone().into());
                }
                self.entity(&schema.name, item, error);
            }
        }
    }
}

fn primary_key(entity: &Record) -> Option<Record> {
    let id = entity
        .get("id")
        .filter(|id| id.as_str().is_some_and(|id| id.len() == 36 && Uuid::try_parse(id).is_ok()))?;
    Some(Record::from_iter([("id".to_owned(), id.clone())]))
}

/// Lists the errors of a tree, each with the dotted name of its field.
fn categorize(errors: &Value, path: &str, out: &mut Vec<Value>) {
    let join = |name: &str| {
        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
    };
    match errors {
        Value::String(text) => {
            out.push(json!({"type": "field", "field": path, "message": text}));
        }
        Value::Array(list) => {
            for (i, error) in list.iter().enumerate() {
                categorize(error, &join(&(i + 1).to_string()), out);
            }
        }
        Value::Object(fields) => {
            for (name, error) in super::sorted(fields) {
                match error {
                    Value::String(text) if name == ENTITY => {
                        out.push(json!({"type": "entity", "message": text}));
                    }
                    Value::Array(list) if name == ENTITY => out
                        .extend(list.iter().map(|text| json!({"type": "entity", "message": text}))),
                    error => categorize(error, &join(name), out),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &Value) -> Record {
        value.as_object().cloned().unwrap_or_default()
    }

    fn check(input: &Value, errors: &Value, left: &Value, expect: &Value) {
        let mut errors = Errors::from(record(errors));
        let found = flatten(&mut errors, &record(input), crate::entities::schemas());
        assert_eq!(&Value::from(found), expect);
        assert_eq!(&Value::from(errors), left);
    }

    #[test]
    fn entities_bear_their_errors() {
        check(
            &json!({"services": [
                {"name": "bad", "port": -1, "tags": ["t1"], "colour": "red"},
                {"name": "good"},
            ]}),
            &json!({"services": [{"colour": "unknown field", "port": "too small"}]}),
            &json!({}),
            &json!([{
                "errors": [
                    {"type": "field", "field": "colour", "message": "unknown field"},
                    {"type": "field", "field": "port", "message": "too small"},
                ],
                "entity_type": "service",
                "entity_name": "bad",
                "entity_tags": ["t1"],
                "entity": {"name": "bad", "port": -1, "tags": ["t1"], "colour": "red"},
            }]),
        );
    }

    #[test]
    fn nested_entities_stand_by_themselves() {
        let id = "00000000-0000-4000-8000-000000000104";
        check(
            &json!({"services": [
                {"name": "s", "id": id, "routes": [{"name": "r", "protocols": ["gopher"]}]},
            ]}),
            &json!({"services": [
                {"routes": [{"protocols": ["expected one of: http"], "@entity": ["no path"]}]},
            ]}),
            &json!({}),
            &json!([{
                "errors": [
                    {"type": "entity", "message": "no path"},
                    {"type": "field", "field": "protocols.1", "message": "expected one of: http"},
                ],
                "entity_type": "route",
                "entity_name": "r",
                "entity": {"name": "r", "protocols": ["gopher"], "service": {"id": id}},
            }]),
        );
    }

    #[test]
    fn other_errors_stay() {
        let errors = json!({"servicez": "unknown field", "services": [null, "expected a record"]});
        let left = json!({"servicez": "unknown field", "services": [null, "expected a record"]});
        check(&json!({"services": [{}, "text"]}), &errors, &left, &json!([]));
    }
}
