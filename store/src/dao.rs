//! What is asked of a change beyond its schema, for every database (kong/db/dao/init.lua): that
//! references lead somewhere, that keys are unique, what is deleted with what.
//!
//! Few kinds have rules of their own: [`certificates`], [`plugins`], [`targets`], [`authorities`].

mod authorities;
mod certificates;
mod constraints;
mod delete;
mod plugins;
mod targets;

use std::sync::Arc;

use serde_json::{Value, json};
use silverback_model::declarative::{DEFAULT_WORKSPACE_ID, WITH_WORKSPACE};
use silverback_model::errors::{Errors, Fault};
use silverback_model::schema::{Field, Flag, Kind as FieldKind, Mode, Schema};
use silverback_model::set::{Kind, Kinds};
use silverback_model::{Record, WORKSPACE};
use uuid::Uuid;

use crate::transaction::{Kept, Transaction};
use crate::ttl::{self, Life, TTL};

/// What names an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// Its primary key; several fields are joined by `:`.
    Id(&'a str),
    /// A unique field (first) with its value (second): a text, or the id of what it refers to.
    Unique(&'a str, &'a str),
    /// The values of the schema's `cache_key`, an empty text for null.
    Cache(&'a [&'a str]),
}

impl<'a> Key<'a> {
    /// The key that a path's segment is: an id, or the value of the kind's endpoint key. None if
    /// it is no id, and the kind has no endpoint key.
    pub fn of(schema: &'a Schema, segment: &'a str) -> Option<Key<'a>> {
        if segment.len() == 36 && Uuid::try_parse(segment).is_ok() {
            return Some(Key::Id(segment));
        }
        Some(Key::Unique(schema.endpoint_key.as_deref()?, segment))
    }

    /// The unique field that is meant, where it is not the primary key.
    pub fn field(&self) -> Option<&'a str> {
        match self {
            Key::Unique(field, _) => Some(field),
            Key::Id(_) | Key::Cache(_) => None,
        }
    }
}

/// What can be said of a change beside its input.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// In how many seconds the entity ends, for kinds that may; a field `ttl` of the input says
    /// the same.
    pub ttl: Option<Value>,
}

/// A change that is being made.
pub(crate) struct Dao<'a, T> {
    pub(crate) kinds: &'a Kinds,
    pub(crate) transaction: &'a mut T,
}

