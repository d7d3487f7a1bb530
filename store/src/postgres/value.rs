//! JSON values to and from what PostgreSQL keeps: the column's type decides.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use serde_json::{Number, Value};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::error::DatabaseError;

type Strange = Box<dyn Error + Sync + Send>;

/// Seconds from 1970, where Unix counts from, to 2000, where PostgreSQL does.
const EPOCH: i64 = 946_684_800;

/// A value on its way to the database, in the binary form of its type.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) kind: Type,
    /// Nothing is null.
    bytes: Option<BytesMut>,
}

impl Param {
    /// A value as a type.
    ///
    /// # Errors
    /// If it is none of that type.
    pub(crate) fn new(value: &Value, kind: &Type) -> Result<Param, DatabaseError> {
        let mut bytes = BytesMut::new();
        let wrong = |error: Strange| DatabaseError::Strange(error.to_string());
        let is_null = matches!(write(value, kind, &mut bytes).map_err(wrong)?, IsNull::Yes);
        Ok(Param { kind: kind.clone(), bytes: (!is_null).then_some(bytes) })
    }

    /// A text.
    pub(crate) fn text(text: &str) -> Param {
        Param { kind: Type::TEXT, bytes: Some(BytesMut::from(text)) }
    }

    /// A whole number.
    pub(crate) fn integer(number: i64) -> Param {
        let bytes = BytesMut::from(number.to_be_bytes().as_slice());
        Param { kind: Type::INT8, bytes: Some(bytes) }
    }
}

