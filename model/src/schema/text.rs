//! Values and lists as Kong's messages write them.

use serde_json::{Number, Value};

/// A number as Lua prints it: whole ones without a fraction, others with 14 digits (`%.14g`).
pub(crate) fn number(n: &Number) -> String {
    if let Some(n) = n.as_i64()
        && n.unsigned_abs() < 100_000_000_000_000
    {
        return n.to_string();
    }
    float(n.as_f64().unwrap_or(f64::NAN))
}

/// A float as C prints it with `%.14g`.
fn float(n: f64) -> String {
    if n == 0.0 {
        return "0".to_owned();
    }
    if !n.is_finite() {
        return if n.is_nan() { "nan".to_owned() } else { format!("{n}") };
    }
    let scientific = format!("{n:.13e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-5..14).contains(&exponent) {
        let decimals = usize::try_from(13 - exponent).unwrap_or(0);
        return trimmed(&format!("{n:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(digits), exponent.abs())
}

fn trimmed(digits: &str) -> String {
    if !digits.contains('.') {
        return digits.to_owned();
    }
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A value as Lua's `tostring` shows it, with `null` for null.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(n) => number(n),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => crate::errors::pretty_line(value),
    }
}

/// Values in a row: `a, b, 3`.
pub(crate) fn list(values: &[Value]) -> String {
    values.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// Names in quotes: `'a', 'b'`.
pub(crate) fn quoted<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("'{}'", name.as_ref())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: impl Into<Value>, expect: &str) {
        assert_eq!(show(&value.into()), expect);
    }

    #[test]
    fn numbers_print_as_in_lua() {
        check(json!(80), "80");
        check(json!(80.0), "80");
        check(json!(-1), "-1");
        check(json!(0.1), "0.1");
        check(json!(1.5), "1.5");
        check(json!(100_000_000_000_000_i64), "1e+14");
        check(json!(12_345_678_901_234_567_890_u64), "1.2345678901235e+19");
        check(json!(0.000001), "1e-06");
    }
}
