//! One key's value: from text to what its kind says.

use std::time::Duration;

use super::keys::{Key, Kind, Range};
use super::listen;

/// A value that fits its key's kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing: an empty text.
    Unset,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text; also enums, switches, sizes and durations, whose text is checked.
    Text(String),
    /// Texts; also listeners, whose syntax is checked.
    List(Vec<String>),
}

impl Value {
    /// The value as Kong's Admin API shows it; `None` if unset.
    pub(crate) fn to_json(&self) -> Option<serde_json::Value> {
        match self {
            Self::Unset => None,
            Self::Bool(b) => Some((*b).into()),
            // Whole numbers are shown without a fraction.
            Self::Number(n) if n.fract() == 0.0 => Some((*n as i64).into()),
            Self::Number(n) => Some((*n).into()),
            Self::Text(text) => Some(text.as_str().into()),
            // Lua knows no difference between an empty list and an empty map, and clients have
            // got used to what that shows as.
            Self::List(items) if items.is_empty() => Some(serde_json::json!({})),
            Self::List(items) => Some(items.clone().into()),
        }
    }

    /// The value as it would stand in kong.conf.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Unset => String::new(),
            Self::Bool(true) => "on".to_owned(),
            Self::Bool(false) => "off".to_owned(),
            Self::Number(n) => n.to_string(),
            Self::Text(text) => text.clone(),
            Self::List(items) => items.join(","),
        }
    }
}

/// Parses the value of `key`. White space around it does not count (kong/conf_loader/parse.lua,
/// `parse_value`, which also takes every wrong boolean for false; here it is an error).
///
/// # Errors
/// What is wrong and what is allowed, starting with the key's name; in Kong's words where it has
/// any.
pub(crate) fn parse(key: &Key, text: &str) -> Result<Value, String> {
    let text = text.trim();
    let name = key.name;
    let not_a = |what: &str, allowed: &str| {
        Err(format!("{name} is not a {what}: '{text}'{allowed}{}", quotes_hint(text)))
    };
    match key.kind {
        Kind::Boolean => match boolean(text) {
            Some(value) => Ok(Value::Bool(value)),
            None => not_a("boolean", " (on, off, true, false)"),
        },
        Kind::Switch => match boolean(text) {
            Some(value) => Ok(Value::Text(if value { "on" } else { "off" }.to_owned())),
            None => not_a("boolean", " (on, off)"),
        },
        Kind::List => Ok(Value::List(list(text))),
        Kind::Enum(words) if !words.contains(&text) => {
            let words = words.join(", ");
            let hint = quotes_hint(text);
            Err(format!("{name} has an invalid value: '{text}' ({words}){hint}"))
        }
        Kind::Listen(subsystem) => {
            let items = list(text);
            listen::parse(&items, subsystem).map_err(|error| format!("{name} {error}"))?;
            Ok(Value::List(items))
        }
        _ if text.is_empty() && key.default.is_empty() => Ok(Value::Unset),
        Kind::Number(range) => parse_number(name, range, text),
        Kind::Size if size(text).is_none() => not_a("size", " (bytes, or a number with k, m or g)"),
        Kind::Duration if duration(text).is_none() => {
            not_a("time", " (seconds, or numbers with ms, s, m, h, d, w, M or y)")
        }
        Kind::Text | Kind::Path if text.is_empty() => Ok(Value::Unset),
        Kind::Text | Kind::Path | Kind::Enum(_) | Kind::Size | Kind::Duration => {
            Ok(Value::Text(text.to_owned()))
        }
    }
}

fn parse_number(name: &str, range: &Range, text: &str) -> Result<Value, String> {
    match number(text) {
        None => Err(format!("{name} is not a number: '{text}'{}", quotes_hint(text))),
        Some(n) if range.contains(n) => Ok(Value::Number(n)),
        Some(_) => Err(format!("{name} {}, got '{text}'", range.must)),
    }
}

/// Says what is wrong with a value that somebody put in quotes.
fn quotes_hint(text: &str) -> &'static str {
    let quoted = |q: char| text.len() > 1 && text.starts_with(q) && text.ends_with(q);
    if quoted('"') || quoted('\'') { "; leave out the quotes" } else { "" }
}

/// `on`, `off`, `true`, `false`; an empty text is off, as in Kong.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "on" | "true" => Some(true),
        "off" | "false" | "" => Some(false),
        _ => None,
    }
}

