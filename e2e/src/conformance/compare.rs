//! What was recorded against what came.

use serde_json::Value;

/// The differences as lines, each naming its place. With `subset`, what came may hold more.
pub(super) fn differences(expect: &Value, got: &Value, subset: bool) -> Vec<String> {
    let mut out = Vec::new();
    walk(expect, got, "", subset, &mut out);
    out
}

/// Removes what stands at dotted paths (`json.0.config`), where there is something.
pub(super) fn drop_paths(answer: &mut Value, paths: &[String]) {
    for path in paths {
        let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
        let parent = if parent.is_empty() { Some(&mut *answer) } else { at_mut(answer, parent) };
        match parent {
            Some(Value::Object(map)) => drop(map.shift_remove(last)),
            Some(Value::Array(list)) => {
                if let Some(i) = last.parse().ok().filter(|i| *i < list.len()) {
                    list.remove(i);
                }
            }
            _ => {}
        }
    }
}

/// Sorts the lists that stand at dotted paths, for lists whose order does not count.
pub(super) fn sort_paths(answer: &mut Value, paths: &[String]) {
    for path in paths {
        if let Some(Value::Array(list)) = at_mut(answer, path) {
            list.sort_by_key(sorted_text);
        }
    }
}

/// What stands at a dotted path.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, part| match value {
        Value::Array(list) => list.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}

fn at_mut<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').try_fold(value, |value, part| match value {
        Value::Array(list) => list.get_mut(part.parse::<usize>().ok()?),
        other => other.get_mut(part),
    })
}

fn walk(expect: &Value, got: &Value, place: &str, subset: bool, out: &mut Vec<String>) {
    match (expect, got) {
        (Value::Object(expect), Value::Object(got)) => {
            for (key, value) in expect {
                match got.get(key) {
                    Some(got) => walk(value, got, &format!("{place}{key}."), subset, out),
                    None => out.push(format!("{place}{key}: missing, expected {}", short(value))),
                }
            }
            let extra = got.iter().filter(|(key, _)| !subset && !expect.contains_key(*key));
            out.extend(
                extra.map(|(key, value)| format!("{place}{key}: unexpected {}", short(value))),
            );
        }
        (Value::Array(expect), Value::Array(got))
            if expect.len() == got.len()
                && expect.iter().any(|v| v.is_object() || v.is_array()) =>
        {
            for (i, (expect, got)) in expect.iter().zip(got).enumerate() {
                walk(expect, got, &format!("{place}{i}."), subset, out);
            }
        }
        _ if same(expect, got) => {}
        _ => {
            let place = place.trim_end_matches('.');
            out.push(format!("{place}: expected {}, got {}", short(expect), short(got)));
        }
    }
}

/// Equality where 1 and 1.0 are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => a == b,
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(160).collect()
}

/// JSON text with sorted keys.
fn sorted_text(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<String> =
                map.iter().map(|(k, v)| format!("{k:?}:{}", sorted_text(v))).collect();
            fields.sort();
            fields.join(",")
        }
        Value::Array(list) => list.iter().map(sorted_text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[expect(clippy::needless_pass_by_value, reason = "so that the table below is plain")]
    fn check(expect: Value, got: Value, subset: bool, differ: &[&str]) {
        assert_eq!(differences(&expect, &got, subset), differ);
    }

    #[test]
    fn differences_name_their_place() {
        check(json!({"a": 1}), json!({"a": 1.0}), false, &[]);
        check(json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), false, &["a.b: expected 1, got 2"]);
        check(
            json!({"a": 1}),
            json!({"b": 1}),
            false,
            &["a: missing, expected 1", "b: unexpected 1"],
        );
        check(json!({"a": 1}), json!({"a": 1, "b": 1}), true, &[]);
        check(json!([{"a": 1}]), json!([{"a": 2}]), false, &["0.a: expected 1, got 2"]);
        check(json!([1]), json!([1, 2]), false, &[": expected [1], got [1,2]"]);
        check(json!(1), json!("1"), false, &[": expected 1, got \"1\""]);
    }

    #[test]
    fn paths_are_dropped_and_sorted() {
        let mut answer = json!({"json": [{"id": 1, "l": [2, 1]}], "x": 1});
        drop_paths(&mut answer, &["json.0.id".into(), "x".into(), "no.such".into()]);
        sort_paths(&mut answer, &["json.0.l".into()]);
        assert_eq!(answer, json!({"json": [{"l": [1, 2]}]}));
    }
}
