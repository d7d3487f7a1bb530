//! The references to vaults in an entity: only fields that its schema marks may hold some.

use serde_json::Value;

use super::{Field, Flag, Kind, Schema};
use crate::{Record, is_reference};

/// Where a reference stands: the names of fields and, in lists and maps, a position (from 0) or a
/// key.
pub type Path<'a> = &'a [Step];

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A field of a record, or a key of a map.
    Name(String),
    /// A position in a list, from 0.
    At(usize),
}

/// Whether any text in a record looks like a reference, in whatever field.
pub fn may_refer(record: &Record) -> bool {
    fn any(value: &Value) -> bool {
        match value {
            Value::String(text) => is_reference(text),
            Value::Array(items) => items.iter().any(any),
            Value::Object(fields) => fields.values().any(any),
            _ => false,
        }
    }
    record.values().any(any)
}

impl Schema {
    /// Calls for each reference in a field that may hold one; what it gives takes its place.
    pub fn replace_references(
        &self,
        record: &mut Record,
        put: &mut dyn FnMut(Path<'_>, &str) -> Option<String>,
    ) {
        self.walk(record, &mut Vec::new(), put);
    }

    fn walk(
        &self,
        record: &mut Record,
        path: &mut Vec<Step>,
        put: &mut dyn FnMut(Path<'_>, &str) -> Option<String>,
    ) {
        for (name, field) in &self.fields {
            if let Some(value) = record.get_mut(name) {
                path.push(Step::Name(name.clone()));
                walk_field(field, value, path, put);
                path.pop();
            }
        }
    }
}

fn walk_field(
    field: &Field,
    value: &mut Value,
    path: &mut Vec<Step>,
    put: &mut dyn FnMut(Path<'_>, &str) -> Option<String>,
) {
    match (&field.kind, value) {
        (Kind::Record(schema), Value::Object(record)) => schema.walk(record, path, put),
        (Kind::Array(elements) | Kind::Set(elements), Value::Array(items)) => {
            for (at, item) in items.iter_mut().enumerate() {
                path.push(Step::At(at));
                walk_field(elements, item, path, put);
                path.pop();
            }
        }
        (Kind::Map { values, .. }, Value::Object(map)) => {
            for (key, item) in map.iter_mut() {
                path.push(Step::Name(key.clone()));
                walk_field(values, item, path, put);
                path.pop();
            }
        }
        (Kind::String, Value::String(text))
            if field.is(Flag::Referenceable) && is_reference(text) =>
        {
            if let Some(new) = put(path, text) {
                *text = new;
            }
        }
        _ => {}
    }
}

/// A path as errors write it: `config.redis.password`, `config.headers.a`, `config.list[1]`.
pub fn dotted(path: Path<'_>) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Name(name) if text.is_empty() => text.push_str(name),
            Step::Name(name) => text = format!("{text}.{name}"),
            Step::At(at) => text = format!("{text}[{}]", at + 1),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        let secret = || Field::string().with(Flag::Referenceable, true);
        let inner = Schema::named("inner").with_field("deep", secret());
        let inner = inner.with_field("plain", Field::string());
        let list = Field::array(Field::record(Schema::named("of").with_field("x", secret())));
        Schema::named("test")
            .with_field("name", Field::string())
            .with_field("secret", secret())
            .with_field("list", Field::array(secret()))
            .with_field("map", Field::map(Field::string(), secret()))
            .with_field("inner", Field::record(inner))
            .with_field("inners", list)
    }

    #[test]
    fn only_marked_fields_refer() {
        let text = "{vault://env/a}";
        let record = json!({
            "name": text, "secret": text, "list": ["b", text], "map": {"k": text},
            "inner": {"deep": text, "plain": text}, "inners": [{"x": text}], "unknown": text,
        });
        let mut record = record.as_object().cloned().unwrap_or_default();
        let mut seen = Vec::new();
        schema().replace_references(&mut record, &mut |path, reference| {
            assert_eq!(reference, text);
            seen.push(dotted(path));
            Some("new".to_owned())
        });
        assert_eq!(seen, ["secret", "list[2]", "map.k", "inner.deep", "inners[1].x"]);
        let expect = json!({
            "name": text, "secret": "new", "list": ["b", "new"], "map": {"k": "new"},
            "inner": {"deep": "new", "plain": text}, "inners": [{"x": "new"}], "unknown": text,
        });
        assert_eq!(Value::Object(record), expect);
    }

    #[test]
    fn references_are_seen_without_a_schema() {
        let check = |value: Value, expect: bool| {
            let record = json!({ "a": value }).as_object().cloned().unwrap_or_default();
            assert_eq!(may_refer(&record), expect, "{record:?}");
        };
        check(json!("{vault://env/a}"), true);
        check(json!([{"b": ["x", "{vault://env/a}"]}]), true);
        check(json!("vault://env/a"), false);
        check(json!(null), false);
    }
}
