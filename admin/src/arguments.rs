//! Arguments of forms, and what they mean for a schema (`kong/api/arguments.lua`,
//! `kong/api/arguments_decoder.lua`).
//!
//! `config.x=1` and `config[x]=1` are fields of a record, `a[]=1`, `a[2]=1` and `a=1&a=2` are
//! items of a list. All values are texts first; [`infer()`] makes of them what a schema asks for.

mod infer;
mod multipart;

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

pub(crate) use infer::{infer, number};
pub(crate) use multipart::multipart;

/// How many arguments a form or a query may have.
pub(crate) const ARGUMENTS_MAX: usize = 1000;

/// How deep the name of an argument may nest; a deeper one is a name like any other.
const DEPTH_MAX: usize = 32;

/// An argument: its name, and its value if it has one.
pub(crate) type Argument = (String, Option<String>);

/// `a=1&b`: names with their values, where they have one.
pub(crate) fn pairs(text: &str) -> Vec<Argument> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => (decoded(name), Some(decoded(value))),
            None => (decoded(pair), None),
        })
        .collect()
}

/// Percent-decoded; `+` is a space. What is not UTF-8 stays as it was sent.
fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    match percent_decode_str(&text).decode_utf8() {
        Ok(decoded) => decoded.into_owned(),
        Err(_) => text,
    }
}

/// The fields that the arguments make. An argument without `=` is true.
pub(crate) fn nested(arguments: Vec<Argument>) -> Map<String, Value> {
    let mut all = Node::default();
    for (name, value) in arguments {
        all.put(&steps(&name), value.map_or(Value::Bool(true), Value::String));
    }
    all.fields.into_iter().map(|(name, node)| (name, node.into_value())).collect()
}

/// A part of an argument's name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// `x`, `.x` or `[x]`.
    Field(String),
    /// `[]`, or `[1]`, counted from 1.
    Item(Option<usize>),
}

/// What is made of arguments: values, and what has a name or a place of its own.
#[derive(Debug, Default)]
struct Node {
    values: Vec<Value>,
    /// Whether it is a list even of one value: `a[]=1`.
    is_list: bool,
    items: BTreeMap<usize, Node>,
    fields: BTreeMap<String, Node>,
}

impl Node {
    /// Puts a value where the name of its argument says.
    fn put(&mut self, steps: &[Step], value: Value) {
        match steps.split_first() {
            None => self.values.push(value),
            Some((Step::Field(name), rest)) => {
                self.fields.entry(name.clone()).or_default().put(rest, value);
            }
            Some((Step::Item(None), [])) => {
                self.values.push(value);
                self.is_list = true;
            }
            Some((Step::Item(place), rest)) => {
                self.items.entry(place.unwrap_or(1)).or_default().put(rest, value);
            }
        }
    }

    fn into_value(mut self) -> Value {
        if self.fields.is_empty() && self.items.is_empty() && !self.is_list {
            return match self.values.len() {
                1 => self.values.remove(0),
                _ => Value::Array(self.values),
            };
        }
        let items = self.items.into_values().map(Node::into_value).chain(self.values);
        if self.fields.is_empty() {
            return items.collect();
        }
        let items = items.enumerate().map(|(i, value)| ((i + 1).to_string(), value));
        let fields = self.fields.into_iter().map(|(name, node)| (name, node.into_value()));
        Value::Object(items.chain(fields).collect())
    }
}

/// The steps of a name: `a.b[1].c`. A name that can't be read so is one step. `a[].b` has no item
/// between `a` and `b`, as in Kong.
fn steps(name: &str) -> Vec<Step> {
    let whole = || vec![Step::Field(name.to_owned())];
    if name.starts_with('.') || name.ends_with('.') {
        return whole();
    }
    let parts = parts(name);
    let mut steps = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        steps.extend(part_steps(part));
        if i + 1 < parts.len() && steps.last() == Some(&Step::Item(None)) {
            steps.pop();
        }
    }
    if steps.is_empty() || steps.len() > DEPTH_MAX { whole() } else { steps }
}

/// A name cut at its dots, but for those in brackets.
fn parts(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(byte) = name.as_bytes().get(at) {
        match byte {
            b'.' => {
                parts.push(&name[start..at]);
                start = at + 1;
            }
            b'[' if at > start => at += name[at..].find(']').unwrap_or(0),
            _ => {}
        }
        at += 1;
    }
    parts.push(&name[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// The steps of a part: `a[1][b]`.
fn part_steps(part: &str) -> Vec<Step> {
    let whole = || vec![Step::Field(part.to_owned())];
    let Some(bracket) = part.char_indices().skip(1).find(|(_, c)| *c == '[') else {
        return whole();
    };
    let (name, mut rest) = part.split_at(bracket.0);
    let mut steps = vec![Step::Field(name.to_owned())];
    while let Some(inner) = rest.strip_prefix('[') {
        let Some((key, after)) = inner.split_once(']') else { return whole() };
        steps.push(match key.parse::<usize>() {
            Ok(place) if place > 0 => Step::Item(Some(place)),
            _ if key.is_empty() => Step::Item(None),
            _ => Step::Field(key.to_owned()),
        });
        rest = after;
    }
    if rest.is_empty() { steps } else { whole() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(form: &str, expect: &Value) {
        assert_eq!(Value::Object(nested(pairs(form))), *expect, "{form}");
    }

    #[test]
    fn names_nest() {
        check("a=b%20c&d=+e&f", &json!({"a": "b c", "d": " e", "f": true}));
        check("a.b.c=1&a.b.d=2&a.e=", &json!({"a": {"b": {"c": "1", "d": "2"}, "e": ""}}));
        check("a[b][c]=1&a[b.c]=2", &json!({"a": {"b": {"c": "1"}, "b.c": "2"}}));
        check("a[]=1&a[]=2&b=3&b=4", &json!({"a": ["1", "2"], "b": ["3", "4"]}));
        check("a[2]=y&a[1]=x&a[9]=z", &json!({"a": ["x", "y", "z"]}));
        check("a[1].b=x&a[2].b=y", &json!({"a": [{"b": "x"}, {"b": "y"}]}));
        check("a.b[1].c=x&a.b[1].d=y", &json!({"a": {"b": [{"c": "x", "d": "y"}]}}));
        check("a[].b=x", &json!({"a": {"b": "x"}}));
        check("a[][b]=x", &json!({"a": [{"b": "x"}]}));
    }

    #[test]
    fn odd_names_are_names() {
        check(".a=1&b.=2", &json!({".a": "1", "b.": "2"}));
        check("a[b=1&[c]=2", &json!({"a[b": "1", "[c]": "2"}));
        check("a[1]x=1&a[0]=2", &json!({"a": {"0": "2"}, "a[1]x": "1"}));
        check("a[18446744073709551615]=x&a[]=y", &json!({"a": ["x", "y"]}));
        check("é[é]=1&%ff=2", &json!({"é": {"é": "1"}, "%ff": "2"}));
        let deep = format!("{}=1", ["a"; 200].join("."));
        assert_eq!(nested(pairs(&deep)).len(), 1);
        assert!(nested(pairs(&deep)).values().all(Value::is_string));
    }

    #[test]
    fn values_of_several_shapes_are_put_together() {
        check("a=1&a[]=2", &json!({"a": ["1", "2"]}));
        check("a=1&a.b=2", &json!({"a": {"1": "1", "b": "2"}}));
        check("a.b=2&a=1", &json!({"a": {"1": "1", "b": "2"}}));
        check("a[1]=x&a[1]=y", &json!({"a": [["x", "y"]]}));
    }
}
