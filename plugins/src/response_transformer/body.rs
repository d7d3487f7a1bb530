//! Changes the members of a JSON object.

use serde_json::{Map, Number, Value};

use super::{Changed, ResponseTransformer};

/// The body with its members changed; none if it is no JSON object. A list has no members that
/// could be changed and stays as it is.
pub(super) fn transform(plugin: &ResponseTransformer, body: &[u8]) -> Option<Vec<u8>> {
    let mut object = match serde_json::from_slice(body).ok()? {
        Value::Object(object) => object,
        Value::Array(_) => return Some(body.to_vec()),
        _ => return None,
    };
    for pair in &plugin.remove.json {
        object.shift_remove(&pair.name);
    }
    for pair in &plugin.rename.json {
        if let Some(new) = &pair.value
            && let Some(value) = object.shift_remove(&pair.name)
        {
            object.insert(new.clone(), value);
        }
    }
    for (name, value) in values(&plugin.replace) {
        if object.get(name).is_some_and(counts) {
            object.insert(name.to_owned(), value);
        }
    }
    for (name, value) in values(&plugin.add) {
        if !object.get(name).is_some_and(counts) {
            object.insert(name.to_owned(), value);
        }
    }
    for (name, value) in values(&plugin.append) {
        append(&mut object, name, value);
    }
    serde_json::to_vec(&object).ok()
}

/// As in Lua, false counts as absent.
fn counts(value: &Value) -> bool {
    *value != Value::Bool(false)
}

/// Text becomes a list; a list gets one more value; of what is neither, only the value is left.
fn append(object: &mut Map<String, Value>, name: &str, value: Value) {
    let list = match object.get_mut(name) {
        Some(Value::Array(list)) => {
            list.push(value);
            return;
        }
        Some(Value::Object(members)) => {
            // In Lua, an object is a table whose list is empty.
            let free = (1_usize..).find(|n| !members.contains_key(&n.to_string()));
            members.insert(free.unwrap_or_default().to_string(), value);
            return;
        }
        Some(Value::String(text)) => vec![Value::String(std::mem::take(text)), value],
        _ => vec![value],
    };
    object.insert(name.to_owned(), Value::Array(list));
}

/// Names and values, each made what `json_types` says; those that can't be are left out.
fn values(changed: &Changed) -> impl Iterator<Item = (&str, Value)> {
    changed.json.iter().enumerate().filter_map(|(at, pair)| {
        // Where there is no value, Kong sets the text "null".
        let text = pair.value.as_deref().unwrap_or("null");
        let value = match changed.json_types.get(at).map(String::as_str) {
            Some("number") => number(text)?,
            Some("boolean") => Value::Bool(text == "true"),
            _ => Value::String(text.replace("\\\"", "\"")),
        };
        Some((pair.name.as_str(), value))
    })
}

/// A number as Lua reads it: blanks around it and hexadecimal are allowed.
fn number(text: &str) -> Option<Value> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).ok().map(|number| Value::from(sign * number));
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Value::from(whole));
    }
    if !text.starts_with(['-', '+', '.']) && !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return Some(Value::from(number as i64));
    }
    Number::from_f64(number).map(Value::Number)
}