/// The parts between commas, trimmed; empty ones are left out.
pub(crate) fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// A number as Lua reads it, in decimal or hexadecimal.
pub(crate) fn number(text: &str) -> Option<f64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(hex, 16).ok().map(f64::from);
    }
    text.parse().ok().filter(|n: &f64| n.is_finite())
}

/// Bytes: a whole number, with `k`, `m` or `g` for multiples of 1024 (nginx's sizes).
pub(crate) fn size(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], 1 << 20),
        b'g' | b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    whole(digits)?.checked_mul(factor)
}

/// A time: whole numbers with units, added up; without a unit, seconds (nginx's times).
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count = whole(&rest[..digits])?;
        let after = &rest[digits..];
        let unit = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let millis: u64 = match &after[..unit] {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "M" => 2_592_000_000,
            "y" => 31_536_000_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(count.checked_mul(millis)?))?;
        rest = after[unit..].trim_start();
    }
    Some(total)
}

/// Decimal digits and nothing else.
fn whole(digits: &str) -> Option<u64> {
    let only_digits = digits.bytes().all(|b| b.is_ascii_digit());
    only_digits.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::keys;

    #[track_caller]
    fn check(name: &str, text: &str, expect: Result<Value, &str>) {
        let key = keys::find(name).expect("a known key");
        assert_eq!(parse(key, text), expect.map_err(str::to_owned));
    }

    fn text(s: &str) -> Result<Value, &'static str> {
        Ok(Value::Text(s.to_owned()))
    }

    #[test]
    fn values() {
        check("client_ssl", " true ", Ok(Value::Bool(true)));
        check("client_ssl", "", Ok(Value::Bool(false)));
        check("nginx_daemon", "false", text("off"));
        check("pg_port", "0x50", Ok(Value::Number(80.0)));
        check("pg_pool_size", "", Ok(Value::Unset));
        check("worker_state_update_frequency", "0.01", Ok(Value::Number(0.01)));
        check("pg_password", "  12345 ", text("12345"));
        check("pg_password", "0123", text("0123"));
        check("plugins", " a, ,b ,", Ok(Value::List(vec!["a".into(), "b".into()])));
        check("log_level", "debug", text("debug"));
        check("lua_package_path", "", Ok(Value::Unset));
    }

    #[test]
    fn errors() {
        for (name, value, error) in [
            ("client_ssl", "yes", "client_ssl is not a boolean: 'yes' (on, off, true, false)"),
            ("nginx_daemon", "1", "nginx_daemon is not a boolean: '1' (on, off)"),
            ("pg_port", "abc", "pg_port is not a number: 'abc'"),
            ("pg_port", "", "pg_port is not a number: ''"),
            ("pg_port", "'80'", "pg_port is not a number: ''80''; leave out the quotes"),
            ("pg_port", "70000", "pg_port must be an integer between 1 and 65535, got '70000'"),
            (
                "lua_max_req_headers",
                "0",
                "lua_max_req_headers must be an integer between 1 and 1000, got '0'",
            ),
            (
                "worker_state_update_frequency",
                "0",
                "worker_state_update_frequency must be greater than 0, got '0'",
            ),
            (
                "upstream_keepalive_pool_size",
                "-1",
                "upstream_keepalive_pool_size must be 0 or greater, got '-1'",
            ),
            ("pg_backlog", "1.5", "pg_backlog must be an integer, 0 or greater, got '1.5'"),
            (
                "tracing_sampling_rate",
                "2",
                "tracing_sampling_rate must be between 0 and 1, got '2'",
            ),
            (
                "worker_consistency",
                "magical",
                "worker_consistency has an invalid value: 'magical' (strict, eventual)",
            ),
            (
                "worker_consistency",
                "\"strict\"",
                "worker_consistency has an invalid value: '\"strict\"' (strict, eventual); \
                 leave out the quotes",
            ),
            (
                "mem_cache_size",
                "many",
                "mem_cache_size is not a size: 'many' (bytes, or a number with k, m or g)",
            ),
            (
                "ssl_session_timeout",
                "1x",
                "ssl_session_timeout is not a time: '1x' \
                 (seconds, or numbers with ms, s, m, h, d, w, M or y)",
            ),
        ] {
            check(name, value, Err(error));
        }
    }

    #[test]
    fn sizes_and_times() {
        for (text, expect) in
            [("0", Some(0)), ("8k", Some(8192)), ("1G", Some(1 << 30)), ("k", None), ("-1", None)]
        {
            assert_eq!(size(text), expect, "{text}");
        }
        for (text, millis) in
            [("60", Some(60_000)), ("1h 30m", Some(5_400_000)), ("5ms", Some(5)), ("s", None)]
        {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
