//! Kong's schema language: what an entity or a configuration is made of, what is asked of its
//! values, and how it is shown (kong/db/schema/init.lua).
//!
//! A [`Schema`] comes from a struct ([`HasSchema`], by derive), from the JSON of a plugin server
//! ([`Schema::from_json`]) or from the builder methods. [`Schema::process`] makes a whole entity
//! of what a client sent, or says what is wrong with it.

mod check;
mod defaults;
mod entity;
mod field;
mod foreign;
mod json;
mod merge;
mod pattern;
mod plugin;
pub mod references;
mod rule;
mod template;
pub(crate) mod text;
pub mod typedefs;
mod types;
mod validate;
pub mod values;

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use crate::Record;
use crate::errors::Errors;

pub use check::{Condition, Conditional, ConditionalAtLeastOneOf, CustomCheck, EntityCheck};
pub use field::{Field, Flag, Kind};
pub use foreign::NamedReference;
pub use json::SchemaError;
pub use pattern::{Pattern, PatternError};
pub use rule::{Meant, Rule, Validator};
/// JSON as a value, for the code that the derives make.
#[doc(hidden)]
pub use serde_json::json as json_value;
pub(crate) use template::Templates;
pub use types::{EntityName, FieldType, HasSchema};

/// What an entity, a plugin's configuration or a nested record is made of.
#[derive(Debug, Clone)]
pub struct Schema {
    /// The name; records have none.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// The fields in order.
    pub fields: IndexMap<String, Field>,
    /// What is asked of several fields together.
    pub entity_checks: Vec<EntityCheck>,
    /// Fields that are not stored but spread over others.
    pub shorthand_fields: IndexMap<String, Shorthand>,
    /// Fields that are made of others.
    pub transformations: Vec<Transformation>,
    /// The fields that name an entity.
    pub primary_key: Vec<String>,
    /// The unique field that can name an entity in a path.
    pub endpoint_key: Option<String>,
    /// The fields that are unique together, or by which an entity is cached.
    pub cache_key: Vec<String>,
    /// Whether an entity may have a time to live.
    pub ttl: bool,
    /// Whether an entity belongs to a workspace.
    pub workspaceable: bool,
    /// The collection's name in paths, where it is not the schema's.
    pub admin_api_name: Option<String>,
    /// The collection's name in paths below another entity.
    pub admin_api_nested_name: Option<String>,
    /// Whether the Admin API has it.
    pub generate_admin_api: bool,
    /// Whether exports have it.
    pub db_export: bool,
    /// The table's name, where it is not the schema's.
    pub table_name: Option<String>,
    /// The field whose value chooses a subschema.
    pub subschema_key: Option<String>,
    /// What to say where there is no such subschema; `%s` is the value.
    pub subschema_error: Option<String>,
    /// Fields and checks for some values of the subschema key.
    pub subschemas: IndexMap<String, Arc<Schema>>,
}

impl Default for Schema {
    fn default() -> Schema {
        Schema {
            name: String::new(),
            description: String::new(),
            fields: IndexMap::new(),
            entity_checks: Vec::new(),
            shorthand_fields: IndexMap::new(),
            transformations: Vec::new(),
            primary_key: vec!["id".to_owned()],
            endpoint_key: None,
            cache_key: Vec::new(),
            ttl: false,
            workspaceable: false,
            admin_api_name: None,
            admin_api_nested_name: None,
            generate_admin_api: true,
            db_export: true,
            table_name: None,
            subschema_key: None,
            subschema_error: None,
            subschemas: IndexMap::new(),
        }
    }
}

/// What a schema is used for, which decides on defaults and on what may be absent.
#[derive(Debug, Clone, Copy)]
pub enum Mode<'a> {
    /// A new entity.
    Insert,
    /// An entity that is new or takes the place of one.
    Upsert,
    /// Changes of this entity.
    Update(&'a Record),
    /// An entity out of the store, to be shown: with every field, null where it is not set.
    Select,
}

