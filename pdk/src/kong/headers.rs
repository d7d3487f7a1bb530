//! Headers as functions read, check and write them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    Stop, args,
    quick::{Given, Lent},
    uri,
};
use crate::{Spelling, Value, exchange::spelling::is_usual};

/// The value of the first header of that name. Case does not count, and `_` finds `-` as it does
/// in nginx's variables.
///
/// Requests have few headers: looking at each takes a fraction of what hashing the name does.
pub(super) fn find<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a HeaderValue> {
    let same = |(other, _): &(&HeaderName, _)| {
        let other = other.as_str().as_bytes();
        // Plugins mostly write names as they are kept.
        other == name || other.eq_ignore_ascii_case(name)
    };
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

/// The first value of a header as it is, or nil.
pub(super) fn lend<'e>(headers: &'e HeaderMap, name: &[u8]) -> Lent<'e> {
    find(headers, name).map_or(Lent::Nil, |value| Lent::Text(value.as_bytes()))
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
    // One block of memory holds all of them.
    let size = headers.iter().map(|(name, line)| name.as_str().len() + line.len()).sum();
    let mut texts = Vec::with_capacity(size);
    for (name, line) in headers.iter().take(most) {
        texts.extend_from_slice(name.as_str().as_bytes());
        texts.extend_from_slice(line.as_bytes());
    }
    let mut texts = Bytes::from(texts);
    let mut pairs: Vec<(Value, Value)> = Vec::with_capacity(headers.keys_len());
    let mut last: Option<&HeaderName> = None;
    // The lines of a name stand together.
    for (name, line) in headers.iter().take(most) {
        let name_text = texts.split_to(name.as_str().len());
        let line = Value::Text(texts.split_to(line.len()));
        match pairs.last_mut() {
            Some((_, before)) if last == Some(name) => uri::join(before, line),
            _ => pairs.push((Value::Text(name_text), line)),
        }
        last = Some(name);
    }
    Value::Map(pairs)
}

/// What a header is checked with that is to be removed.
pub(super) static NO_LINES: Value = Value::Array(Vec::new());

/// A header that passed the checks: its name and its lines, of which most have one.
pub(super) struct Header {
    /// Its name.
    pub(super) name: HeaderName,
    /// Its name as it was given, if it has capitals elsewhere than is usual.
    given: Option<Box<str>>,
    /// The value of its first line.
    pub(super) first: Option<HeaderValue>,
    /// Those of the others.
    more: Vec<HeaderValue>,
}

impl Header {
    /// Checks one name and value (`kong/pdk/private/checks.lua`).
    ///
    /// # Errors
    /// Kong's texts; and one of our own for a name that can't stand in a header.
    pub(super) fn check(name: Given<'_>, value: Given<'_>) -> Result<Header, Stop> {
        let one = "array of string, string, number or boolean";
        Header::check_as(name, value, one)
    }

    fn check_as(name: Given<'_>, value: Given<'_>, expected: &str) -> Result<Header, Stop> {
        let Some(text) = name.as_bytes() else {
            let shown = String::from_utf8_lossy(&args::to_text(&name.to_value())).into_owned();
            let kind = name.type_name();
            let refusal = format!("invalid header name \"{shown}\": got {kind}, expected string");
            return Err(args::raise(refusal));
        };
        let shown = || String::from_utf8_lossy(text);
        let mut more = Vec::new();
        let first = match value {
            Given::Other(Value::Array(items)) => {
                let wrong = items.iter().find(|item| item.as_bytes().is_none());
                if let Some(item) = wrong {
                    let kind = item.type_name();
                    return Err(args::raise(format!(
                        "invalid header value in array \"{}\": got {kind}, expected string",
                        shown()
                    )));
                }
                let mut lines = items.iter().filter_map(Value::as_bytes).map(|line| to_value(line));
                let first = lines.next();
                more.extend(lines);
                first
            }
            // An empty table of a language that has but one kind.
            Given::Other(Value::Map(pairs)) if pairs.is_empty() => None,
            Given::Nil | Given::Other(_) => {
                let kind = value.type_name();
                return Err(args::raise(format!(
                    "invalid header value for \"{}\": got {kind}, expected {expected}",
                    shown()
                )));
            }
            Given::Text(text) => Some(to_value(text)),
            single => Some(to_value(&args::to_text(&single.to_value()))),
        };
        let name = HeaderName::from_bytes(text).map_err(|_| {
            args::raise(format!(
                "invalid header name \"{}\": it holds a character that \
                                 must not stand in one",
                shown()
            ))
        })?;
        let given = std::str::from_utf8(text).ok().filter(|given| !is_usual(given));
        Ok(Header { name, given: given.map(Box::from), first, more })
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
            self.given = self.given.map(|given| given.replace('_', "-").into());
        }
        self
    }

    /// Puts it in the place of those of its name; without a line it removes them.
    pub(super) fn set(self, headers: &mut HeaderMap, spelling: &mut Spelling) {
        if self.first.is_some() {
            self.spell(headers, spelling);
        }
        let Some(first) = self.first else {
            spelling.remove(headers, &self.name);
            headers.remove(&self.name);
            return;
        };
        if self.more.is_empty() {
            // A map that is full stays as it is.
            let _ = headers.try_insert(self.name, first);
        } else if headers.try_insert(self.name.clone(), first).is_ok() {
            append(headers, &self.name, self.more);
        }
    }

    /// Says how its name is to be written.
    fn spell(&self, headers: &HeaderMap, spelling: &mut Spelling) {
        match &self.given {
            Some(given) => spelling.add(headers, &self.name, given),
            None if spelling.is_empty() => {}
            None => spelling.add_usual(headers, &self.name),
        }
    }

    /// Adds its lines. A map that is full (32,768 names) stays as it is.
    pub(super) fn add(self, headers: &mut HeaderMap, spelling: &mut Spelling) {
        self.spell(headers, spelling);
        let Some(first) = self.first else { return };
        if self.more.is_empty() {
            let _ = headers.try_append(self.name, first);
        } else if headers.try_append(self.name.clone(), first).is_ok() {
            append(headers, &self.name, self.more);
        }
    }
}

/// Adds lines of a name. A map that is full stays as it is.
fn append(headers: &mut HeaderMap, name: &HeaderName, lines: Vec<HeaderValue>) {
    for line in lines {
        if headers.try_append(name.clone(), line).is_err() {
            return;
        }
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
    pairs.map(|(name, value)| Header::check_as(name.into(), value.into(), many)).collect()
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
        let (name_given, value_given) = (Value::from(&name), Value::from(&value));
        let got = Header::check((&name_given).into(), (&value_given).into());
        let got = match got {
            Ok(header) => {
                let lines: Vec<HeaderValue> = header.first.into_iter().chain(header.more).collect();
                format!("{}: {lines:?}", header.name)
            }
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
