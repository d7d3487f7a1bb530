//! A set as a declarative file again (kong/db/declarative/export.lua).

use serde_json::{Value, json};

use super::yaml::scalar;
use crate::Record;
use crate::set::Entities;

/// A file of format 3.0 that loads as this set: references are ids, secrets stay as they are
/// stored. Workspaces are left out, and kinds that are not exported.
pub fn export(entities: &Entities) -> Value {
    let mut file = Record::new();
    file.insert("_format_version".to_owned(), json!("3.0"));
    file.insert("_transform".to_owned(), json!(false));
    for (kind, collection) in entities.iter() {
        let schema = &kind.schema;
        if !schema.db_export || schema.name == "workspaces" {
            continue;
        }
        let flat = |record: &Record| -> Value {
            let mut record = crate::shown(record);
            record.retain(|name, value| !(schema.ttl && name == "ttl" && value.is_null()));
            for (field, _, _) in schema.foreign_fields() {
                if let Some(id) = record.get(field).and_then(|value| value.get("id")).cloned() {
                    record.insert(field.to_owned(), id);
                }
            }
            Value::Object(record)
        };
        let list = collection.iter().map(|record| flat(record)).collect();
        file.insert(schema.name.clone(), list);
    }
    Value::Object(file)
}

/// A value as YAML in block style: texts in quotes only where they would mean something else.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => write_fields(fields, 0, false, &mut out),
        Value::Array(list) if !list.is_empty() => write_list(list, 0, &mut out),
        value => write_value(value, 0, &mut out),
    }
    out
}

/// The fields of a map, the first without indent where it stands behind a `-`.
fn write_fields(fields: &Record, depth: usize, behind_dash: bool, out: &mut String) {
    for (i, (name, value)) in fields.iter().enumerate() {
        if i > 0 || !behind_dash {
            indent(depth, out);
        }
        write_text(name, 0, out);
        out.push(':');
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                out.push('\n');
                write_fields(fields, depth + 1, false, out);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                write_list(list, depth, out);
            }
            value => {
                out.push(' ');
                write_value(value, depth + 1, out);
            }
        }
    }
}

fn write_list(list: &[Value], depth: usize, out: &mut String) {
    for item in list {
        indent(depth, out);
        out.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => {
                write_fields(fields, depth + 1, true, out);
            }
            Value::Array(inner) if !inner.is_empty() => {
                // Lists of lists are rare: in JSON, which is YAML too.
                out.push_str(&item.to_string());
                out.push('\n');
            }
            value => write_value(value, depth + 1, out),
        }
    }
}

/// What stands on one line, and texts of several lines.
fn write_value(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Null => out.push('~'),
        Value::String(text) => return write_line(text, depth, out),
        value => out.push_str(&value.to_string()),
    }
    out.push('\n');
}

fn write_line(text: &str, depth: usize, out: &mut String) {
    write_text(text, depth, out);
    out.push('\n');
}

fn write_text(text: &str, depth: usize, out: &mut String) {
    if text.contains('\n') && depth > 0 && fits_block(text) {
        write_block(text, depth, out);
    } else if text
        .chars()
        .any(|c| c.is_control() || c == '\u{feff}' || c == '\u{2028}' || c == '\u{2029}')
    {
        // JSON's quotes and escapes are YAML's.
        out.push_str(&Value::from(text).to_string());
    } else if is_plain(text) {
        out.push_str(text);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

/// Whether a text can stand as it is, line by line.
fn fits_block(text: &str) -> bool {
    !text.starts_with([' ', '\n', '\t'])
        && !text.ends_with("\n\n")
        && text.chars().all(|c| {
            c == '\n' || !(c.is_control() || c == '\u{feff}' || c == '\u{2028}' || c == '\u{2029}')
        })
}

fn write_block(text: &str, depth: usize, out: &mut String) {
    out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
    for line in text.trim_end_matches('\n').split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(depth, out);
            out.push_str(line);
        }
    }
}

/// Whether a text means itself without quotes.
fn is_plain(text: &str) -> bool {
    let starts = |c: char| c.is_alphanumeric() || "/._$~+".contains(c);
    let safe = |c: char| c.is_alphanumeric() || " /._-$~+=()@;^".contains(c);
    text.starts_with(starts)
        && !text.ends_with(' ')
        && text.chars().all(safe)
        && !text.starts_with("...")
        && scalar::implicit(text).is_none()
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn check(value: Value, expect: &str) {
        assert_eq!(to_yaml(&value), expect);
        assert_eq!(yaml::parse(expect), Ok(Some(value)));
    }

    #[test]
    fn writes_what_reads_the_same() {
        check(
            json!({"a": [{"b": 1, "c": [true, null]}, "x"], "d": {}, "e": []}),
            "a:\n- b: 1\n  c:\n  - true\n  - ~\n- x\nd: {}\ne: []\n",
        );
        check(json!({"a": "3.0", "b": "yes", "c": "0123"}), "a: '3.0'\nb: 'yes'\nc: '0123'\n");
        check(json!({"a": "it's", "b": "", "c": "# x"}), "a: 'it''s'\nb: ''\nc: '# x'\n");
        check(json!({"a": "one\n\ntwo\n", "b": "x\ny"}), "a: |\n  one\n\n  two\nb: |-\n  x\n  y\n");
        check(json!({"a": "tab\tbell\u{7}"}), "a: \"tab\\tbell\\u0007\"\n");
        check(json!([[1, [2]], {"a": {"b": -1.5}}]), "- [1,[2]]\n- a:\n    b: -1.5\n");
        check(json!({"%d": "a: b", "- x": "*y"}), "'%d': 'a: b'\n'- x': '*y'\n");
    }

    #[test]
    fn any_text_reads_the_same() {
        let parts =
            ["a", "\n", " ", "'", "\"", ":", "#", "-", "~", "1", "\t", "é", "\\", "|", "\r"];
        let mut state = 7_u64;
        for _ in 0..3000 {
            let mut text = String::new();
            for _ in 0..6 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(parts[(state >> 33) as usize % parts.len()]);
            }
            let value = json!({"k": [{"a": text}, text], "z": text});
            let yaml = to_yaml(&value);
            assert_eq!(yaml::parse(&yaml), Ok(Some(value)), "{yaml}");
        }
    }
}