impl Schema {
    /// Makes a whole entity of an input: spreads shorthand fields, fills in ids, times and
    /// defaults, makes lists sets, validates, and transforms.
    ///
    /// Whether references lead to something, and whether unique fields are unique, is for the
    /// store to say.
    ///
    /// # Errors
    /// Everything that is wrong with it, by field.
    pub fn process(&self, input: Record, mode: Mode<'_>) -> Result<Record, Errors> {
        match mode {
            Mode::Select => {
                let entity = self.transform_read(input)?;
                self.auto_fields(entity, defaults::Context::Select)
            }
            Mode::Insert | Mode::Upsert => {
                let entity = self.auto_fields(input.clone(), defaults::Context::Insert)?;
                self.validate_change(&entity, true, Some(&input), None)?;
                self.finish(entity, &input)
            }
            Mode::Update(existing) => {
                let changes = self.auto_fields(input.clone(), defaults::Context::Update)?;
                self.check_immutable(&changes, existing)?;
                let entity = self.merge(changes, existing);
                self.validate_change(&entity, false, Some(&input), Some(existing))?;
                self.finish(entity, &input)
            }
        }
    }

    /// Transforms a valid entity. Shorthand fields that are fields as well, such as an upstream's
    /// `hash_on`, have their say over the whole of it.
    fn finish(&self, entity: Record, input: &Record) -> Result<Record, Errors> {
        let mut entity = self.transform(entity, input)?;
        if self.shorthand_fields.keys().any(|name| self.fields.contains_key(name)) {
            self.spread_shorthands(&mut entity)?;
        }
        Ok(entity)
    }

    /// Fills in ids, times and defaults, as [`process`](Schema::process) does before it validates.
    ///
    /// # Errors
    /// If a shorthand field is wrong.
    pub fn defaults(&self, input: Record) -> Result<Record, Errors> {
        self.auto_fields(input, defaults::Context::Insert)
    }

    /// Fills in what the gateway fills in of changes: the time of the change, and what is absent
    /// inside of what is sent.
    ///
    /// # Errors
    /// If a shorthand field is wrong.
    pub fn changes(&self, input: Record) -> Result<Record, Errors> {
        self.auto_fields(input, defaults::Context::Update)
    }

    /// Validates a whole entity, without changing it.
    ///
    /// # Errors
    /// Everything that is wrong with it, by field.
    pub fn validate(&self, entity: &Record) -> Result<(), Errors> {
        self.validate_change(entity, true, None, None)
    }

    /// The subschema that an entity chooses: by its subschema key's value, or by the first of
    /// several that has one.
    pub fn subschema(&self, entity: &Record) -> Option<&Arc<Schema>> {
        match crate::field(entity, self.subschema_key.as_ref()?)? {
            Value::String(key) => self.subschemas.get(key),
            Value::Array(keys) => {
                let mut keys = keys.iter().filter_map(Value::as_str);
                keys.find_map(|key| self.subschemas.get(key))
            }
            _ => None,
        }
    }

    /// The field of this name; names with dots go into records: `config.redis.host`.
    pub fn field(&self, path: &str) -> Option<&Field> {
        let Some((head, tail)) = path.split_once('.') else { return self.fields.get(path) };
        self.fields.get(head)?.as_record()?.field(tail)
    }

