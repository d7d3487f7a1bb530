//! Bodies decoded and encoded by their content type.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value as Json;

use super::{Outcome, Stop, args, uri};
use crate::Value;

/// The kinds of body that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `application/json`.
    Json,
    /// `multipart/form-data`.
    Multipart,
}

impl Kind {
    /// The kind that a content type names, whatever follows it.
    ///
    /// # Errors
    /// `nil` and a text for a type that is not understood.
    pub(super) fn of(content_type: &str) -> Result<Kind, Stop> {
        let lower = content_type.to_ascii_lowercase();
        Kind::ALL
            .into_iter()
            .find(|kind| lower.starts_with(kind.mime()))
            .ok_or_else(|| Stop::Nil(format!("unsupported content type '{content_type}'")))
    }

    /// The kind whose content type this is exactly.
    pub(super) fn named(mime: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| mime == kind.mime())
    }

    const ALL: [Kind; 3] = [Kind::Form, Kind::Json, Kind::Multipart];

    fn mime(self) -> &'static str {
        match self {
            Kind::Form => "application/x-www-form-urlencoded",
            Kind::Json => "application/json",
            Kind::Multipart => "multipart/form-data",
        }
    }

    /// Decodes a body; a form's arguments at most `most`.
    ///
    /// # Errors
    /// `nil` and Kong's text for a body that is not what its type says.
    pub(super) fn decode(self, body: &Bytes, content_type: &str, most: usize) -> Outcome {
        match self {
            Kind::Form => Ok(uri::decode_args(body, most)),
            Kind::Json => match serde_json::from_slice::<Json>(body) {
                Ok(json) if json.is_object() || json.is_array() => Ok(whole(&json)),
                Ok(_) | Err(_) => Err(Stop::Nil("invalid json body".to_owned())),
            },
            Kind::Multipart => boundary(content_type)
                .map(|boundary| decode_multipart(body, boundary))
                .ok_or_else(|| Stop::Nil("unable to decode multipart body".to_owned())),
        }
    }

    /// Encodes a table; gives the body and the content type that goes with it.
    ///
    /// # Errors
    /// Kong's texts for what can't be encoded.
    pub(super) fn encode(self, table: &Value, mime: &str) -> Result<(Bytes, String), Stop> {
        match self {
            Kind::Form => Ok((uri::encode_args(table)?.into(), mime.to_owned())),
            Kind::Json => Ok((table.to_json().to_string().into(), mime.to_owned())),
            Kind::Multipart => encode_multipart(table, mime),
        }
    }
}

/// JSON with its nulls kept, also as members.
fn whole(json: &Json) -> Value {
    match json {
        Json::Array(items) => Value::Array(items.iter().map(whole).collect()),
        Json::Object(members) => Value::Map(
            members.iter().map(|(key, value)| (Value::text(key), whole(value))).collect(),
        ),
        single => Value::from(single),
    }
}

/// The boundary in a multipart content type.
fn boundary(content_type: &str) -> Option<&str> {
    let (_, rest) = content_type.split_once("boundary=")?;
    let boundary = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?.0,
        None => rest.split_once(';').map_or(rest, |(boundary, _)| boundary).trim(),
    };
    (!boundary.is_empty()).then_some(boundary)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The named parts of a multipart body; a name that comes again makes a list.
fn decode_multipart(body: &[u8], boundary: &str) -> Value {
    let delimiter = format!("--{boundary}");
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    // There may be very many parts: names are not looked for one by one.
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut rest = body;
    while let Some(at) = find(rest, delimiter.as_bytes()) {
        let part = &rest[at + delimiter.len()..];
        let end = find(part, delimiter.as_bytes()).unwrap_or(part.len());
        if let Some((name, value)) = decode_part(&part[..end]) {
            let value = Value::text(value);
            match places.get(&name).and_then(|&place| pairs.get_mut(place)) {
                Some((_, there)) => uri::join(there, value),
                None => {
                    pairs.push((Value::text(&name), value));
                    places.insert(name, pairs.len() - 1);
                }
            }
        }
        rest = &part[end..];
    }
    Value::Map(pairs)
}

