//! That keys are unique, and that references lead somewhere. The order of the checks is that of
//! Postgres, where Kong leaves them to the tables' constraints.

use serde_json::{Value, json};
use silverback_model::Record;
use silverback_model::errors::Fault;
use silverback_model::set::{Kind, unique_text};

use super::Dao;
use crate::transaction::{Kept, Transaction};

impl<T: Transaction> Dao<'_, T> {
    /// Checks an entity that takes the place of `old`, or of none.
    pub(super) async fn check_constraints(
        &mut self,
        kind: &Kind,
        record: &Record,
        old: Option<&Kept>,
    ) -> Result<(), Fault> {
        if !self.transaction.checked_here() {
            return Ok(());
        }
        let key = kind.key(record);
        if old.is_none() && self.transaction.get(kind, &key).await?.is_some() {
            return Err(Fault::primary_key_violation(kind.schema.primary_key_of(record)));
        }
        for field in kind.unique_fields() {
            let value = record.get(field).unwrap_or(&Value::Null);
            let Some(text) = unique_text(value) else { continue };
            let other = self.transaction.by(kind, field, &text).await?;
            if other.is_some_and(|other| kind.key(&other) != key) {
                let values = Record::from_iter([(field.to_owned(), value.clone())]);
                return Err(Fault::unique_violation(values));
            }
        }
        self.check_cache_key(kind, record, &key).await?;
        self.check_references(kind, record, old).await
    }

    /// Several fields of a cache key are unique together.
    async fn check_cache_key(
        &mut self,
        kind: &Kind,
        record: &Record,
        key: &str,
    ) -> Result<(), Fault> {
        let fields = &kind.schema.cache_key;
        if fields.len() < 2 {
            return Ok(());
        }
        let other = self.transaction.by_cache_key(kind, &kind.cache_key(record)).await?;
        if other.is_none_or(|other| kind.key(&other) == key) {
            return Ok(());
        }
        let values = fields.iter().map(|name| {
            let value = record.get(name).cloned().unwrap_or_default();
            (name.clone(), value)
        });
        Err(Fault::unique_violation(values.collect()))
    }

    async fn check_references(
        &mut self,
        kind: &Kind,
        record: &Record,
        old: Option<&Kept>,
    ) -> Result<(), Fault> {
        for (field, other, _) in kind.schema.foreign_fields() {
            let value = record.get(field);
            let Some(id) = value.and_then(|value| value.get("id")?.as_str()) else { continue };
            if old.is_some_and(|old| old.get(field) == value) {
                continue;
            }
            let Some(parent) = self.kinds.get(other) else { continue };
            if self.transaction.get(parent, id).await?.is_none() {
                let key = Record::from_iter([("id".to_owned(), json!(id))]);
                return Err(Fault::foreign_key_missing(field, key, other));
            }
        }
        Ok(())
    }
}
