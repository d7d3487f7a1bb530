//! What texts mean where a schema asks for something else than text.

use serde_json::{Map, Number, Value};
use silverback_model::schema::{Field, Flag, Kind, Schema};

/// Whole numbers up to this one are exact in the numbers of Lua and of JavaScript.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Makes of a form's values what the schema asks for: an empty text is null, numbers and booleans
/// are read, one value is a list where a list is asked for. What does not fit stays as it is, for
/// the validation to refuse.
pub(crate) fn infer(fields: &mut Map<String, Value>, schema: &Schema) {
    let meant: Vec<(String, Field)> = schema
        .each_field(fields)
        .filter(|(name, _)| fields.contains_key(*name))
        .map(|(name, field)| (name.clone(), field.clone()))
        .collect();
    for (name, field) in &meant {
        if let Some(value) = fields.get_mut(name) {
            infer_value(value, field);
        }
    }
    for (name, shorthand) in &schema.shorthand_fields {
        let is_field = meant.iter().any(|(other, _)| other == name);
        if let Some(value) = fields.get_mut(name).filter(|_| !is_field) {
            infer_value(value, &shorthand.field);
        }
    }
    if schema.ttl
        && let Some(ttl) = fields.get_mut("ttl")
    {
        infer_value(ttl, &Field::number());
    }
}

fn infer_value(value: &mut Value, field: &Field) {
    if value.as_str() == Some("") {
        *value = Value::Null;
        return;
    }
    match &field.kind {
        Kind::Number | Kind::Integer => {
            if let Some(number) = value.as_str().and_then(number) {
                *value = Value::Number(number);
            }
        }
        Kind::Boolean => match value.as_str() {
            Some("true") => *value = Value::Bool(true),
            Some("false") => *value = Value::Bool(false),
            _ => {}
        },
        Kind::Array(elements) | Kind::Set(elements) => {
            if !value.is_array() && !value.is_object() && !value.is_null() {
                *value = Value::Array(vec![value.take()]);
            }
            for item in value.as_array_mut().into_iter().flatten() {
                infer_value(item, elements);
            }
        }
        Kind::Map { values, .. } => {
            for (_, item) in value.as_object_mut().into_iter().flatten() {
                infer_value(item, values);
            }
        }
        Kind::Record(schema) if !field.is(Flag::Abstract) => {
            if let Some(fields) = value.as_object_mut() {
                infer(fields, schema);
            }
        }
        Kind::Foreign { .. } => {
            for (_, item) in value.as_object_mut().into_iter().flatten() {
                infer_value(item, &Field::string());
            }
        }
        _ => {}
    }
}

/// A number as Lua's `tonumber` reads it: decimal or hexadecimal, with space around it.
pub(crate) fn number(text: &str) -> Option<Number> {
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let number = match hexadecimal {
        #[expect(clippy::cast_precision_loss, reason = "as in Lua, all numbers are floats")]
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16).ok()? as f64
        }
        Some(_) => return None,
        // Rust reads words such as `inf` as well.
        None if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            digits.parse::<f64>().ok()?
        }
        None => return None,
    };
    whole(sign * number).or_else(|| Number::from_f64(sign * number))
}

/// A whole number as such.
fn whole(number: f64) -> Option<Number> {
    #[expect(clippy::cast_possible_truncation, reason = "it is in range, and whole")]
    let whole = || Number::from(number as i64);
    (number.fract() == 0.0 && number.abs() <= WHOLE_MAX).then(whole)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use silverback_model::entities;

    use super::*;

    fn check(kind: &str, given: Value, expect: &Value) {
        let (Some(schema), Value::Object(mut fields)) = (entities::schema(kind), given) else {
            unreachable!("a kind and an object")
        };
        infer(&mut fields, &schema);
        assert_eq!(Value::Object(fields), *expect);
    }

    #[test]
    fn texts_become_what_the_schema_asks_for() {
        check(
            "services",
            json!({"port": "80", "retries": "0x10", "enabled": "true", "path": "", "tags": "a"}),
            &json!({"port": 80, "retries": 16, "enabled": true, "path": null, "tags": ["a"]}),
        );
        check(
            "services",
            json!({"port": "eighty", "enabled": "yes", "tags": "", "url": "", "name": "7"}),
            &json!({"port": "eighty", "enabled": "yes", "tags": null, "url": null, "name": "7"}),
        );
        check(
            "routes",
            json!({
                "sources": [{"ip": "1.2.3.4", "port": "80"}, {"ip": ""}],
                "headers": {"a": "x", "b": ["y", ""]}, "service": {"id": ""}, "paths": ["", "/"],
            }),
            &json!({
                "sources": [{"ip": "1.2.3.4", "port": 80}, {"ip": null}],
                "headers": {"a": ["x"], "b": ["y", null]}, "service": {"id": null},
                "paths": [null, "/"],
            }),
        );
        check("keyauth_credentials", json!({"ttl": "60"}), &json!({"ttl": 60}));
        check(
            "upstreams",
            json!({"healthchecks": {"active": {"healthy": {"http_statuses": "200"}}}}),
            &json!({"healthchecks": {"active": {"healthy": {"http_statuses": [200]}}}}),
        );
    }

    #[test]
    fn numbers_are_read_as_lua_reads_them() {
        let read = |text: &str| number(text).map(|number| number.to_string());
        for (text, expect) in [
            (" 80", Some("80")),
            ("1e2", Some("100")),
            ("1.5", Some("1.5")),
            (".5", Some("0.5")),
            ("-0x1F", Some("-31")),
            ("0x", None),
            ("0x+1", None),
            ("inf", None),
            ("nan", None),
            ("1e999", None),
            ("1 2", None),
            ("", None),
            ("--1", None),
            ("-+1", None),
        ] {
            assert_eq!(read(text).as_deref(), expect, "{text:?}");
        }
    }
}