impl ToSql for Param {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Strange> {
        let Some(bytes) = &self.bytes else { return Ok(IsNull::Yes) };
        out.put_slice(bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn write(value: &Value, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Strange> {
    if value.is_null() {
        return Ok(IsNull::Yes);
    }
    let wrong = || Strange::from(format!("{value} is no {kind}"));
    match *kind {
        Type::TEXT | Type::VARCHAR | Type::NAME => match value {
            Value::String(text) => out.put_slice(text.as_bytes()),
            other => out.put_slice(other.to_string().as_bytes()),
        },
        Type::UUID => {
            let id = value.as_str().and_then(|text| Uuid::try_parse(text).ok());
            out.put_slice(id.ok_or_else(wrong)?.as_bytes());
        }
        Type::BOOL => out.put_u8(u8::from(value.as_bool().ok_or_else(wrong)?)),
        Type::INT2 => out.put_i16(whole(value).ok_or_else(wrong)?.try_into()?),
        Type::INT4 => out.put_i32(whole(value).ok_or_else(wrong)?.try_into()?),
        Type::INT8 => out.put_i64(whole(value).ok_or_else(wrong)?),
        Type::FLOAT8 => out.put_f64(value.as_f64().ok_or_else(wrong)?),
        Type::TIMESTAMPTZ => out.put_i64(micros(value).ok_or_else(wrong)?),
        Type::JSON => out.put_slice(value.to_string().as_bytes()),
        Type::JSONB => {
            out.put_u8(1);
            out.put_slice(value.to_string().as_bytes());
        }
        _ => match (kind.kind(), value) {
            (Kind::Array(element), Value::Array(values)) => write_array(values, element, out)?,
            // An empty list as Lua writes it.
            (Kind::Array(element), Value::Object(fields)) if fields.is_empty() => {
                write_array(&[], element, out)?;
            }
            _ => return Err(wrong()),
        },
    }
    Ok(IsNull::No)
}

/// One dimension, from 1, in the binary form of arrays.
fn write_array(values: &[Value], element: &Type, out: &mut BytesMut) -> Result<(), Strange> {
    out.put_i32(i32::from(!values.is_empty()));
    out.put_i32(i32::from(values.iter().any(Value::is_null)));
    out.put_u32(element.oid());
    if values.is_empty() {
        return Ok(());
    }
    out.put_i32(values.len().try_into()?);
    out.put_i32(1);
    for value in values {
        let at = out.len();
        out.put_i32(-1);
        if matches!(write(value, element, out)?, IsNull::No) {
            let length = i32::try_from(out.len() - at - 4)?;
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
    Ok(())
}

/// A whole number, however JSON writes it.
fn whole(value: &Value) -> Option<i64> {
    let float = || value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15);
    value.as_i64().or_else(|| float().map(|f| f as i64))
}

/// Seconds since 1970 as PostgreSQL counts; what is finer than a millisecond is dropped, as Kong
/// does.
fn micros(value: &Value) -> Option<i64> {
    let millis = match value.as_i64() {
        Some(seconds) => seconds.checked_mul(1000)?,
        None => (value.as_f64().filter(|f| f.abs() < 9e12)? * 1000.0).round() as i64,
    };
    millis.checked_sub(EPOCH * 1000)?.checked_mul(1000)
}

/// A value out of the database.
#[derive(Debug)]
pub(crate) struct Cell(pub(crate) Value);

impl Cell {
    /// The value of a column.
    ///
    /// # Errors
    /// If it is of a type that no column of Kong's has.
    pub(crate) fn of(row: &Row, column: usize) -> Result<Value, DatabaseError> {
        let cell: Result<Cell, _> = row.try_get(column);
        cell.map(|cell| cell.0).map_err(|error| DatabaseError::Strange(error.to_string()))
    }
}

impl<'a> FromSql<'a> for Cell {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Cell, Strange> {
        read(kind, raw).map(Cell)
    }

    fn from_sql_null(_: &Type) -> Result<Cell, Strange> {
        Ok(Cell(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn read(kind: &Type, raw: &[u8]) -> Result<Value, Strange> {
    Ok(match *kind {
        Type::TEXT | Type::VARCHAR | Type::NAME => Value::from(std::str::from_utf8(raw)?),
        Type::UUID => {
            let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
            Value::from(&*Uuid::from_slice(raw)?.hyphenated().encode_lower(&mut text))
        }
        Type::BOOL => Value::from(bool::from_sql(kind, raw)?),
        Type::INT2 => Value::from(i16::from_sql(kind, raw)?),
        Type::INT4 => Value::from(i32::from_sql(kind, raw)?),
        Type::INT8 => Value::from(i64::from_sql(kind, raw)?),
        Type::FLOAT8 => number(f64::from_sql(kind, raw)?),
        Type::TIMESTAMPTZ => {
            let micros = i64::from_be_bytes(raw.try_into()?);
            seconds(micros)
        }
        Type::JSON => serde_json::from_slice(raw)?,
        // A byte says the version of the format; there is one.
        Type::JSONB => serde_json::from_slice(raw.get(1..).unwrap_or_default())?,
        _ => match kind.kind() {
            Kind::Array(element) => read_array(element, raw)?,
            _ => return Err(format!("no column has the type {kind}").into()),
        },
    })
}

fn read_array(element: &Type, mut raw: &[u8]) -> Result<Value, Strange> {
    let mut next = |length: usize| -> Result<&[u8], Strange> {
        let (head, tail) = raw.split_at_checked(length).ok_or("an array ends early")?;
        raw = tail;
        Ok(head)
    };
    let dimensions = i32::from_be_bytes(next(4)?.try_into()?);
    next(8)?;
    if dimensions == 0 {
        return Ok(Value::Array(Vec::new()));
    }
    if dimensions > 1 {
        return Err("an array of arrays".into());
    }
    let count = i32::from_be_bytes(next(4)?.try_into()?);
    next(4)?;
    let mut values = Vec::new();
    for _ in 0..count {
        let length = i32::from_be_bytes(next(4)?.try_into()?);
        values.push(match usize::try_from(length) {
            Ok(length) => read(element, next(length)?)?,
            Err(_) => Value::Null,
        });
    }
    Ok(Value::Array(values))
}

fn seconds(micros: i64) -> Value {
    if micros % 1_000_000 == 0 {
        return Value::from(micros / 1_000_000 + EPOCH);
    }
    let millis = micros.div_euclid(1000) + EPOCH * 1000;
    number(millis as f64 / 1000.0)
}

fn number(float: f64) -> Value {
    if float.fract() == 0.0 && float.abs() < 9e15 {
        return Value::from(float as i64);
    }
    Number::from_f64(float).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(kind: &Type, value: &Value, expect: Result<Value, &str>) {
        let mut bytes = BytesMut::new();
        let came_back = match write(value, kind, &mut bytes) {
            Ok(IsNull::Yes) => Ok(Value::Null),
            Ok(IsNull::No) => read(kind, &bytes).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(came_back, expect.map_err(str::to_owned), "{value} as {kind}");
    }

    #[test]
    fn values_come_back_as_they_went() {
        let same = |kind: &Type, value: Value| check(kind, &value, Ok(value.clone()));
        same(&Type::TEXT, json!("Grüße"));
        same(&Type::TEXT, Value::Null);
        same(&Type::UUID, json!("f9b2c8a4-0d2e-4d7b-9c1a-3f5e6d7c8b9a"));
        same(&Type::BOOL, json!(false));
        same(&Type::INT2, json!(-1));
        same(&Type::INT8, json!(9_007_199_254_740_993_i64));
        same(&Type::JSONB, json!({"a": [1, null, {"b": "c"}]}));
        same(&Type::TEXT_ARRAY, json!([]));
        same(&Type::TEXT_ARRAY, json!(["a", "", null]));
        same(&Type::UUID_ARRAY, json!(["f9b2c8a4-0d2e-4d7b-9c1a-3f5e6d7c8b9a"]));
        same(&Type::JSONB_ARRAY, json!([{"ip": "1.2.3.4", "port": null}]));
        same(&Type::TIMESTAMPTZ, json!(1_700_000_000));
        same(&Type::TIMESTAMPTZ, json!(1_700_000_000.123));
        same(&Type::TIMESTAMPTZ, json!(12.5));
    }

    #[test]
    fn what_lua_writes_is_understood() {
        check(&Type::INT4, &json!(8080.0), Ok(json!(8080)));
        check(&Type::TEXT_ARRAY, &json!({}), Ok(json!([])));
        check(&Type::TIMESTAMPTZ, &json!(1.0004), Ok(json!(1)));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        check(&Type::UUID, &json!("x"), Err("\"x\" is no uuid"));
        check(&Type::INT2, &json!(70_000), Err("out of range integral type conversion attempted"));
        check(&Type::INT4, &json!(1.5), Err("1.5 is no int4"));
        check(&Type::TEXT_ARRAY, &json!("a"), Err("\"a\" is no _text"));
    }
}
