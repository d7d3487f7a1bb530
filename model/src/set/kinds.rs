//! The kinds of entities that there can be, and how they refer to each other.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;
use uuid::{Uuid, uuid};

use super::collection::reference;
use crate::Record;
use crate::entities;
use crate::schema::{Field, Flag, Kind as FieldKind, Rule, Schema};

/// The kinds of entities that a node knows: what is built in, with the plugins and vaults that it
/// has, and what its plugins add. Each stands after those that it refers to.
#[derive(Debug, Clone)]
pub struct Kinds {
    kinds: IndexMap<String, Kind>,
}

/// A kind of entity.
#[derive(Debug, Clone)]
pub struct Kind {
    /// The schema; that of plugins has a subschema for each plugin there is.
    pub schema: Arc<Schema>,
    /// Which kinds refer to this one.
    pub children: Vec<Child>,
    /// The fields that refer to other entities: their names, the others' schemas.
    pub(crate) foreign: Vec<(String, String)>,
    /// Whether an entity without an id gets a UUID.
    pub(crate) id_is_made: bool,
    /// The name space of the ids that follow from names.
    pub(crate) namespace: Uuid,
    /// The schema at the top of a declarative file, where references are texts.
    pub(crate) flat: Schema,
    /// The schema inside of another entity in a declarative file, which says what it refers to.
    pub(crate) nested: Schema,
}

/// The name space of the name spaces of kinds (kong/db/schema/others/declarative_config.lua).
const NAMESPACE: Uuid = uuid!("fd02801f-0957-4a15-a55a-c8d9606f30b5");

/// A kind that refers to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The name of its schema.
    pub kind: String,
    /// Which of its fields refers to the other.
    pub field: String,
}

impl Kinds {
    /// The built-in kinds, with the schemas of these plugins by name
    /// ([`Schema::plugin`] or [`Schema::for_plugin`]).
    pub fn bundled(plugins: impl IntoIterator<Item = (String, Arc<Schema>)>) -> Kinds {
        Kinds::new(entities::schemas().iter().cloned()).subschemas("plugins", plugins)
    }

    /// The kinds of these schemas; of those with the same name, the last stays.
    pub fn new(schemas: impl IntoIterator<Item = Arc<Schema>>) -> Kinds {
        let schemas: IndexMap<String, Arc<Schema>> =
            schemas.into_iter().map(|schema| (schema.name.clone(), schema)).collect();
        let mut kinds = Kinds { kinds: IndexMap::with_capacity(schemas.len()) };
        for schema in schemas.values() {
            kinds.add(schema, &schemas);
        }
        kinds.relate();
        kinds
    }

    /// These kinds with another, or with another schema of the same name.
    pub fn with(self, schema: impl Into<Arc<Schema>>) -> Kinds {
        self.and([schema.into()])
    }

    /// These kinds with others.
    pub fn and(self, others: impl IntoIterator<Item = Arc<Schema>>) -> Kinds {
        let schemas = self.kinds.into_values().map(|kind| kind.schema);
        Kinds::new(schemas.chain(others))
    }

    /// These kinds, one of them with subschemas: the plugins of `plugins`, the vaults of `vaults`.
    pub fn subschemas(
        self,
        kind: &str,
        subschemas: impl IntoIterator<Item = (String, Arc<Schema>)>,
    ) -> Kinds {
        let Some(kind) = self.get(kind) else { return self };
        let mut schema = Schema::clone(&kind.schema);
        for (name, subschema) in subschemas {
            schema.add_subschema(&name, subschema);
        }
        self.with(schema)
    }

    /// The kind of this name.
    pub fn get(&self, name: &str) -> Option<&Kind> {
        self.kinds.get(name)
    }

    /// All kinds, each after those that it refers to.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Kind> {
        self.kinds.values()
    }

    fn add(&mut self, schema: &Arc<Schema>, schemas: &IndexMap<String, Arc<Schema>>) {
        if self.kinds.contains_key(&schema.name) {
            return;
        }
        // Put in first, so that a circle ends.
        self.kinds.insert(schema.name.clone(), Kind::new(schema));
        for (_, other, _) in schema.foreign_fields() {
            if let Some(other) = schemas.get(other) {
                self.add(other, schemas);
            }
        }
        if let Some(kind) = self.kinds.shift_remove(&schema.name) {
            self.kinds.insert(schema.name.clone(), kind);
        }
    }

    fn relate(&mut self) {
        let references: Vec<(String, Child)> = self
            .iter()
            .flat_map(|kind| {
                kind.schema.foreign_fields().map(|(field, other, _)| {
                    let child = Child { kind: kind.schema.name.clone(), field: field.to_owned() };
                    (other.to_owned(), child)
                })
            })
            .collect();
        for (other, child) in references {
            if let Some(kind) = self.kinds.get_mut(&other) {
                kind.children.push(child);
            }
        }
    }
}

