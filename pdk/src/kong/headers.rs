//! Headers as functions read, check and write them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Stop, args};
use crate::Value;

/// The value of the first header of that name. Case does not count, and `_` finds `-` as it does
/// in nginx's variables.
///
/// Requests have few headers: looking at each takes a fraction of what hashing the name does.
pub(super) fn find<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a HeaderValue> {
    let same = |(other, _): &(&HeaderName, _)| other.as_str().as_bytes().eq_ignore_ascii_case(name);
    headers.iter().find(same).or_else(|| find_alike(headers, name)).map(|(_, value)| value)
}

#[cold]
fn find_alike<'a>(
    headers: &'a HeaderMap,
    name: &[u8],
) -> Option<(&'a HeaderName, &'a HeaderValue)> {
    let fold = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    headers.iter().find(|(other, _)| {
        let other = other.as_str().as_bytes();
        other.len() == name.len() && other.iter().map(fold).eq(name.iter().map(fold))
    })
}

/// The first value of a header, or nil.
pub(super) fn get(headers: &HeaderMap, name: &[u8]) -> Value {
    find(headers, name).map_or(Value::Nil, |value| Value::text(value.as_bytes()))
}

/// A header's first value, if it is text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    find(headers, name.as_bytes())?.to_str().ok()
}

/// All headers, at most `most` lines: names in lower case, several lines of a name as a list.
pub(super) fn to_map(headers: &HeaderMap, most: usize) -> Value {
    let mut left = most;
    let mut pairs = Vec::with_capacity(headers.keys_len());
    for name in headers.keys() {
        let lines = headers.get_all(name).iter().take(left);
        let mut lines: Vec<Value> = lines.map(|line| Value::text(line.as_bytes())).collect();
        left -= lines.len();
        let value = if lines.len() == 1 { lines.pop() } else { Some(Value::Array(lines)) };
        if let Some(value) = value {
            pairs.push((Value::text(name.as_str()), value));
        }
        if left == 0 {
            break;
        }
    }
    Value::Map(pairs)
}

/// A header that passed the checks: its name and its lines.
pub(super) struct Header {
    /// Its name.
    pub(super) name: HeaderName,
    /// Its values, a line each.
    pub(super) lines: Vec<HeaderValue>,
}

impl Header {
    /// Checks one name and value (`kong/pdk/private/checks.lua`).
    ///
    /// # Errors
    /// Kong's texts; and one of our own for a name that can't stand in a header.
    pub(super) fn check(name: &Value, value: &Value) -> Result<Header, Stop> {
        let one = "array of string, string, number or boolean";
        Header::check_as(name, value, one)
    }

    fn check_as(name: &Value, value: &Value, expected: &str) -> Result<Header, Stop> {
        let Some(text) = name.as_bytes() else {
            let shown = String::from_utf8_lossy(&args::to_text(name)).into_owned();
            let kind = name.type_name();
            let refusal = format!("invalid header name \"{shown}\": got {kind}, expected string");
            return Err(args::raise(refusal));
        };
        let shown = String::from_utf8_lossy(text);
        let lines = match value {
            Value::Array(items) => {
                let wrong = items.iter().find(|item| item.as_bytes().is_none());
                if let Some(item) = wrong {
                    let kind = item.type_name();
                    return Err(args::raise(format!(
                        "invalid header value in array \"{shown}\": got {kind}, expected string"
                    )));
                }
                items.iter().filter_map(Value::as_bytes).map(|line| to_value(line)).collect()
            }
            // An empty table of a language that has but one kind.
            Value::Map(pairs) if pairs.is_empty() => Vec::new(),
            Value::Nil | Value::Map(_) | Value::Entity(_) | Value::Foreign(_) => {
                let kind = value.type_name();
                return Err(args::raise(format!(
                    "invalid header value for \"{shown}\": got {kind}, expected {expected}"
                )));
            }
            Value::Text(text) => vec![to_value(text)],
            single => vec![to_value(&args::to_text(single))],
        };
        let name = HeaderName::from_bytes(text).map_err(|_| {
            args::raise(format!(
                "invalid header name \"{shown}\": it holds a character that \
                                 must not stand in one"
            ))
        })?;
        Ok(Header { name, lines })
    }

