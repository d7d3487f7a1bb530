//! Kong's schemas as JSON Schema.

use serde_json::{Map, Value, json};
use silverback_model::schema::{Field, Flag, Kind, Schema};

/// What an entity is shown as: every field, null where it is not set.
pub(super) fn shown(schema: &Schema) -> Value {
    let properties = schema.fields.iter().map(|(name, field)| {
        let mut json = json!({ "type": types(field, true) });
        describe(&mut json, field);
        (name.clone(), json)
    });
    json!({
        "type": "object",
        "description": schema.description,
        "properties": properties.collect::<Map<_, _>>(),
    })
}

/// What may be sent of an entity: as a whole, or some of its fields.
pub(super) fn sent(schema: &Schema, whole: bool) -> Value {
    if schema.subschemas.is_empty() {
        return record(schema, &schema.fields.iter().collect::<Vec<_>>(), whole);
    }
    let each = schema.subschemas.iter().map(|(key, special)| {
        let of = |(name, field)| (name, special.fields.get(name).unwrap_or(field));
        let fields: Vec<_> = schema.fields.iter().map(of).collect();
        let mut json = record(schema, &fields, whole);
        json["title"] = key.as_str().into();
        if let Some(name) = &schema.subschema_key {
            json["properties"][name] = json!({ "const": key });
        }
        json
    });
    json!({ "anyOf": each.collect::<Vec<_>>() })
}

fn record(schema: &Schema, fields: &[(&String, &Field)], whole: bool) -> Value {
    let mut properties: Map<String, Value> =
        fields.iter().map(|(name, field)| ((*name).clone(), value(field))).collect();
    for (name, shorthand) in &schema.shorthand_fields {
        let mut json = value(&shorthand.field);
        json["writeOnly"] = true.into();
        properties.entry(name.clone()).or_insert(json);
    }
    let is_needed = |field: &Field| {
        field.is(Flag::Required) && field.default.is_none() && !field.is(Flag::Auto)
    };
    let required = fields.iter().filter(|(_, field)| whole && is_needed(field));
    let required: Vec<_> = required.map(|(name, _)| (*name).clone()).collect();
    let mut json = json!({ "type": "object", "properties": properties });
    if !schema.description.is_empty() {
        json["description"] = schema.description.as_str().into();
    }
    // A service has its `url` in the place of a host.
    if !required.is_empty() && schema.shorthand_fields.is_empty() {
        json["required"] = required.into();
    }
    json["additionalProperties"] = false.into();
    json
}

/// What a value of a field may be.
fn value(field: &Field) -> Value {
    let nullable = !field.is(Flag::Required);
    let mut json = match &field.kind {
        Kind::Array(elements) | Kind::Set(elements) => json!({ "items": value(elements) }),
        Kind::Map { values, .. } => json!({ "additionalProperties": value(values) }),
        Kind::Record(schema) if !field.is(Flag::Abstract) => {
            record(schema, &schema.fields.iter().collect::<Vec<_>>(), true)
        }
        Kind::Foreign { .. } => {
            let id = json!({ "type": "string", "format": "uuid" });
            json!({ "properties": { "id": id }, "required": ["id"] })
        }
        _ => json!({}),
    };
    json["type"] = types(field, nullable);
    describe(&mut json, field);
    for rule in field.rules() {
        if let Some(argument) = rule.to_json() {
            word(&mut json, field, rule.name(), argument);
        }
    }
    if nullable && let Some(Value::Array(values)) = json.get_mut("enum") {
        values.push(Value::Null);
    }
    json
}

fn types(field: &Field, nullable: bool) -> Value {
    let name = match &field.kind {
        Kind::String => "string",
        Kind::Integer => "integer",
        Kind::Number => "number",
        Kind::Boolean => "boolean",
        Kind::Array(_) | Kind::Set(_) => "array",
        Kind::Map { .. } | Kind::Record(_) | Kind::Foreign { .. } => "object",
        Kind::Json | Kind::Any | Kind::Function | Kind::Partial { .. } => {
            return json!(["string", "number", "boolean", "array", "object", "null"]);
        }
    };
    if nullable { json!([name, "null"]) } else { name.into() }
}

fn describe(json: &mut Value, field: &Field) {
    if !field.description.is_empty() {
        json["description"] = field.description.as_str().into();
    }
    if let Some(default) = field.default.as_ref().filter(|default| !default.is_null()) {
        json["default"] = default.clone();
    }
    if field.deprecation.is_some() {
        json["deprecated"] = true.into();
    }
}

/// A word of Kong's schemas, where JSON Schema has one for it.
fn word(json: &mut Value, field: &Field, name: &str, argument: Value) {
    let is_text = matches!(field.kind, Kind::String);
    match name {
        "one_of" => json["enum"] = argument,
        "eq" => json["const"] = argument,
        "uuid" => json["format"] = "uuid".into(),
        "gt" => json["exclusiveMinimum"] = argument,
        "between" => {
            json["minimum"] = argument[0].clone();
            json["maximum"] = argument[1].clone();
        }
        "len_min" => json[if is_text { "minLength" } else { "minItems" }] = argument,
        "len_max" => json[if is_text { "maxLength" } else { "maxItems" }] = argument,
        "len_eq" => {
            let (least, most) =
                if is_text { ("minLength", "maxLength") } else { ("minItems", "maxItems") };
            json[least] = argument.clone();
            json[most] = argument;
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use silverback_model::entities;

    use super::*;

    #[test]
    fn words_are_those_of_json_schema() {
        let service = sent(&entities::schema("services").expect("a kind"), true);
        let check = |field: &str, word: &str, expect: &Value| {
            assert_eq!(service["properties"][field][word], *expect, "{field}.{word}");
        };
        check("port", "minimum", &json!(0));
        check("port", "maximum", &json!(65535));
        check("protocol", "default", &json!("http"));
        check("url", "writeOnly", &json!(true));
        check("retries", "type", &json!(["integer", "null"]));
        check("client_certificate", "required", &json!(["id"]));
    }
}
