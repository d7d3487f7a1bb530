//! The values that cross between the gateway and a plugin in another language.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Number, Value as Json};
use silverback_model::Record;

/// An argument or a result of a `kong.*` function.
///
/// Text is bytes, as in Lua: it need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Nothing.
    #[default]
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Number(f64),
    /// Text.
    Text(Bytes),
    /// Bytes that a typed protocol marks as such: the raw bodies.
    Binary(Bytes),
    /// A list.
    Array(Vec<Value>),
    /// Keys and values in the order in which they were given.
    Map(Vec<(Value, Value)>),
    /// A whole entity, shared rather than copied.
    Entity(Arc<Record>),
    /// What only the plugin's language knows: "function", "thread", "userdata". It stands in
    /// arguments alone, so that they are refused by name; as JSON it is null.
    Foreign(&'static str),
}

impl Value {
    /// Text copied from `text`.
    pub fn text(text: impl AsRef<[u8]>) -> Value {
        Value::Text(Bytes::copy_from_slice(text.as_ref()))
    }

    /// Text that lives as long as the program: nothing is copied.
    pub fn constant(text: &'static str) -> Value {
        Value::Text(Bytes::from_static(text.as_bytes()))
    }

    /// Whether this is [`Value::Nil`].
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil)
    }

    /// The bytes of text or of binary.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Value::Text(bytes) | Value::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Text that is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// A number, whole or not.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "Lua numbers are doubles too")]
            Value::Int(n) => Some(*n as f64),
            Value::Number(n) => Some(*n),
            _ => None,
        }
    }

    /// A number without a fraction.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
            Value::Number(n) if n.fract() == 0.0 && n.abs() < 9.0e15 => Some(*n as i64),
            _ => None,
        }
    }

    /// The member of a map or entity under a text key, converted; nil if it is not there.
    pub fn member(&self, key: &str) -> Value {
        match self {
            Value::Map(pairs) => pairs
                .iter()
                .find(|(k, _)| k.as_bytes().is_some_and(|k| k.as_ref() == key.as_bytes()))
                .map(|(_, v)| v.clone())
                .unwrap_or_default(),
            Value::Entity(record) => record.get(key).map(Value::from).unwrap_or_default(),
            _ => Value::Nil,
        }
    }

    /// The name Lua gives its type, for messages such as "expected a string, got number".
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "nil",
            Value::Bool(_) => "boolean",
            Value::Int(_) | Value::Number(_) => "number",
            Value::Text(_) | Value::Binary(_) => "string",
            Value::Array(_) | Value::Map(_) | Value::Entity(_) => "table",
            Value::Foreign(kind) => kind,
        }
    }

    /// What is in it that has no form outside of the plugin's language.
    pub fn foreign(&self) -> Option<&'static str> {
        match self {
            Value::Foreign(kind) => Some(kind),
            Value::Array(items) => items.iter().find_map(Value::foreign),
            Value::Map(pairs) => pairs.iter().find_map(|(_, value)| value.foreign()),
            _ => None,
        }
    }

    /// As JSON. Bytes that are not UTF-8 are replaced by U+FFFD, keys are made text.
    pub fn to_json(&self) -> Json {
        match self {
            Value::Nil | Value::Foreign(_) => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(n) => Json::from(*n),
            // As Lua writes numbers: a whole one has no fraction.
            Value::Number(n) => self
                .as_int()
                .map_or_else(|| Number::from_f64(*n).map_or(Json::Null, Json::Number), Json::from),
            Value::Text(b) | Value::Binary(b) => {
                Json::String(String::from_utf8_lossy(b).into_owned())
            }
            Value::Array(items) => Json::Array(items.iter().map(Value::to_json).collect()),
            Value::Map(pairs) => {
                Json::Object(pairs.iter().map(|(k, v)| (k.to_key(), v.to_json())).collect())
            }
            // What is null in an entity is not there, as in Lua.
            Value::Entity(record) => {
                let there = record.iter().filter(|(_, value)| !value.is_null());
                Json::Object(there.map(|(key, value)| (key.clone(), value.clone())).collect())
            }
        }
    }

    fn to_key(&self) -> String {
        match self {
            Value::Int(n) => n.to_string(),
            Value::Number(n) => n.to_string(),
            other => other.as_bytes().map_or_else(
                || other.to_json().to_string(),
                |b| String::from_utf8_lossy(b).into_owned(),
            ),
        }
    }
}

impl From<&Json> for Value {
    fn from(json: &Json) -> Value {
        match json {
            Json::Null => Value::Nil,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => {
                n.as_i64().map_or_else(|| Value::Number(n.as_f64().unwrap_or(f64::NAN)), Value::Int)
            }
            Json::String(s) => Value::text(s),
            Json::Array(items) => Value::Array(items.iter().map(Value::from).collect()),
            // Null members are absent, as in a Lua table.
            Json::Object(map) => Value::Map(
                map.iter()
                    .filter(|(_, v)| !v.is_null())
                    .map(|(k, v)| (Value::text(k), Value::from(v)))
                    .collect(),
            ),
        }
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Value {
        Value::Bool(b)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Value {
        Value::Int(n)
    }
}

impl From<u16> for Value {
    fn from(n: u16) -> Value {
        Value::Int(n.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(Bytes::from(text))
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Value {
        Value::Text(bytes)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(option: Option<T>) -> Value {
        option.map_or(Value::Nil, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_goes_in_and_comes_out() {
        let json = json!({"a": [1, 2.5, true, "x"], "b": {"c": "d"}});
        assert_eq!(Value::from(&json).to_json(), json);
    }

    #[test]
    fn null_members_are_absent() {
        assert_eq!(Value::from(&json!({"a": null})), Value::Map(vec![]));
    }

    #[test]
    fn whole_doubles_are_whole_numbers() {
        assert_eq!(Value::Number(3.0).as_int(), Some(3));
        assert_eq!(Value::Number(3.5).as_int(), None);
    }
}