fn decode_part(part: &[u8]) -> Option<(String, &[u8])> {
    let head_end = find(part, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&part[..head_end]);
    let disposition =
        head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let (_, name) =
        disposition.split_once(" name=").or_else(|| disposition.split_once(";name="))?;
    let name = match name.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?.0,
        None => name.split_once(';').map_or(name, |(name, _)| name).trim(),
    };
    let value = &part[head_end + 4..];
    Some((name.to_owned(), value.strip_suffix(b"\r\n").unwrap_or(value)))
}

fn encode_multipart(table: &Value, mime: &str) -> Result<(Bytes, String), Stop> {
    let mut parts = Vec::new();
    for (key, value) in args::pairs(table).unwrap_or_default() {
        let shown = String::from_utf8_lossy(&args::to_text(&key)).into_owned();
        if key.as_bytes().is_none() {
            let kind = key.type_name();
            return Err(args::raise(format!(
                "invalid key \"{shown}\": got {kind}, expected string"
            )));
        }
        if !matches!(value.type_name(), "string" | "number" | "boolean") {
            let kind = value.type_name();
            return Err(args::raise(format!(
                "invalid value \"{shown}\": got {kind}, expected string, number or boolean"
            )));
        }
        parts.push((shown, args::to_text(&value)));
    }
    parts.sort();
    let mut mark = boundary(mime).map_or_else(random_boundary, str::to_owned);
    while parts.iter().any(|(_, value)| find(value, format!("\n--{mark}").as_bytes()).is_some()) {
        mark = random_boundary();
    }
    let mut out = Vec::new();
    for (key, value) in parts {
        let head = "Content-Disposition: form-data; name=";
        out.extend_from_slice(format!("--{mark}\r\n{head}\"{key}\"\r\n\r\n").as_bytes());
        out.extend_from_slice(&value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{mark}--\r\n").as_bytes());
    Ok((out.into(), format!("multipart/form-data; boundary={mark}")))
}

fn random_boundary() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "literals read best without a borrow")]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(content_type: &str, body: &str, expect: Json) {
        let got = Kind::of(content_type)
            .and_then(|kind| kind.decode(&Bytes::from(body.to_owned()), content_type, 100));
        let got = match got {
            Ok(value) => value.to_json(),
            Err(stop) => Json::String(stop.to_string()),
        };
        assert_eq!(got, expect, "{content_type} {body}");
    }

    #[test]
    fn bodies_are_decoded() {
        let form = "application/x-www-form-urlencoded";
        check(
            form,
            "a=1&a=2&b=x%20y+z&flag&empty=",
            json!({"a": ["1", "2"], "b": "x y z", "flag": true, "empty": ""}),
        );
        check("application/json; charset=utf-8", "[1,2,3]", json!([1, 2, 3]));
        check("Application/JSON", r#"{"o":{"x":null}}"#, json!({"o": {"x": null}}));
        check("application/json", "{broken", json!("invalid json body"));
        check("application/json", "\"just a string\"", json!("invalid json body"));
        check("application/json", "", json!("invalid json body"));
        check("text/plain", "hello", json!("unsupported content type 'text/plain'"));
        check("multipart/form-data", "x", json!("unable to decode multipart body"));
        check(
            "multipart/form-data; boundary=b",
            "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b\r\n\
             Content-Disposition: form-data; name=\"a\"; filename=\"f\"\r\nX: y\r\n\r\n\
             2\r\n--b--\r\n",
            json!({"a": ["1", "2"]}),
        );
    }

    #[test]
    fn a_multipart_body_comes_back() {
        let table = Value::from(&json!({"b": "x\r\ny", "a": 1, "c": true}));
        let mime = "multipart/form-data; boundary=\"q\"";
        let (body, mime) = Kind::Multipart.encode(&table, mime).unwrap_or_default();
        assert_eq!(mime, "multipart/form-data; boundary=q");
        let back = Kind::Multipart.decode(&body, &mime, 0).unwrap_or_default();
        assert_eq!(back.to_json(), json!({"a": "1", "b": "x\r\ny", "c": "true"}));
    }
}
