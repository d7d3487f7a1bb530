//! How changes and what is made of other fields come into an entity (`merge_values`,
//! `transform`).

use serde_json::Value;

use super::validate::table;
use super::{Flag, Kind, Schema, Transform, Transformation, get_path, is_nonempty};
use crate::Record;
use crate::errors::Errors;

impl Schema {
    /// The entity with its changes: records are merged field by field, lists are replaced.
    pub fn merge(&self, changes: Record, existing: &Record) -> Record {
        let mut out = existing.clone();
        for (name, value) in changes {
            let field = self
                .subschema(existing)
                .and_then(|schema| schema.fields.get(&name))
                .or_else(|| self.fields.get(&name))
                .filter(|field| !field.is(Flag::Abstract));
            let value = match (field.map(|field| &field.kind), table(&value)) {
                (Some(Kind::Record(schema)), Some(changes)) => {
                    let existing = existing.get(&name).and_then(table).unwrap_or_default();
                    Value::Object(schema.merge(changes, &existing))
                }
                _ => value,
            };
            out.insert(name, value);
        }
        out
    }

    /// Sets the fields that are made of others, where the client sent those.
    pub(crate) fn transform(&self, entity: Record, input: &Record) -> Result<Record, Errors> {
        self.transform_by(entity, Some(input), |transformation| transformation.on_write.as_deref())
    }

    /// Sets the fields that are made of others when an entity is read.
    pub(crate) fn transform_read(&self, entity: Record) -> Result<Record, Errors> {
        // Few schemas have any.
        if self.transformations.is_empty() && self.subschemas.is_empty() {
            return Ok(entity);
        }
        self.transform_by(entity, None, |transformation| transformation.on_read.as_deref())
    }

    fn transform_by(
        &self,
        entity: Record,
        input: Option<&Record>,
        which: fn(&Transformation) -> Option<&Transform>,
    ) -> Result<Record, Errors> {
        let subschema = self.subschema(&entity).cloned();
        let special = subschema.iter().flat_map(|schema| &schema.transformations);
        let mut out = entity;
        for transformation in self.transformations.iter().chain(special) {
            let Some(transform) = which(transformation) else { continue };
            let Some(args) = transformation.args(&out, input.unwrap_or(&out)) else { continue };
            let changes = transform(&args)
                .map_err(|error| failed(&format!("transformation failed: {error}")))?;
            out = self.merge(changes, &out);
        }
        Ok(out)
    }
}

impl Transformation {
    fn args(&self, entity: &Record, input: &Record) -> Option<Vec<Value>> {
        if !self.input.iter().all(|path| is_nonempty(get_path(input, path))) {
            return None;
        }
        let paths = self.input.iter().chain(&self.needs);
        paths
            .map(|path| get_path(entity, path).filter(|value| is_nonempty(Some(value))).cloned())
            .collect()
    }
}

fn failed(error: &str) -> Errors {
    let mut errors = Errors::new();
    errors.add_entity(error);
    errors
}
