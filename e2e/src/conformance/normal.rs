//! Answers with what differs from run to run replaced by a mark: the form that recordings have.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value, json};

/// Header values that no two runs share: kept by name, their value is not compared.
const VOLATILE: [&str; 15] = [
    "date",
    "x-kong-upstream-latency",
    "x-kong-proxy-latency",
    "x-kong-response-latency",
    "x-kong-admin-latency",
    "x-kong-request-id",
    "etag",
    "ratelimit-reset",
    "content-length",
    "server",
    "via",
    "last-modified",
    "x-kong-total-latency",
    "retry-after",
    "age",
];

/// Headers that are not compared at all.
const IGNORED: [&str; 5] = ["connection", "keep-alive", "transfer-encoding", "date", "server"];

/// JSON fields that hold a time when they hold a number.
const TIMES: [&str; 6] =
    ["created_at", "updated_at", "ttl", "started_at", "last_seen", "expires_in"];

static UUID: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap());
static REQUEST_ID: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(request_?id"?[:=>]\s*"?)[0-9a-f]{32}"#).unwrap());
/// An encrypted cookie.
static OPAQUE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^([^=;]+)=[A-Za-z0-9_-]{60,}").unwrap());

/// A JSON value in its normal form. `key` is the name of the field that holds it.
pub(super) fn value(given: &Value, key: &str) -> Value {
    match given {
        Value::Object(map) => {
            map.iter().map(|(name, held)| (name.clone(), value(held, name))).collect()
        }
        Value::Array(list) => list.iter().map(|held| value(held, key)).collect(),
        Value::Number(_) if TIMES.contains(&key) => json!("<time>"),
        Value::String(_) if matches!(key, "offset" | "next") => json!("<next page>"),
        Value::String(_) if key == "request_id" => json!("<request id>"),
        Value::String(_) if key == "config_hash" => json!("<hash>"),
        Value::String(text) => json!(UUID.replace_all(text, "<uuid>")),
        other => other.clone(),
    }
}

/// A body that is no JSON, in its normal form.
pub(super) fn text(given: &str) -> String {
    let without_ids = UUID.replace_all(given, "<uuid>");
    let mark = |found: &Captures<'_>| format!("{}<request id>", &found[1]);
    REQUEST_ID.replace_all(&without_ids, mark).into_owned()
}

/// Headers by lower-cased name; several of one name are a sorted list.
pub(super) fn headers<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let mut by_name = BTreeMap::<String, Vec<String>>::new();
    for (name, held) in pairs {
        let name = name.to_lowercase();
        if IGNORED.contains(&name.as_str()) {
            continue;
        }
        let held = match name.as_str() {
            _ if VOLATILE.contains(&name.as_str()) => "<any>".to_string(),
            "set-cookie" => UUID.replace_all(&OPAQUE.replace(held, "$1=<any>"), "<uuid>").into(),
            _ => UUID.replace_all(held, "<uuid>").into(),
        };
        by_name.entry(name).or_default().push(held);
    }
    let mut out = Map::new();
    for (name, mut values) in by_name {
        values.sort();
        let held = if values.len() == 1 { json!(values[0]) } else { json!(values) };
        out.insert(name, held);
    }
    Value::Object(out)
}

/// The upstream's account of what it received, its headers in their normal form.
pub(super) fn echo(account: &Value) -> Value {
    let mut account = account.clone();
    let pairs: Vec<(String, String)> =
        serde_json::from_value(account["headers"].clone()).unwrap_or_default();
    account["headers"] = headers(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    account
}

/// The bytes with a port written as the recordings write it, where it is a number of its own.
pub(super) fn port(data: &[u8], own: u16, usual: u16) -> Vec<u8> {
    let own = own.to_string().into_bytes();
    let mut out = Vec::with_capacity(data.len());
    let mut at = 0;
    while at < data.len() {
        let end = at + own.len();
        let alone = |i: Option<usize>| !i.and_then(|i| data.get(i)).is_some_and(u8::is_ascii_digit);
        if data[at..].starts_with(&own) && alone(at.checked_sub(1)) && alone(Some(end)) {
            out.extend(usual.to_string().bytes());
            at = end;
        } else {
            out.push(data[at]);
            at += 1;
        }
    }
    out
}

/// A certificate's subject common name: the last in it, since the issuer's stands before.
pub(super) fn common_name(der: &[u8]) -> Option<String> {
    // Object identifier 2.5.4.3, then a string type, then its length.
    let is_name = |window: &[u8]| {
        window[..5] == [6, 3, 0x55, 4, 3] && matches!(window[5], 0x0c | 0x13 | 0x14 | 0x16)
    };
    let at = der.windows(6).rposition(is_name)? + 6;
    let length = usize::from(*der.get(at)?);
    let name = der.get(at + 1..at + 1 + length)?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// JSON as the recording client wrote it: a space after commas and colons, ASCII only.
pub(super) fn dump(given: &Value) -> String {
    match given {
        Value::Object(map) => {
            let field =
                |(name, held): (&String, &Value)| format!("{}: {}", dump(&json!(name)), dump(held));
            let fields: Vec<String> = map.iter().map(field).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(list) => {
            format!("[{}]", list.iter().map(dump).collect::<Vec<_>>().join(", "))
        }
        Value::String(_) => given
            .to_string()
            .chars()
            .flat_map(|c| match c.is_ascii() && c != '\x7f' {
                true => vec![c],
                false => {
                    let mut units = [0; 2];
                    let units = c.encode_utf16(&mut units).iter();
                    units.flat_map(|u| format!("\\u{u:04x}").chars().collect::<Vec<_>>()).collect()
                }
            })
            .collect(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b1e5bd3-4d3c-4b0a-9a83-0d7c1a2b3c4d";

    #[test]
    fn values_lose_what_differs_from_run_to_run() {
        let check = |given: Value, expect: Value| assert_eq!(value(&given, ""), expect);
        check(json!({"id": ID}), json!({"id": "<uuid>"}));
        check(
            json!({"created_at": 1.5, "ttl": true}),
            json!({"created_at": "<time>", "ttl": true}),
        );
        check(json!({"next": format!("/r?offset={ID}")}), json!({"next": "<next page>"}));
        check(json!({"next": null}), json!({"next": null}));
        check(json!([{"request_id": "x"}]), json!([{"request_id": "<request id>"}]));
    }

    #[test]
    fn headers_are_lists_by_lower_case_name() {
        let pairs = [("X-B", "2"), ("x-b", "1"), ("Date", "now"), ("ETag", "e"), ("X-Id", ID)];
        let expect = json!({"etag": "<any>", "x-b": ["1", "2"], "x-id": "<uuid>"});
        assert_eq!(headers(pairs.into_iter()), expect);
    }

    #[test]
    fn a_port_is_replaced_where_it_stands_alone() {
        let check = |given: &str, expect: &str| {
            assert_eq!(String::from_utf8(port(given.as_bytes(), 29001, 8001)).unwrap(), expect);
        };
        check("http://a:29001/x 29001", "http://a:8001/x 8001");
        check("129001 290010", "129001 290010");
    }

    #[test]
    fn a_dump_is_spaced_and_ascii() {
        let given = json!({"a": [1, "\u{e9}\u{1f600}"], "b": {"c\n": null}});
        assert_eq!(dump(&given), r#"{"a": [1, "\u00e9\ud83d\ude00"], "b": {"c\n": null}}"#);
    }

    #[test]
    fn a_request_id_in_text_is_marked() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(text(&format!("request_id: {id}")), "request_id: <request id>");
    }
}
