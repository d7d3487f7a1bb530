//! Paths and query strings as the gateway reads and writes them.

use std::fmt::Write;

use bytes::Bytes;

use super::{Stop, args, quick::Lent};
use crate::Value;

/// The characters that stay escaped when a path is normalized (RFC 3986, reserved).
const RESERVED: &[u8] = b"!*'();:@&=+$,/?%#[]";

/// A path with unreserved escapes decoded, the hexadecimal digits of others in upper case, dot
/// segments resolved and slashes merged (`kong/tools/uri.lua`).
pub(super) fn normalize(path: &[u8]) -> Vec<u8> {
    resolve(decode_unreserved(path))
}

/// The path of a target, path and query, if it stays as it is when it is normalized. Where that
/// takes a closer look, there is none.
pub(super) fn normal_path(target: &[u8]) -> Option<&[u8]> {
    for (at, &byte) in target.iter().enumerate() {
        match byte {
            // Letters.
            b'@'.. => {}
            b'?' => return target.get(..at),
            b'%' => return None,
            b'/' if matches!(target.get(at + 1), Some(b'/' | b'.')) => return None,
            _ => {}
        }
    }
    Some(target)
}

/// A path with dot segments resolved and slashes merged.
pub(super) fn resolve(path: Vec<u8>) -> Vec<u8> {
    let dotted = path.contains(&b'.') || path.windows(2).any(|pair| pair == b"//");
    if !dotted || path.first() != Some(&b'/') {
        return path;
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut ends_open = false;
    for segment in path.split(|&byte| byte == b'/') {
        ends_open = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if ends_open || out.is_empty() {
        out.push(b'/');
    }
    out
}

fn decode_unreserved(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        match (first, escaped(tail)) {
            (b'%', Some(byte)) if RESERVED.contains(&byte) => {
                out.extend_from_slice(&[b'%', tail[0].to_ascii_uppercase()]);
                out.push(tail[1].to_ascii_uppercase());
                rest = &tail[2..];
            }
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &tail[2..];
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

/// The byte that two hexadecimal digits at the front stand for.
fn escaped(tail: &[u8]) -> Option<u8> {
    let [high, low, ..] = tail else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// A path with everything escaped that may not stand in one; escapes in it stay as they are.
pub(super) fn escape_path(path: &[u8]) -> String {
    escape(path, b"!#$&'()*+,/:;=?@[]-_.~%")
}

/// A name or a value of a query string, escaped (`ngx.escape_uri`).
pub(super) fn escape_component(text: &[u8]) -> String {
    escape(text, b"-_.~!*'()")
}

fn escape(text: &[u8], plain: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Whether a name or a value of a query string is another when it is decoded.
fn is_escaped(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'%' | b'+'))
}

/// A name or a value of a query string, decoded: `+` is a space, broken escapes stay.
pub(super) fn unescape_component(text: &[u8]) -> Bytes {
    if !is_escaped(text) {
        return Bytes::copy_from_slice(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => out.push(b' '),
            b'%' => match escaped(tail) {
                Some(byte) => {
                    out.push(byte);
                    rest = &tail[2..];
                }
                None => out.push(b'%'),
            },
            other => out.push(other),
        }
    }
    Bytes::from(out)
}

/// The arguments of a query string or form, at most `most`. One without `=` is true, one that
/// comes again makes a list, one without a name is left out (`ngx.decode_args`).
pub(super) fn decode_args(query: &[u8], most: usize) -> Value {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    for argument in query.split(|&byte| byte == b'&').filter(|a| !a.is_empty()).take(most) {
        let (name, value) = match argument.iter().position(|&byte| byte == b'=') {
            Some(at) => (&argument[..at], Value::Text(unescape_component(&argument[at + 1..]))),
            None => (argument, Value::Bool(true)),
        };
        if !name.is_empty() {
            add(&mut pairs, Value::Text(unescape_component(name)), value);
        }
    }
    Value::Map(pairs)
}

/// Adds a value to a map in which a name that comes again makes a list.
fn add(pairs: &mut Vec<(Value, Value)>, name: Value, value: Value) {
    match pairs.iter_mut().find(|(known, _)| *known == name) {
        None => pairs.push((name, value)),
        Some((_, there)) => join(there, value),
    }
}

/// Adds a value to one that came before: together they are a list.
pub(super) fn join(there: &mut Value, value: Value) {
    match there {
        Value::Array(list) => list.push(value),
        first => *first = Value::Array(vec![std::mem::take(first), value]),
    }
}

/// The first value of an argument in a query string: text, or true where it has none.
pub(super) fn find_arg<'q>(query: &'q [u8], name: &[u8]) -> Lent<'q> {
    for argument in query.split(|&byte| byte == b'&').filter(|a| !a.is_empty()).take(100) {
        let at = argument.iter().position(|&byte| byte == b'=');
        let key = &argument[..at.unwrap_or(argument.len())];
        if !key.is_empty() && (key == name || (is_escaped(key) && unescape_component(key) == name))
        {
            return match at.map(|at| &argument[at + 1..]) {
                None => Lent::Bool(true),
                Some(value) if is_escaped(value) => {
                    Lent::Value(Value::Text(unescape_component(value)))
                }
                Some(value) => Lent::Text(value),
            };
        }
    }
    Lent::Nil
}

/// A table as a query string, arguments sorted. True is an argument without a value, false none
/// at all, a list an argument for each item (`kong/pdk/service/request.lua`).
///
/// # Errors
/// Kong's text for a key or value of the wrong type.
pub(super) fn encode_args(table: &Value) -> Result<String, Stop> {
    let mut encoded = Vec::new();
    for (key, value) in args::pairs(table).unwrap_or_default() {
        let key = key.as_bytes().ok_or_else(|| args::raise("arg keys must be strings"))?;
        encoded.push(encode_arg(&escape_component(key), &value)?);
    }
    encoded.sort();
    Ok(encoded.join("&"))
}

fn encode_arg(key: &str, value: &Value) -> Result<String, Stop> {
    Ok(match value {
        Value::Nil | Value::Bool(false) => String::new(),
        Value::Bool(true) => key.to_owned(),
        Value::Array(items) => {
            let mut list = Vec::with_capacity(items.len());
            for item in items {
                if item.type_name() == "table" {
                    return Err(unusable(item));
                }
                list.push(encode_arg(key, item)?);
            }
            list.retain(|argument| !argument.is_empty());
            list.join("&")
        }
        Value::Map(pairs) if pairs.is_empty() => String::new(),
        Value::Map(_) | Value::Entity(_) | Value::Foreign(_) => return Err(unusable(value)),
        single => format!("{key}={}", escape_component(&args::to_text(single))),
    })
}

fn unusable(value: &Value) -> Stop {
    args::raise(format!("attempt to use {} as query arg value", value.type_name()))
}

/// A query string without any argument of that name. All others are written anew, as URLs have it
/// (https://url.spec.whatwg.org/#urlencoded-serializing, a space as `%20`), as Kong's library does.
pub(super) fn remove_arg(query: &str, name: &[u8]) -> String {
    let mut kept = String::with_capacity(query.len());
    for argument in query.as_bytes().split(|&byte| byte == b'&').filter(|a| !a.is_empty()) {
        let at = argument.iter().position(|&byte| byte == b'=').unwrap_or(argument.len());
        let key = unescape_component(&argument[..at]);
        if key == name {
            continue;
        }
        let value = unescape_component(argument.get(at + 1..).unwrap_or_default());
        if !kept.is_empty() {
            kept.push('&');
        }
        kept.push_str(&escape(&key, b"*-._"));
        kept.push('=');
        kept.push_str(&escape(&value, b"*-._"));
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_that_are_normal_stay_as_they_are() {
        for target in ["/", "/a/b?x=1", "/a.b/c-d", "*", "/a/", "/a?b?../%", "a/b", "", "/?", "?"] {
            let path = target.split('?').next().unwrap_or_default().as_bytes();
            assert_eq!(normal_path(target.as_bytes()), Some(path), "{target}");
            assert_eq!(normalize(path), path, "{target}");
        }
        for target in ["/a//b", "/a/./b", "/..", "/%41", "/a/.b", "//"] {
            assert_eq!(normal_path(target.as_bytes()), None, "{target}");
        }
    }

    #[test]
    fn paths_are_normalized() {
        for (path, expect) in [
            ("/r/a%2Fb/../c//d/%7Euser", "/r/c/d/~user"),
            ("/in/a%20b/c", "/in/a b/c"),
            ("/a%2fb", "/a%2Fb"),
            ("/a/./b/..", "/a/"),
            ("/../x", "/x"),
            ("/", "/"),
            ("/a/", "/a/"),
            ("/%zz", "/%zz"),
        ] {
            assert_eq!(String::from_utf8_lossy(&normalize(path.as_bytes())), expect, "{path}");
        }
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(
            escape_path("/new/path with space/ü%20x?y".as_bytes()),
            "/new/path%20with%20space/%C3%BC%20x?y"
        );
    }

    #[test]
    fn arguments_are_decoded() {
        for (query, expect) in [
            ("a=1&a=2&a", json!({"a": ["1", "2", true]})),
            ("flag&a=&A=upper", json!({"flag": true, "a": "", "A": "upper"})),
            ("a=x+y%20z%26&flag=%E2%82%AC", json!({"a": "x y z&", "flag": "€"})),
            ("a%5B%5D=1&a[]=2&=novalue&&c==", json!({"a[]": ["1", "2"], "c": "="})),
            ("d%zz%=1", json!({"d%zz%": "1"})),
            ("", json!({})),
        ] {
            assert_eq!(decode_args(query.as_bytes(), 100).to_json(), expect, "{query}");
        }
        assert_eq!(decode_args(b"a=1&b=2", 1).to_json(), json!({"a": "1"}));
    }

    #[test]
    fn one_argument_is_found() {
        let query = b"a=1&b=x&b=y&flag&empty=&sp+ace=%C3%BC";
        for (name, expect) in [
            ("a", json!("1")),
            ("b", json!("x")),
            ("flag", json!(true)),
            ("empty", json!("")),
            ("none", json!(null)),
            ("sp ace", json!("ü")),
        ] {
            assert_eq!(Value::from(find_arg(query, name.as_bytes())).to_json(), expect, "{name}");
        }
    }

    #[test]
    fn arguments_are_encoded() {
        for (table, expect) in [
            (json!({"b": ["2", "1"], "a": "x y"}), "a=x%20y&b=2&b=1"),
            (
                json!({"b": "2", "a": ["1", "x y", true], "e": "", "f": false, "t": true,
                       "k&": "v=w"}),
                "&a=1&a=x%20y&a&b=2&e=&k%26=v%3Dw&t",
            ),
            (json!({"n": 5, "f": 1.5}), "f=1.5&n=5"),
            (json!({}), ""),
            (json!(["x"]), "arg keys must be strings"),
            (json!({"a": [{"b": 1}]}), "attempt to use table as query arg value"),
        ] {
            let encoded = encode_args(&Value::from(&table)).unwrap_or_else(|stop| stop.to_string());
            assert_eq!(encoded, expect, "{table}");
        }
    }

    #[test]
    fn arguments_are_removed() {
        for (query, expect) in [
            ("case=x&x=1&x=2&keep=%20", "case=x&keep=%20"),
            ("x", ""),
            ("b=%65&%78=1&a=1+2", "b=e&a=1%202"),
            ("flag&&path=/a:b~*&%zz=%2b", "flag=&path=%2Fa%3Ab%7E*&%25zz=%2B"),
        ] {
            assert_eq!(remove_arg(query, b"x"), expect, "{query}");
        }
    }
}
