//! The schema of a plugin: its configuration, and which fields of a plugin entity it narrows
//! (kong/db/schema/plugin_loader.lua, kong/db/schema/entity.lua).

use serde_json::Value;

use super::{Field, Flag, Kind, Schema, SchemaError, typedefs};

impl Schema {
    /// The subschema of a plugin whose configuration is this record.
    pub fn plugin(name: &str, config: Field) -> Schema {
        let mut schema = Schema::named(name).with_field("config", config);
        schema.require_records();
        schema
    }

    /// The subschema of a plugin, from its schema as JSON: the dump of a plugin server,
    /// `{"name": …, "fields": [{"config": {…}}]}`.
    ///
    /// # Errors
    /// If it is no schema, has no `config`, or has fields that a plugin cannot have.
    pub fn for_plugin(name: &str, json: &Value) -> Result<Schema, SchemaError> {
        let mut schema = Schema::from_json(name, json)?;
        let config = schema.fields.get("config");
        if config.and_then(Field::as_record).is_none() {
            return Err(SchemaError::new("config: expected a field of type record"));
        }
        for (field_name, field) in &schema.fields {
            check_special(field_name, field)
                .map_err(|error| SchemaError::new(format!("{field_name}: {error}")))?;
        }
        schema.require_records();
        Ok(schema)
    }

    /// Records are required unless the schema says otherwise, so that answers always have their
    /// full structure. Records within lists and maps are left as they are.
    pub(crate) fn require_records(&mut self) {
        for field in self.fields.values_mut() {
            if let Kind::Record(schema) = &mut field.kind {
                schema.require_records();
                if field.said(Flag::Required).is_none() {
                    let plain = std::mem::replace(field, Field::partial());
                    *field = plain.required();
                }
            }
        }
    }

    fn special_field(mut self, name: &str, field: Field) -> Schema {
        let at = self.fields.get_index_of("config").unwrap_or(self.fields.len());
        self.fields.shift_insert(at, name.to_owned(), field);
        self
    }

    /// It cannot be for one consumer.
    pub fn no_consumer(self) -> Schema {
        self.special_field("consumer", typedefs::no_consumer())
    }

    /// It cannot be for one service.
    pub fn no_service(self) -> Schema {
        self.special_field("service", typedefs::no_service())
    }

    /// It cannot be for one route.
    pub fn no_route(self) -> Schema {
        self.special_field("route", typedefs::no_route())
    }

    /// It runs on any protocol, by default on those of the HTTP proxy.
    pub fn protocols(self) -> Schema {
        self.special_field("protocols", typedefs::protocols())
    }

    /// It runs on protocols of the HTTP proxy only.
    pub fn protocols_http(self) -> Schema {
        self.special_field("protocols", typedefs::protocols_http())
    }

    /// It runs on any protocol, by default on these.
    pub fn protocols_default<const N: usize>(self, protocols: [&str; N]) -> Schema {
        let default: Vec<Value> = protocols.into_iter().map(Value::from).collect();
        self.special_field("protocols", typedefs::protocols().default(default))
    }
}

/// Whether a plugin's field narrows one of plugin entities, and does not change its type.
fn check_special(name: &str, field: &Field) -> Result<(), SchemaError> {
    let right = match name {
        "config" => true,
        "consumer" | "service" | "route" => matches!(field.kind, Kind::Foreign { .. }),
        "protocols" | "tags" => matches!(field.kind, Kind::Set(_)),
        "enabled" => matches!(field.kind, Kind::Boolean),
        "id" | "name" | "instance_name" => matches!(field.kind, Kind::String),
        "created_at" | "updated_at" => matches!(field.kind, Kind::Integer),
        _ => return Err(SchemaError::new("cannot create a new field")),
    };
    if right { Ok(()) } else { Err(SchemaError::new("cannot change type in a specialized field")) }
}
