//! The conversion of files of formats 1.1 and 2.1: paths that look like regexes become regexes,
//! which from 3.0 on begin with `~` (kong/db/declarative/migrations/route_path.lua,
//! kong/db/migrations/migrate_path_280_300.lua).

use serde_json::Value;

use crate::Record;
use crate::schema::values::normalize;

/// Makes a file of an older format one of format 3.0. Routes are looked for at the top and in
/// services at the top.
pub(crate) fn migrate(file: &mut Record) {
    if !matches!(file.get("_format_version").and_then(Value::as_str), Some("1.1" | "2.1")) {
        return;
    }
    if let Some(routes) = file.get_mut("routes") {
        migrate_routes(routes);
    }
    let services = file.get_mut("services").and_then(Value::as_array_mut);
    for service in services.into_iter().flatten() {
        if let Some(routes) = service.get_mut("routes") {
            migrate_routes(routes);
        }
    }
    file.insert("_format_version".to_owned(), "3.0".into());
}

fn migrate_routes(routes: &mut Value) {
    for route in routes.as_array_mut().into_iter().flatten() {
        let paths = route.get_mut("paths").and_then(Value::as_array_mut);
        for path in paths.into_iter().flatten() {
            if let Value::String(text) = path {
                *text = migrate_path(text);
            }
        }
    }
}

/// A path of Kong before 3.0, as 3.0 has it.
pub(crate) fn migrate_path(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_~/%".contains(&b);
    if path.bytes().all(plain) { normalize(path, true) } else { format!("~{}", decode_regex(path)) }
}

/// A regex with escapes decoded: those of reserved characters stay, what means something in a
/// regex is quoted.
fn decode_regex(regex: &str) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(regex.len());
    let mut rest = regex.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match (first, escaped(after)) {
            (b'%', Some(byte)) => {
                match byte {
                    b if b"!#$%&'()*+,/:;=?@[]".contains(&b) => {
                        out.push(b'%');
                        out.extend(after.iter().take(2).map(u8::to_ascii_uppercase));
                    }
                    b if b".^-{}\\|".contains(&b) => out.extend([b'\\', b]),
                    b => out.push(b),
                }
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn escaped(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits.get(..2)?).ok()?;
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    if hex { u8::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expect: &str) {
        assert_eq!(migrate_path(path), expect, "{path}");
    }

    #[test]
    fn paths() {
        check("/plain", "/plain");
        check("/a//b/../c%2fd", "/a/c%2Fd");
        check(r"/num/\d+$", r"~/num/\d+$");
        check("/a%2Eb(c)", r"~/a\.b(c)");
        check("/a%2bb|%41", "~/a%2Bb|A");
        check("~/x|", "~~/x|");
        check("/%zz|%4", "~/%zz|%4");
    }
}
