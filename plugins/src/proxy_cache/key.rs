//! The key of an answer, Kong's (`kong/plugins/proxy-cache/cache_key.lua`): what others have
//! computed keeps working. Only what separates the parts of a key is written differently where it
//! stands within one: in Kong `?a=1%3Ab%3D2` has the key of `?a=1&b=2`, and so its answer.

use std::fmt::Write;

use silverback_pdk::{Exchange, Value, kong};

use super::Settings;

/// The key, a SHA-256 in hexadecimal.
pub(super) fn of(exchange: &Exchange, settings: &Settings) -> String {
    let request = &exchange.request;
    let consumer = exchange.client.consumer.as_ref().and_then(|c| c.get("id")?.as_str());
    let route = exchange.route().map(|route| route.id.to_string());
    let prefix = match (consumer, route) {
        (Some(consumer), Some(route)) => format!("{consumer}:{route}"),
        (_, Some(route)) => route,
        _ => "default".to_owned(),
    };
    let method = request.method.as_str();
    // Kong cuts the request line at its question mark: without one the version stays.
    let mut uri = match request.target.split_once('?') {
        Some((path, _)) => format!("{method} {}", path.replace('|', "%7C")),
        None => format!("{method} {} {:?}", request.target.replace('|', "%7C"), request.version),
    };
    if settings.ignore_uri_case == Some(true) {
        uri = uri.to_lowercase();
    }
    let arguments = kong::arguments(exchange);
    let names = settings.vary_query_params.as_deref().unwrap_or_default();
    let arguments = match (names, arguments) {
        ([], Value::Map(mut all)) => {
            all.sort_by(|(one, _), (other, _)| one.as_bytes().cmp(&other.as_bytes()));
            joined(all.iter().filter_map(|(name, value)| part(&text(name), value)))
        }
        (names, all) => varying(names, |name| all.member(name)),
    };
    let names = settings.vary_headers.as_deref().unwrap_or_default();
    let headers = varying(names, |name| {
        let lines = request.headers.get_all(name.replace('_', "-")).iter();
        let mut lines: Vec<Value> = lines.map(|line| Value::text(line.as_bytes())).collect();
        if lines.len() > 1 { Value::Array(lines) } else { lines.pop().unwrap_or_default() }
    });
    let text = format!("{prefix}|{method}|{uri}|{arguments}|{headers}");
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What is there of these, in their order.
fn varying(names: &[String], find: impl Fn(&str) -> Value) -> String {
    joined(names.iter().filter_map(|name| part(&escaped(name), &find(name))))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(":")
}

/// `name=value`; nothing if there is no value.
fn part(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::Nil => None,
        Value::Bool(_) => Some(name.to_owned()),
        Value::Array(values) => {
            let mut values: Vec<String> = values.iter().map(text).collect();
            values.sort();
            Some(format!("{name}={}", values.join(",")))
        }
        value => Some(format!("{name}={}", text(value))),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Bool(yes) => yes.to_string(),
        other => {
            let bytes = other.as_bytes().map_or(&[][..], |text| text);
            match std::str::from_utf8(bytes) {
                Ok(text) => escaped(text),
                Err(_) => bytes.iter().fold(String::new(), |text, byte| match byte {
                    0..=0x7f => text + &escaped(char::from(*byte).encode_utf8(&mut [0; 4])),
                    _ => format!("{text}%{byte:02X}"),
                }),
            }
        }
    }
}

/// Without what separates the parts of a key.
fn escaped(text: &str) -> String {
    if !text.contains([':', '=', ',', '|', '%']) {
        return text.to_owned();
    }
    let pairs = [('%', "%25"), (':', "%3A"), ('=', "%3D"), (',', "%2C"), ('|', "%7C")];
    pairs.into_iter().fold(text.to_owned(), |text, (letter, code)| text.replace(letter, code))
}
