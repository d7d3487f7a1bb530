//! The messages of entities: which fields of an entity have which number and type.

use silverback_pdk::Value;

use super::{
    Malformed, Reader, Wire, put_bytes, put_int, put_message, text, truth, whole, wire::put_present,
};
use crate::input::Part;

/// A field of a message.
pub(super) struct Field {
    number: u32,
    name: &'static str,
    kind: Kind,
}

enum Kind {
    Text,
    Int,
    Bool,
    Texts,
    Message(&'static [Field]),
    Messages(&'static [Field]),
}

const fn field(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind }
}

/// A reference to another entity.
const KEY: &[Field] = &[field(1, "id", Kind::Text)];

/// A route's `headers` are a map; the message has a list of text there, so they stay out.
pub(super) const ROUTE: &[Field] = &[
    field(1, "id", Kind::Text),
    field(2, "created_at", Kind::Int),
    field(3, "updated_at", Kind::Int),
    field(4, "name", Kind::Text),
    field(5, "protocols", Kind::Texts),
    field(6, "methods", Kind::Texts),
    field(7, "hosts", Kind::Texts),
    field(8, "paths", Kind::Texts),
    field(10, "https_redirect_status_code", Kind::Int),
    field(11, "regex_priority", Kind::Int),
    field(12, "strip_path", Kind::Bool),
    field(13, "preserve_host", Kind::Bool),
    field(14, "snis", Kind::Texts),
    field(15, "sources", Kind::Texts),
    field(16, "destinations", Kind::Texts),
    field(17, "tags", Kind::Texts),
    field(18, "service", Kind::Message(KEY)),
];

pub(super) const SERVICE: &[Field] = &[
    field(1, "id", Kind::Text),
    field(2, "created_at", Kind::Int),
    field(3, "updated_at", Kind::Int),
    field(4, "name", Kind::Text),
    field(5, "retries", Kind::Int),
    field(6, "protocol", Kind::Text),
    field(7, "host", Kind::Text),
    field(8, "port", Kind::Int),
    field(9, "path", Kind::Text),
    field(10, "connect_timeout", Kind::Int),
    field(11, "write_timeout", Kind::Int),
    field(12, "read_timeout", Kind::Int),
    field(13, "tags", Kind::Texts),
    field(14, "client_certificate", Kind::Message(KEY)),
];

pub(super) const CONSUMER: &[Field] = &[
    field(1, "id", Kind::Text),
    field(2, "created_at", Kind::Int),
    field(3, "username", Kind::Text),
    field(4, "custom_id", Kind::Text),
    field(5, "tags", Kind::Texts),
];

pub(super) const CREDENTIAL: &[Field] =
    &[field(1, "id", Kind::Text), field(2, "consumer_id", Kind::Text)];

const DICT: &[Field] = &[field(1, "allocated_slabs", Kind::Int), field(2, "capacity", Kind::Int)];

pub(super) const MEMORY_STATS: &[Field] = &[
    field(
        1,
        "lua_shared_dicts",
        Kind::Message(&[
            field(1, "kong", Kind::Message(DICT)),
            field(2, "kong_db_cache", Kind::Message(DICT)),
        ]),
    ),
    field(
        2,
        "workers_lua_vms",
        Kind::Messages(&[field(1, "http_allocated_gc", Kind::Int), field(2, "pid", Kind::Int)]),
    ),
];

/// Writes the fields that an entity has. Those of another type than the message's are left out:
/// one that the other side refused would cost the whole message.
pub(super) fn write(fields: &[Field], entity: &Value, out: &mut Vec<u8>) {
    for Field { number, name, kind } in fields {
        let value = entity.member(name);
        match (kind, &value) {
            (_, Value::Nil) => {}
            (Kind::Text, value) => put_bytes(out, *number, &text(value)),
            (Kind::Int, value) => put_int(out, *number, whole(value)),
            (Kind::Bool, value) => put_int(out, *number, i64::from(truth(value))),
            (Kind::Texts, Value::Array(items)) => {
                items.iter().for_each(|item| put_present(out, *number, &text(item)));
            }
            (Kind::Message(fields), Value::Map(_) | Value::Entity(_)) => {
                put_message(out, *number, |out| write(fields, &value, out));
            }
            (Kind::Messages(fields), Value::Array(items)) => {
                for item in items {
                    put_message(out, *number, |out| write(fields, item, out));
                }
            }
            _ => {}
        }
    }
}

/// Reads an entity. Zero values are not on the wire, so what is missing is absent.
pub(super) fn read(fields: &[Field], message: Part<'_>) -> Result<Value, Malformed> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.field()? {
        let Some(field) = fields.iter().find(|f| f.number == number) else { continue };
        let value = match (&field.kind, wire) {
            (Kind::Text, Wire::Bytes(text)) => Value::Text(text.to_bytes()),
            (Kind::Int, Wire::Int(n)) => Value::Int(n.cast_signed()),
            (Kind::Bool, Wire::Int(n)) => Value::Bool(n != 0),
            (Kind::Texts, Wire::Bytes(text)) => {
                let same = |(k, _): &&mut (Value, Value)| k.as_str() == Some(field.name);
                if let Some((_, Value::Array(items))) = pairs.iter_mut().find(same) {
                    items.push(Value::Text(text.to_bytes()));
                    continue;
                }
                Value::Array(vec![Value::Text(text.to_bytes())])
            }
            (Kind::Message(fields), Wire::Bytes(bytes)) => read(fields, bytes)?,
            _ => return Err(Malformed::Type),
        };
        pairs.push((Value::constant(field.name), value));
    }
    Ok(Value::Map(pairs))
}
