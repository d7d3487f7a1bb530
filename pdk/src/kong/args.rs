//! What functions check their arguments with, and how Lua writes values as text.

use bytes::Bytes;

use super::{Outcome, Stop, quick::Given};
use crate::Value;

static NIL: Value = Value::Nil;

/// The argument at a position; nil beyond the last.
pub(super) fn get(args: &[Value], position: usize) -> &Value {
    args.get(position).unwrap_or(&NIL)
}

/// A Lua error with this text.
pub(super) fn raise(text: impl Into<String>) -> Stop {
    Stop::Raise(text.into())
}

/// An argument that must be a string.
pub(super) fn text<'a>(
    args: &'a [Value],
    position: usize,
    refusal: &str,
) -> Result<&'a Bytes, Stop> {
    get(args, position).as_bytes().ok_or_else(|| raise(refusal))
}

/// An argument that must be a string; what is not UTF-8 in it is replaced.
pub(super) fn string(args: &[Value], position: usize, refusal: &str) -> Result<String, Stop> {
    text(args, position, refusal).map(|text| String::from_utf8_lossy(text).into_owned())
}

/// An argument that must be a whole number between two limits, `name` for the messages.
pub(super) fn integer(
    args: &[Value],
    position: usize,
    name: &str,
    least: i64,
    most: i64,
) -> Result<i64, Stop> {
    let value = get(args, position);
    let number = value.as_int().ok_or_else(|| raise(format!("{name} must be an integer")))?;
    if number < least || number > most {
        let text = format!("{name} must be an integer between {least} and {most}: given {number}");
        return Err(raise(text));
    }
    Ok(number)
}

/// `max_args`, `max_headers`: how many entries to read at most, 100 unless given, 1000 at most.
pub(super) fn maximum(value: &Value, name: &str) -> Result<usize, Stop> {
    if value.is_nil() {
        return Ok(100);
    }
    let number = value.as_number().ok_or_else(|| raise(format!("{name} must be a number")))?;
    if number < 1.0 {
        return Err(raise(format!("{name} must be >= 1")));
    }
    if number > 1000.0 {
        return Err(raise(format!("{name} must be <= 1000")));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 1 to 1000")]
    Ok(number as usize)
}

/// A status code between two limits.
pub(super) fn status(value: Given<'_>, least: u16) -> Result<http::StatusCode, Stop> {
    let number = value.to_value().as_number();
    let number = number.ok_or_else(|| raise("code must be a number"))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked"
    )]
    if number >= f64::from(least)
        && number <= 599.0
        && let Ok(status) = http::StatusCode::from_u16(number as u16)
    {
        return Ok(status);
    }
    Err(raise(format!("code must be a number between {least} and 599")))
}

/// The members of a table: pairs of a map, numbered items of a list.
pub(super) fn pairs(value: &Value) -> Option<Vec<(Value, Value)>> {
    match value {
        Value::Map(pairs) => Some(pairs.clone()),
        Value::Array(items) => Some((1i64..).map(Value::Int).zip(items.iter().cloned()).collect()),
        Value::Entity(record) => {
            let record = record.iter().filter(|(_, value)| !value.is_null());
            Some(record.map(|(key, value)| (Value::text(key), Value::from(value))).collect())
        }
        _ => None,
    }
}

/// A value as Lua's `tostring` writes it; a table, for which Lua has only an address, as JSON.
pub(super) fn to_text(value: &Value) -> Bytes {
    match value {
        Value::Nil => Bytes::from_static(b"nil"),
        Value::Bool(true) => Bytes::from_static(b"true"),
        Value::Bool(false) => Bytes::from_static(b"false"),
        Value::Int(n) => Bytes::from(n.to_string()),
        Value::Number(n) => Bytes::from(number(*n)),
        Value::Text(bytes) | Value::Binary(bytes) => bytes.clone(),
        Value::Foreign(kind) => Bytes::from_static(kind.as_bytes()),
        table => Bytes::from(table.to_json().to_string()),
    }
}

/// A double with 14 significant digits, whole ones without a fraction: Lua's `%.14g`.
fn number(n: f64) -> String {
    if let Some(whole) = Value::Number(n).as_int().filter(|n| n.abs() < 100_000_000_000_000) {
        return whole.to_string();
    }
    format!("{n:.13e}").parse::<f64>().unwrap_or(n).to_string()
}

/// Nothing, as the result of a function that only does something.
pub(super) fn done() -> Outcome {
    Ok(Value::Nil)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_in_lua() {
        for (n, text) in [(5.0, "5"), (1.5, "1.5"), (0.1 + 0.2, "0.3"), (-2.0, "-2")] {
            assert_eq!(number(n), text);
        }
    }
}