    /// Whether it is about the framing of the message, which is the gateway's own.
    pub(super) fn is_framing(&self) -> bool {
        matches!(self.name.as_str(), "transfer-encoding" | "transfer_encoding")
    }

    /// The same under the name that nginx gives an answer's header: with `-` for `_`.
    pub(super) fn of_answer(mut self) -> Header {
        if self.name.as_str().contains('_')
            && let Ok(name) = HeaderName::try_from(self.name.as_str().replace('_', "-"))
        {
            self.name = name;
        }
        self
    }

    /// Puts it in the place of those of its name; without a line it removes them.
    pub(super) fn set(mut self, headers: &mut HeaderMap) {
        if self.lines.len() == 1 {
            if let Some(line) = self.lines.pop() {
                // A map that is full stays as it is.
                let _ = headers.try_insert(self.name, line);
            }
            return;
        }
        headers.remove(&self.name);
        self.add(headers);
    }

    /// Adds its lines. A map that is full (32,768 names) stays as it is.
    pub(super) fn add(mut self, headers: &mut HeaderMap) {
        let Some(last) = self.lines.pop() else { return };
        for line in self.lines {
            if headers.try_append(self.name.clone(), line).is_err() {
                return;
            }
        }
        let _ = headers.try_append(self.name, last);
    }
}

/// Checks a table of headers.
///
/// # Errors
/// Kong's texts.
pub(super) fn check_all(table: &Value) -> Result<Vec<Header>, Stop> {
    let pairs = args::pairs(table).ok_or_else(|| args::raise("headers must be a table"))?;
    let many = "string, number, boolean or array of strings";
    // A nil member is no member.
    let pairs = pairs.iter().filter(|(_, value)| !value.is_nil());
    pairs.map(|(name, value)| Header::check_as(name, value, many)).collect()
}

/// A header's value; control characters, which would end it, are escaped as nginx does.
pub(super) fn to_value(text: &[u8]) -> HeaderValue {
    if let Ok(value) = HeaderValue::from_bytes(text) {
        return value;
    }
    let mut escaped = Vec::with_capacity(text.len() + 8);
    for &byte in text {
        if (byte < b' ' && byte != b'\t') || byte == 0x7f {
            escaped.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            escaped.push(byte);
        }
    }
    HeaderValue::from_maybe_shared(Bytes::from(escaped))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "literals read best without a borrow")]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(name: serde_json::Value, value: serde_json::Value, expect: &str) {
        let got = Header::check(&Value::from(&name), &Value::from(&value));
        let got = match got {
            Ok(header) => format!("{}: {:?}", header.name, header.lines),
            Err(stop) => stop.to_string(),
        };
        assert_eq!(got, expect, "{name} {value}");
    }

    #[test]
    fn headers_are_checked() {
        check(json!("X-A"), json!("v"), r#"x-a: ["v"]"#);
        check(json!("X-A"), json!(1.5), r#"x-a: ["1.5"]"#);
        check(json!("X-A"), json!(true), r#"x-a: ["true"]"#);
        check(json!("X-A"), json!(["a", "b"]), r#"x-a: ["a", "b"]"#);
        check(json!("X-A"), json!("a\r\nB: c"), r#"x-a: ["a%0D%0AB: c"]"#);
        check(json!(1), json!("a"), r#"invalid header name "1": got number, expected string"#);
        check(
            json!("a"),
            json!([1]),
            r#"invalid header value in array "a": got number, expected string"#,
        );
        check(
            json!("a"),
            json!(null),
            "invalid header value for \"a\": got nil, expected array of string, string, number or \
             boolean",
        );
    }

    #[test]
    fn underscores_find_dashes() {
        let mut headers = HeaderMap::new();
        headers.insert("x-test", HeaderValue::from_static("one"));
        headers.insert("x_raw", HeaderValue::from_static("two"));
        for (name, expect) in
            [("X-Test", "one"), ("x_test", "one"), ("x_raw", "two"), ("X-Raw", "two")]
        {
            assert_eq!(get(&headers, name.as_bytes()), Value::text(expect), "{name}");
        }
        assert_eq!(get(&headers, b"none"), Value::Nil);
    }
}