impl<T: Transaction> Dao<'_, T> {
    /// The entity that a key names, as it is kept.
    pub(crate) async fn find(&mut self, kind: &Kind, key: Key<'_>) -> Result<Option<Kept>, Fault> {
        let found = match key {
            Key::Id(id) => {
                let id = primary_key(&kind.schema, id)?;
                self.transaction.get(kind, &id).await?
            }
            Key::Unique(field, value) => {
                unique_key(&kind.schema, field, value)?;
                self.transaction.by(kind, field, value).await?
            }
            Key::Cache(values) => self.transaction.by_cache_key(kind, &values.join(":")).await?,
        };
        let now = ttl::now();
        Ok(found.filter(|record| !ttl::is_over(record, now)))
    }

    /// Makes an entity.
    pub(crate) async fn insert(
        &mut self,
        kind: &Kind,
        mut input: Record,
        options: &Options,
    ) -> Result<Kept, Fault> {
        match kind.schema.name.as_str() {
            "certificates" => return self.insert_certificate(kind, input, options).await,
            "targets" => targets::format(&mut input)?,
            "plugins" => self.check_protocols(&input).await?,
            _ => {}
        }
        self.insert_plainly(kind, input, options).await
    }

    /// Changes fields of an entity.
    pub(crate) async fn update(
        &mut self,
        kind: &Kind,
        key: Key<'_>,
        mut input: Record,
        options: &Options,
    ) -> Result<Kept, Fault> {
        match kind.schema.name.as_str() {
            "certificates" => return self.update_certificate(kind, key, input, options).await,
            "targets" => targets::format(&mut input)?,
            "plugins" => self.check_changed_protocols(kind, key, &input).await?,
            _ => {}
        }
        self.update_plainly(kind, key, input, options).await
    }

    /// Makes an entity, or replaces it as a whole.
    pub(crate) async fn upsert(
        &mut self,
        kind: &Kind,
        key: Key<'_>,
        mut input: Record,
        options: &Options,
    ) -> Result<Kept, Fault> {
        match kind.schema.name.as_str() {
            "certificates" => return self.upsert_certificate(kind, key, input, options).await,
            "targets" => self.replace_target(kind, key, &mut input).await?,
            "plugins" => self.check_protocols(&input).await?,
            _ => {}
        }
        self.upsert_plainly(kind, key, input, options).await
    }

    /// Puts an entity in that is in the form in which it is kept, in the place of the one with
    /// its key.
    pub(crate) async fn put(&mut self, kind: &Kind, record: &Kept) -> Result<(), Fault> {
        let old = self.transaction.get(kind, &kind.key(record)).await?;
        self.check_constraints(kind, record, old.as_ref()).await?;
        match &old {
            Some(old) => self.transaction.update(kind, old, Arc::clone(record)).await,
            None => self.transaction.insert(kind, Arc::clone(record)).await,
        }
    }

    /// Deletes an entity that has ended, and what goes with it.
    pub(crate) async fn expire(&mut self, kind: &Kind, key: &str, now: f64) -> Result<(), Fault> {
        let record = self.transaction.get(kind, key).await?;
        match record.filter(|record| ttl::is_over(record, now)) {
            Some(record) => self.delete_with_children(kind, record).await,
            None => Ok(()),
        }
    }

    async fn insert_plainly(
        &mut self,
        kind: &Kind,
        mut input: Record,
        options: &Options,
    ) -> Result<Kept, Fault> {
        let life = Life::take(&kind.schema, &mut input, options.ttl.as_ref())?;
        self.resolve(kind, &mut input).await?;
        let record = kind.schema.process(input, Mode::Insert).map_err(Fault::schema_violation)?;
        let record = kept(kind, record, life, "created_at", Value::Null);
        self.check_constraints(kind, &record, None).await?;
        self.transaction.insert(kind, Arc::clone(&record)).await?;
        Ok(record)
    }

    async fn update_plainly(
        &mut self,
        kind: &Kind,
        key: Key<'_>,
        mut input: Record,
        options: &Options,
    ) -> Result<Kept, Fault> {
        let life = Life::take(&kind.schema, &mut input, options.ttl.as_ref())?;
        let Some(old) = self.find(kind, key).await? else { return Err(missing(kind, key)) };
        self.resolve(kind, &mut input).await?;
        let before = plain(&kind.schema, &old);
        let record = kind.schema.process(input, Mode::Update(&before));
        let mut record = record.map_err(Fault::schema_violation)?;
        keep_key(kind, &mut record, &old);
        let end = old.get(TTL).cloned().unwrap_or_default();
        let record = kept(kind, record, life, "updated_at", end);
        self.check_constraints(kind, &record, Some(&old)).await?;
        self.transaction.update(kind, &old, Arc::clone(&record)).await?;
        Ok(record)
    }

    async fn upsert_plainly(
        &mut self,
        kind: &Kind,
        key: Key<'_>,
        mut input: Record,
        options: &Options,
    ) -> Result<Kept, Fault> {
        let life = Life::take(&kind.schema, &mut input, options.ttl.as_ref())?;
        let old = self.find(kind, key).await?;
        match key {
            Key::Id(id) => {
                for (name, part) in kind.schema.primary_key.iter().zip(id.split(':')) {
                    input.insert(name.clone(), part.to_lowercase().into());
                }
            }
            // What the key says goes before what the input says.
            Key::Unique(field, value) => {
                let of_key = kind.schema.fields.get(field);
                let value = of_key.map_or_else(|| value.into(), |field| value_of(field, value));
                input.insert(field.to_owned(), value);
                if let Some(old) = &old {
                    keep_key(kind, &mut input, old);
                }
            }
            Key::Cache(_) => {}
        }
        self.resolve(kind, &mut input).await?;
        let record = kind.schema.process(input, Mode::Upsert).map_err(Fault::schema_violation)?;
        let record = kept(kind, record, life, "created_at", Value::Null);
        self.check_constraints(kind, &record, old.as_ref()).await?;
        match &old {
            Some(old) => self.transaction.update(kind, old, Arc::clone(&record)).await?,
            None => self.transaction.insert(kind, Arc::clone(&record)).await?,
        }
        Ok(record)
    }

    /// Puts ids in the place of references by other unique fields (`resolve_foreign`).
    async fn resolve(&mut self, kind: &Kind, input: &mut Record) -> Result<(), Fault> {
        let mut errors = Errors::new();
        for reference in kind.schema.named_references(input, self.kinds) {
            let Some(other) = self.kinds.get(&reference.schema.name) else { continue };
            let mut found = None;
            for (field, value) in &reference.keys {
                let Some(value) = value.as_str() else { continue };
                found = self.transaction.by(other, field, value).await?;
                if found.is_some() {
                    break;
                }
            }
            match found {
                Some(entity) => {
                    input.insert(reference.field, other.schema.primary_key_of(&entity).into());
                }
                None => errors.set(&reference.field, reference.error()),
            }
        }
        errors.into_result().map_err(Fault::foreign_keys_unresolved)
    }
}

