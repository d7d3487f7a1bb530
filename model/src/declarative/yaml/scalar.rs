//! What plain scalars mean: the rules of lyaml, in its order (lyaml/implicit.lua).

use serde_json::{Number, Value};

/// The value of a plain scalar that is no text.
pub(crate) fn implicit(text: &str) -> Option<Value> {
    // Most scalars are words and paths: their first letter decides.
    let first = match text.bytes().next() {
        None => return Some(Value::Null),
        Some(first) => first,
    };
    match first {
        b'~' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'y' | b'Y' | b'o' | b'O' => {
            if matches!(text, "~" | "null" | "Null" | "NULL") {
                return Some(Value::Null);
            }
            boolean(text).map(Value::Bool)
        }
        b'0'..=b'9' | b'+' | b'-' | b'.' | b'_' => number(text),
        _ => None,
    }
}

/// The value of a scalar with a tag such as `!!int`: `None` if the tag says nothing of it,
/// `Some(None)` if the text does not fit the tag.
pub(crate) fn explicit(tag: &str, text: &str) -> Option<Option<Value>> {
    Some(match tag {
        "str" => Some(Value::String(text.to_owned())),
        "null" => implicit(text).filter(Value::is_null),
        "bool" => boolean(text).map(Value::Bool),
        "int" => number(text).filter(|value| !value.is_f64()),
        "float" => number(text),
        _ => return None,
    })
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<Value> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = octal(rest)
        .or_else(|| decimal(rest))
        .or_else(|| float(rest))
        .or_else(|| based(rest, "0x", 16))
        .or_else(|| based(rest, "0b", 2))
        .or_else(|| sexagesimal(rest))?;
    to_value(if negative { -magnitude } else { magnitude })
}

/// A number as Lua has it: a double, shown without a fraction where it has none.
fn to_value(number: f64) -> Option<Value> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        return Some(Value::from(number as i64));
    }
    // Infinity stays text: no field can hold it.
    Number::from_f64(number).map(Value::Number)
}

/// `017`, with `_` anywhere behind the 0.
fn octal(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('0')?;
    in_base(digits, 8)
}

fn decimal(text: &str) -> Option<f64> {
    in_base(text.trim_start_matches('_'), 10)
}

fn based(text: &str, prefix: &str, base: u32) -> Option<f64> {
    in_base(text.strip_prefix(prefix)?, base)
}

fn in_base(digits: &str, base: u32) -> Option<f64> {
    let mut any = false;
    let mut number = 0.0;
    for c in digits.chars().filter(|c| *c != '_') {
        number = number * f64::from(base) + f64::from(c.to_digit(base)?);
        any = true;
    }
    any.then_some(number)
}

/// With a point or an exponent, as Lua's `tonumber` reads it.
fn float(text: &str) -> Option<f64> {
    if !text.contains(['.', 'e', 'E']) {
        return None;
    }
    let text: String = text.chars().filter(|c| *c != '_').collect();
    // Rust's parser also takes signs and words.
    let starts = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if starts { text.parse().ok() } else { None }
}

/// `1:30` is 90, `1:30.5` is 90.5: hours and minutes, degrees and minutes.
fn sexagesimal(text: &str) -> Option<f64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, digits)) => (whole, format!("0.{digits}").parse().ok()?),
        None => (text, 0.0),
    };
    let (first, rest) = whole.split_once(':')?;
    let second = rest.split(':').next()?;
    let fits = second.len() == 1 || (second.len() == 2 && second <= "59");
    if !fits || first.contains('_') {
        return None;
    }
    let mut number = in_base(first, 10)?;
    for part in rest.split(':').filter(|part| !part.is_empty()) {
        number = number * 60.0 + in_base(part, 10)?;
    }
    Some(number + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(text: &str, expect: impl Into<Value>) {
        let value = implicit(text).unwrap_or_else(|| text.into());
        assert_eq!(value, expect.into(), "{text}");
    }

    #[test]
    fn words() {
        for text in ["", "~", "null", "Null", "NULL"] {
            check(text, Value::Null);
        }
        for text in ["true", "Yes", "ON"] {
            check(text, true);
        }
        for text in ["False", "no", "off"] {
            check(text, false);
        }
        for text in ["y", "N", "nUll", "tRue", "word", "/path", "-", "+", ".", "_", "1.1.1"] {
            check(text, text);
        }
    }

    #[test]
    fn numbers() {
        check("0", 0);
        check("-12", -12);
        check("+1_000", 1000);
        check("0123", 83);
        check("0987", 987);
        check("0x1F", 31);
        check("-0b101", -5);
        check("1.5", json!(1.5));
        check("3.0", 3);
        check("1e3", 1000);
        check(".5", json!(0.5));
        check("1:30", 90);
        check("1:30.5", json!(90.5));
        check("2020-01-01", "2020-01-01");
        check("127.0.0.1", "127.0.0.1");
        check("1:99", "1:99");
        check("1::2", "1::2");
        check(".inf", ".inf");
        check("12abc", "12abc");
    }
}