    /// The fields of an entity: its subschema's in place of its own.
    pub fn each_field<'a>(
        &'a self,
        entity: &'a Record,
    ) -> impl Iterator<Item = (&'a String, &'a Field)> {
        let subschema = self.subschema(entity);
        self.fields.iter().map(move |(name, field)| {
            let special = subschema.and_then(|schema| schema.fields.get(name));
            (name, special.unwrap_or(field))
        })
    }

    /// References to other entities: field name, the other's schema, whether deleting the other
    /// deletes this.
    pub fn foreign_fields(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        self.fields.iter().filter_map(|(name, field)| match &field.kind {
            Kind::Foreign { reference, on_delete } => {
                Some((name.as_str(), reference.as_str(), on_delete.as_deref() == Some("cascade")))
            }
            _ => None,
        })
    }

    /// The fields of an entity that name it.
    pub fn primary_key_of(&self, entity: &Record) -> Record {
        let fields = self.primary_key.iter();
        fields.filter_map(|name| Some((name.clone(), entity.get(name)?.clone()))).collect()
    }

    /// The collection's name in the Admin API's paths.
    pub fn collection(&self) -> &str {
        self.admin_api_name.as_deref().unwrap_or(&self.name)
    }
}

/// Builder methods, which the derives use: each is a word of the schema language.
impl Schema {
    /// A schema without fields.
    pub fn named(name: &str) -> Schema {
        Schema { name: name.to_owned(), ..Schema::default() }
    }

    /// Adds a field.
    pub fn with_field(mut self, name: &str, field: Field) -> Schema {
        self.fields.insert(name.to_owned(), field);
        self
    }

    /// Adds a check of several fields.
    pub fn check(mut self, check: EntityCheck) -> Schema {
        self.entity_checks.push(check);
        self
    }

    /// Adds a subschema for a value of the subschema key. Where there is one, it is replaced.
    pub fn add_subschema(&mut self, key: &str, schema: impl Into<Arc<Schema>>) {
        self.subschemas.insert(key.to_owned(), schema.into());
    }

    /// Adds a shorthand field.
    pub fn shorthand(mut self, name: &str, shorthand: Shorthand) -> Schema {
        self.shorthand_fields.insert(name.to_owned(), shorthand);
        self
    }

    /// Sets the fields that name an entity.
    pub fn primary_key<const N: usize>(mut self, names: [&str; N]) -> Schema {
        self.primary_key = names.map(str::to_owned).to_vec();
        self
    }

    /// Sets the fields that are unique together, or by which an entity is cached.
    pub fn cache_key<const N: usize>(mut self, names: [&str; N]) -> Schema {
        self.cache_key = names.map(str::to_owned).to_vec();
        self
    }

    /// Adds a transformation.
    pub fn transformation(mut self, transformation: Transformation) -> Schema {
        self.transformations.push(transformation);
        self
    }

    /// Sets what it is, for people.
    pub fn description(mut self, text: &str) -> Schema {
        text.clone_into(&mut self.description);
        self
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $value:expr;)*) => {
        impl Schema {
            $($(#[$doc])* pub fn $name(mut self, value: $type) -> Schema {
                self.$name = $value(value);
                self
            })*
        }
    };
}

setters! {
    /// Sets the name.
    name: &str => str::to_owned;
    /// Sets the unique field that can name an entity in a path.
    endpoint_key: &str => |key: &str| Some(key.to_owned());
    /// Sets the field whose value chooses a subschema.
    subschema_key: &str => |key: &str| Some(key.to_owned());
    /// Sets what to say where there is no such subschema; `%s` is the value.
    subschema_error: &str => |text: &str| Some(text.to_owned());
    /// Sets the collection's name in paths.
    admin_api_name: &str => |name: &str| Some(name.to_owned());
    /// Sets the collection's name in paths below another entity.
    admin_api_nested_name: &str => |name: &str| Some(name.to_owned());
    /// Sets the table's name.
    table_name: &str => |name: &str| Some(name.to_owned());
    /// Sets whether the Admin API has it.
    generate_admin_api: bool => |yes| yes;
    /// Sets whether exports have it.
    db_export: bool => |yes| yes;
    /// Sets whether an entity may have a time to live.
    ttl: bool => |yes| yes;
    /// Sets whether an entity belongs to a workspace.
    workspaceable: bool => |yes| yes;
}