/// An entity as clients see it: with the fields that its schema has got since it was written, and
/// the time that it has left.
pub(crate) fn shown(kind: &Kind, kept: &Record) -> Result<Kept, Fault> {
    let mut record = kept.clone();
    record.shift_remove(WORKSPACE);
    if kind.schema.ttl {
        record.insert(TTL.to_owned(), ttl::left(kept, ttl::now()));
    }
    kind.schema.process(record, Mode::Select).map(Arc::new).map_err(Fault::schema_violation)
}

/// An entity in the form in which it is kept.
fn kept(kind: &Kind, mut record: Record, life: Life, written: &str, end: Value) -> Kept {
    let schema = &kind.schema;
    // What is sent of another entity beside its key says nothing.
    for (field, ..) in schema.foreign_fields() {
        if let Some(Value::Object(other)) = record.get_mut(field) {
            other.retain(|name, _| name == "id");
        }
    }
    record.retain(|name, _| !schema.fields.get(name).is_some_and(|f| f.is(Flag::Transient)));
    if schema.ttl {
        let end = life.end(&record, written, end);
        record.insert(TTL.to_owned(), end);
    }
    if WITH_WORKSPACE.contains(&schema.name.as_str()) {
        record.insert(WORKSPACE.to_owned(), DEFAULT_WORKSPACE_ID.into());
    }
    Arc::new(record)
}

/// The fields of a schema alone, of an entity that is kept.
fn plain(schema: &Schema, kept: &Record) -> Record {
    let own = kept.iter().filter(|(name, _)| schema.fields.contains_key(*name));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// An entity's primary key cannot be changed.
fn keep_key(kind: &Kind, record: &mut Record, old: &Record) {
    for name in &kind.schema.primary_key {
        if let Some(value) = old.get(name) {
            record.insert(name.clone(), value.clone());
        }
    }
}

/// A primary key as it is looked up.
fn primary_key(schema: &Schema, key: &str) -> Result<String, Fault> {
    let parts = schema.primary_key.iter().zip(key.split(':'));
    let values = parts.map(|(name, part)| {
        let foreign = schema.foreign_fields().any(|(field, ..)| field == name);
        (name.clone(), if foreign { json!({ "id": part }) } else { Value::from(part) })
    });
    let values = Record::from_iter(values);
    // Keys of several fields come from within.
    if schema.primary_key.len() == 1 {
        schema
            .validate_primary_key(&values)
            .map_err(|errors| Fault::invalid_primary_key(errors.fields().clone()))?;
        if Uuid::try_parse(key).is_ok() {
            return Ok(key.to_lowercase());
        }
    }
    Ok(key.to_owned())
}

/// Whether a field is unique, and a value can be one of its.
fn unique_key(schema: &Schema, name: &str, value: &str) -> Result<(), Fault> {
    let field = schema.fields.get(name);
    let unique = |name: &str| schema.endpoint_key.as_deref() == Some(name);
    let Some(field) = field.filter(|field| field.is(Flag::Unique) || unique(name)) else {
        return Err(Fault::invalid_unique(name, format!("'{name}' is not unique")));
    };
    if matches!(field.kind, FieldKind::Foreign { .. }) {
        return Ok(());
    }
    field.check(&value_of(field, value)).map_err(|error| {
        let text = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
        Fault::invalid_unique(name, text)
    })
}

/// The value that a text of a key stands for.
fn value_of(field: &Field, text: &str) -> Value {
    match field.kind {
        FieldKind::Integer | FieldKind::Number => {
            serde_json::from_str(text).unwrap_or_else(|_| text.into())
        }
        _ => text.into(),
    }
}

fn missing(kind: &Kind, key: Key<'_>) -> Fault {
    let field = |name: &str, value: &str| Record::from_iter([(name.to_owned(), value.into())]);
    match key {
        Key::Unique(name, value) => Fault::not_found_by_field(field(name, value)),
        Key::Id(id) => {
            let parts = kind.schema.primary_key.iter().zip(id.split(':'));
            let key = parts.map(|(name, part)| (name.clone(), Value::from(part)));
            Fault::not_found(key.collect())
        }
        Key::Cache(values) => {
            let parts = kind.schema.cache_key.iter().zip(values);
            let key = parts.map(|(name, part)| (name.clone(), Value::from(*part)));
            Fault::not_found_by_field(key.collect())
        }
    }
}
