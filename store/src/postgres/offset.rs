//! The offsets of pages, as Kong makes them: the last primary key as a JSON list, in base64.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::STANDARD_NO_PAD};
use serde_json::Value;
use silverback_model::Record;
use silverback_model::errors::Fault;

const READER: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The offset after an entity.
pub(super) fn encode(primary_key: &[String], record: &Record) -> String {
    let key = primary_key.iter().map(|name| record.get(name).cloned().unwrap_or_default());
    STANDARD_NO_PAD.encode(Value::Array(key.collect()).to_string())
}

/// The primary key of an offset.
///
/// # Errors
/// If it is not one of ours, in Kong's words.
pub(super) fn decode(offset: &str, fields: usize) -> Result<Vec<Value>, Fault> {
    let wrong = |why| Fault::invalid_offset(offset, why);
    let bytes = READER.decode(offset).map_err(|_| wrong("bad base64 encoding"))?;
    let key: Value = serde_json::from_slice(&bytes).map_err(|_| wrong("bad json encoding"))?;
    match key {
        Value::Array(key) if key.len() >= fields && !key.iter().any(Value::is_null) => Ok(key),
        _ => Err(wrong("bad json encoding")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(offset: &str, expect: Result<Value, &str>) {
        let decoded = decode(offset, 1).map(Value::Array).map_err(|fault| fault.message);
        let message = |why| format!("'{offset}' is not a valid offset: {why}");
        assert_eq!(decoded, expect.map_err(message));
    }

    #[test]
    fn offsets_are_kongs() {
        let Value::Object(record) = json!({"id": "a"}) else { return };
        assert_eq!(encode(&["id".to_owned()], &record), "WyJhIl0");
        check("WyJhIl0", Ok(json!(["a"])));
        check("WyJhIl0=", Ok(json!(["a"])));
        check("x", Err("bad base64 encoding"));
        check("eHh4", Err("bad json encoding"));
        check("W10", Err("bad json encoding"));
    }
}