/// A field that is not stored but spread over others.
#[derive(Clone)]
pub struct Shorthand {
    /// What is asked of it, and what takes its place.
    pub field: Field,
    expand: Option<Arc<Expand>>,
}

type Expand = dyn Fn(&Value) -> Option<Record> + Send + Sync;

impl fmt::Debug for Shorthand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shorthand").field("field", &self.field).finish_non_exhaustive()
    }
}

impl Shorthand {
    /// A field that is spread by a function: the fields it stands for, if it stands for any.
    pub fn new(
        field: Field,
        expand: impl Fn(&Value) -> Option<Record> + Send + Sync + 'static,
    ) -> Shorthand {
        Shorthand { field, expand: Some(Arc::new(expand)) }
    }

    /// An old name of the field that its deprecation names in `replaced_with`; without one, it
    /// is dropped.
    pub fn renamed(field: Field) -> Shorthand {
        Shorthand { field, expand: None }
    }

    /// The names, from the outside in, of the field that takes its place.
    pub fn replaced_with(&self) -> Option<Vec<&str>> {
        let path = self.field.deprecation.as_ref()?.get("replaced_with")?.get(0)?.get("path")?;
        path.as_array()?.iter().map(Value::as_str).collect()
    }

    /// The fields that it stands for.
    pub(crate) fn expand(&self, value: &Value) -> Option<Record> {
        if let Some(expand) = &self.expand {
            return expand(value);
        }
        let path = self.replaced_with()?;
        let mut value = value.clone();
        for name in path.iter().rev() {
            value = Value::Object(Record::from_iter([((*name).to_owned(), value)]));
        }
        match value {
            Value::Object(fields) => Some(fields),
            _ => None,
        }
    }
}

/// Fields that are made of others when an entity is written, or when it is read.
#[derive(Clone)]
pub struct Transformation {
    /// The fields whose being sent causes it.
    pub input: Vec<String>,
    /// The fields that it needs besides.
    pub needs: Vec<String>,
    on_write: Option<Arc<Transform>>,
    on_read: Option<Arc<Transform>>,
}

type Transform = dyn Fn(&[Value]) -> Result<Record, String> + Send + Sync;

impl fmt::Debug for Transformation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transformation")
            .field("input", &self.input)
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

impl Transformation {
    /// A function of the values of `input`, then those of `needs`, to the fields to set.
    pub fn new(
        input: &[&str],
        needs: &[&str],
        on_write: impl Fn(&[Value]) -> Result<Record, String> + Send + Sync + 'static,
    ) -> Transformation {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Transformation {
            on_write: Some(Arc::new(on_write)),
            ..Transformation::of(owned(input), owned(needs))
        }
    }

    /// One that does nothing yet.
    pub fn of(input: Vec<String>, needs: Vec<String>) -> Transformation {
        Transformation { input, needs, on_write: None, on_read: None }
    }

    /// The same with what is done when an entity is written.
    #[must_use]
    pub fn writing(
        self,
        on_write: impl Fn(&[Value]) -> Result<Record, String> + Send + Sync + 'static,
    ) -> Transformation {
        Transformation { on_write: Some(Arc::new(on_write)), ..self }
    }

    /// The same with what is done when an entity is read.
    #[must_use]
    pub fn reading(
        self,
        on_read: impl Fn(&[Value]) -> Result<Record, String> + Send + Sync + 'static,
    ) -> Transformation {
        Transformation { on_read: Some(Arc::new(on_read)), ..self }
    }
}

/// The value of a field of nested records, named with dots.
pub fn get_path<'a>(record: &'a Record, path: &str) -> Option<&'a Value> {
    crate::field(record, path).or_else(|| {
        let (head, tail) = path.split_once('.')?;
        get_path(crate::field(record, head)?.as_object()?, tail)
    })
}

/// Whether a field has a value: neither null nor an empty text or table.
pub(crate) fn is_nonempty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(_) => true,
    }
}