impl Kind {
    fn new(schema: &Arc<Schema>) -> Kind {
        let (mut flat, mut nested) = (Schema::clone(schema), Schema::clone(schema));
        for (field, _, _) in schema.foreign_fields() {
            if let Some(field) = flat.fields.get_mut(field) {
                field.kind = FieldKind::String;
            }
            if let Some(field) = nested.fields.get_mut(field) {
                let plain = std::mem::replace(field, Field::partial());
                *field = plain.with(Flag::Required, false).eq(Value::Null);
                field.default = None;
            }
        }
        let foreign = schema.foreign_fields();
        let foreign =
            foreign.map(|(field, other, _)| (field.to_owned(), other.to_owned())).collect();
        let id = match schema.primary_key.as_slice() {
            [name] => schema.fields.get(name),
            _ => None,
        };
        let is_uuid = |field: &Field| field.rules().iter().any(|rule| matches!(rule, Rule::Uuid));
        Kind {
            schema: Arc::clone(schema),
            children: Vec::new(),
            foreign,
            id_is_made: id.is_some_and(is_uuid),
            namespace: Uuid::new_v5(&NAMESPACE, schema.name.as_bytes()),
            flat,
            nested,
        }
    }

    /// The primary key of an entity; several fields are joined by `:`.
    pub fn key(&self, record: &Record) -> String {
        joined(&self.schema.primary_key, record)
    }

    /// The values of the schema's `cache_key`, joined by `:`; null is an empty text.
    pub fn cache_key(&self, record: &Record) -> String {
        joined(&self.schema.cache_key, record)
    }

    /// The fields of which no two entities have the same value.
    pub fn unique_fields(&self) -> impl Iterator<Item = &str> {
        let fields = self.schema.fields.iter().filter(|(_, field)| field.is(Flag::Unique));
        fields.map(|(name, _)| name.as_str())
    }

    /// Which field of the child refers to this kind, if lists of such children can stand in
    /// entities of this kind. Where the field of their name is stored, it is not such a list.
    pub(crate) fn nests(&self, child: &str) -> Option<&str> {
        let found = self.children.iter().rfind(|other| other.kind == child)?;
        let own = self.schema.fields.get(child);
        if own.is_some_and(|field| !field.is(Flag::Transient)) {
            return None;
        }
        Some(&found.field)
    }
}

fn joined(fields: &[String], record: &Record) -> String {
    let mut key = String::new();
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            key.push(':');
        }
        match crate::field(record, field) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => key.push_str(text),
            Some(value) => match reference(value) {
                Some(id) => key.push_str(id),
                None => key.push_str(&value.to_string()),
            },
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_follows_references() {
        let kinds = Kinds::bundled([]);
        let names: Vec<&str> = kinds.iter().map(|kind| kind.schema.name.as_str()).collect();
        for kind in kinds.iter() {
            for (_, other, _) in kind.schema.foreign_fields() {
                let at = |name: &str| names.iter().position(|other| *other == name);
                assert!(at(other) < at(&kind.schema.name), "{other}, {}", kind.schema.name);
            }
        }
    }

    #[test]
    fn children_know_their_field() {
        let kinds = Kinds::bundled([]);
        let field =
            |parent: &str, child: &str| kinds.get(parent).and_then(|kind| kind.nests(child));
        assert_eq!(field("services", "routes"), Some("service"));
        assert_eq!(field("upstreams", "targets"), Some("upstream"));
        // The names that a certificate is for are no stored field, but entities.
        assert_eq!(field("certificates", "snis"), Some("certificate"));
        assert_eq!(field("routes", "services"), None);
        // A list of ids, not of certificates.
        assert_eq!(field("services", "ca_certificates"), None);
    }
}
