//! The key of an answer, Kong's to the letter (`kong/plugins/proxy-cache/cache_key.lua`): what
//! others have computed keeps working.

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
        Some((path, _)) => format!("{method} {path}"),
        None => format!("{method} {} {:?}", request.target, request.version),
    };
    if settings.ignore_uri_case == Some(true) {
        uri = uri.to_lowercase();
    }
    let arguments = kong::arguments(exchange);
    let mut names = settings.vary_query_params.clone().unwrap_or_default();
    if names.is_empty() {
        names = names_of(&arguments);
    }
    let arguments = varying(&names, |name| arguments.member(name));
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

fn names_of(arguments: &Value) -> Vec<String> {
    let Value::Map(pairs) = arguments else { return Vec::new() };
    let name = |(name, _): &(Value, Value)| {
        String::from_utf8_lossy(name.as_bytes().map_or(&[][..], |name| name)).into_owned()
    };
    let mut names: Vec<String> = pairs.iter().map(name).collect();
    names.sort();
    names
}

/// `name=value` of what is there, joined by colons.
fn varying(names: &[String], find: impl Fn(&str) -> Value) -> String {
    let part = |name: &String| match find(name) {
        Value::Nil => None,
        Value::Bool(_) => Some(name.clone()),
        Value::Array(values) => {
            let mut values: Vec<String> = values.iter().map(text).collect();
            values.sort();
            Some(format!("{name}={}", values.join(",")))
        }
        value => Some(format!("{name}={}", text(&value))),
    };
    names.iter().filter_map(part).collect::<Vec<_>>().join(":")
}

fn text(value: &Value) -> String {
    match value {
        Value::Bool(yes) => yes.to_string(),
        other => {
            String::from_utf8_lossy(other.as_bytes().map_or(&[][..], |text| text)).into_owned()
        }
    }
}
