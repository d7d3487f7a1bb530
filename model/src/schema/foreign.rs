//! References to other entities by a unique field instead of the primary key (kong/db/dao/init.lua,
//! `resolve_foreign`).

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Flag, Kind, Schema};
use crate::Record;
use crate::errors::pretty_line;
use crate::set::Kinds;

/// A reference such as `{"name": "echo"}`, which has to become `{"id": …}` before the entity is
/// processed.
#[derive(Debug, Clone)]
pub struct NamedReference {
    /// The field that refers.
    pub field: String,
    /// The schema of what it refers to.
    pub schema: Arc<Schema>,
    /// The unique fields that were sent, with their values: any of them may find the entity.
    pub keys: Vec<(String, Value)>,
}

impl NamedReference {
    /// What is wrong with the field if nothing was found, for
    /// [`Fault::foreign_keys_unresolved`](crate::errors::Fault::foreign_keys_unresolved).
    pub fn error(&self) -> Value {
        let errors = self.keys.iter().map(|(name, value)| {
            let key = pretty_line(&json!({name: value}));
            let text = format!(
                "the foreign key cannot be resolved with '{key}' for an existing '{}' entity",
                self.schema.name
            );
            (name.clone(), text.into())
        });
        Value::Object(errors.collect())
    }
}

impl Schema {
    /// The references of an input that are by unique fields, among these kinds. Others, be they
    /// right or wrong, are left to [`process`](Schema::process).
    pub fn named_references(&self, input: &Record, kinds: &Kinds) -> Vec<NamedReference> {
        let fields = self.foreign_fields().filter_map(|(field, reference, _)| {
            let value = input.get(field)?.as_object()?;
            let schema = Arc::clone(&kinds.get(reference)?.schema);
            if schema.validate_primary_key(value).is_ok() {
                return None;
            }
            let keys: Vec<_> = schema.unique_keys(value).collect();
            (!keys.is_empty()).then(|| NamedReference { field: field.to_owned(), schema, keys })
        });
        fields.collect()
    }

    fn unique_keys(&self, value: &Record) -> impl Iterator<Item = (String, Value)> {
        self.fields.iter().filter_map(|(name, field)| {
            let key = value.get(name).filter(|key| !key.is_null())?;
            let right = field.is(Flag::Unique)
                && !matches!(field.kind, Kind::Foreign { .. })
                && field.check(key).is_ok();
            right.then(|| (name.clone(), key.clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::{Errors, Fault};

    #[test]
    fn references_by_name_are_found() {
        let kinds = Kinds::bundled([]);
        let routes = &kinds.get("routes").expect("routes").schema;
        let named = |service: Value| {
            let input = Record::from_iter([("service".to_owned(), service)]);
            routes.named_references(&input, &kinds)
        };
        let found = named(json!({"name": "none"}));
        assert_eq!(found.len(), 1);
        let fault = Fault::foreign_keys_unresolved(Errors::of("service", found[0].error()));
        assert_eq!(
            fault.message,
            "foreign key unresolved (service.name: the foreign key cannot be resolved with \
             '{name=\"none\"}' for an existing 'services' entity)"
        );
        for other in [json!(null), json!("x"), json!({"name": "a b"}), json!({"port": 1})] {
            assert!(named(other.clone()).is_empty(), "{other}");
        }
    }
}
