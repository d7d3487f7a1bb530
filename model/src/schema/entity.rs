//! The schema of a kind of entity that a plugin adds (kong/db/schema/entity.lua,
//! kong/db/schema/metaschema.lua).

use serde_json::Value;

use super::{Flag, Kind, Schema, SchemaError};

/// What can become of an entity when the one that it refers to is deleted.
const ON_DELETE: [&str; 3] = ["restrict", "cascade", "null"];

/// The most fields that a cache key has.
const CACHE_KEY_MAX: usize = 5;

impl Schema {
    /// The schema of a kind of entity, from JSON as `daos.lua` has it.
    ///
    /// # Errors
    /// If it is no schema, or not one of entities.
    pub fn for_entity(name: &str, json: &Value) -> Result<Schema, SchemaError> {
        let mut schema = Schema::from_json(name, json)?;
        schema.check_keys()?;
        for (name, field) in &schema.fields {
            let wrong = match &field.kind {
                _ if field.said(Flag::Nilable).is_some() => "a field of an entity can't be nilable",
                Kind::Function => "a field of an entity can't be a function",
                Kind::Map { keys, .. } if !matches!(keys.kind, Kind::String) => {
                    "the keys of an entity's map must be strings"
                }
                Kind::Foreign { on_delete: Some(action), .. }
                    if !ON_DELETE.contains(&action.as_str()) =>
                {
                    "on_delete: expected one of: restrict, cascade, null"
                }
                _ => continue,
            };
            return Err(SchemaError::new(format!("{name}: {wrong}")));
        }
        schema.require_records();
        Ok(schema)
    }

    fn check_keys(&self) -> Result<(), SchemaError> {
        let missing = |list: &str, name: &str| {
            SchemaError::new(format!("{list}: there is no field '{name}'"))
        };
        if self.primary_key.is_empty() {
            return Err(SchemaError::new("primary_key: required field missing"));
        }
        for (list, names) in [("primary_key", &self.primary_key), ("cache_key", &self.cache_key)] {
            for name in names {
                self.fields.get(name).ok_or_else(|| missing(list, name))?;
            }
        }
        if self.cache_key.len() > CACHE_KEY_MAX {
            let text = format!("cache_key: more than {CACHE_KEY_MAX} fields");
            return Err(SchemaError::new(text));
        }
        if let Some(name) = &self.endpoint_key {
            self.fields.get(name).ok_or_else(|| missing("endpoint_key", name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(json: &Value, expect: Option<&str>) {
        let error = Schema::for_entity("tokens", json).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), expect);
    }

    #[test]
    fn keys_are_fields() {
        let fields = json!([{"id": {"type": "string", "uuid": true}}]);
        let with = |name: &str, value: Value| json!({ "fields": fields, name: value });
        check(&with("primary_key", json!(["id"])), None);
        check(&with("primary_key", json!(["x"])), Some("primary_key: there is no field 'x'"));
        check(&with("primary_key", json!([])), Some("primary_key: required field missing"));
        check(&with("endpoint_key", json!("x")), Some("endpoint_key: there is no field 'x'"));
        check(&with("cache_key", json!(["id", "y"])), Some("cache_key: there is no field 'y'"));
    }

    #[test]
    fn fields_can_be_kept() {
        let with = |field: Value| json!({"primary_key": ["a"], "fields": [{ "a": field }]});
        check(
            &with(json!({"type": "function"})),
            Some("a: a field of an entity can't be a function"),
        );
        check(
            &with(json!({"type": "foreign", "reference": "routes", "on_delete": "never"})),
            Some("a: on_delete: expected one of: restrict, cascade, null"),
        );
    }
}
