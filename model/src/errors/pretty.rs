//! Values as messages of the Admin API show them: the notation of Lua tables that Penlight's
//! `pretty.write` makes.

use serde_json::{Map, Value};

use crate::schema::text::number;

/// A value over several lines, each level two spaces further in.
pub fn pretty(value: &Value) -> String {
    write(value, "  ", " = ", "\n")
}

/// A value in one line without spaces.
pub fn pretty_line(value: &Value) -> String {
    write(value, "", "=", "")
}

fn write(value: &Value, space: &str, equals: &str, newline: &str) -> String {
    let mut writer = Writer { space, equals, newline, out: String::new() };
    writer.value(value, 0);
    writer.out
}

struct Writer<'a> {
    space: &'a str,
    equals: &'a str,
    newline: &'a str,
    out: String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            // So prints the null of Kong's runtime.
            Value::Null => self.out.push_str("\"userdata: NULL\""),
            Value::Bool(flag) => self.out.push_str(if *flag { "true" } else { "false" }),
            Value::Number(n) => self.out.push_str(&number(n)),
            Value::String(text) => self.out.push_str(&quote(text)),
            Value::Array(list) => self.list(list, depth),
            Value::Object(fields) => self.table(fields, depth),
        }
    }

    /// Elements by position, as far as there is no hole; those behind a hole have their index.
    fn list(&mut self, list: &[Value], depth: usize) {
        self.out.push('{');
        let whole = list.iter().take_while(|item| !item.is_null()).count();
        let mut first = true;
        for (i, item) in list.iter().enumerate().filter(|(_, item)| !item.is_null()) {
            let key = if i < whole { None } else { Some(format!("[{}]", i + 1)) };
            self.entry(key.as_deref(), item, depth, &mut first);
        }
        self.close(depth);
    }

    fn table(&mut self, fields: &Map<String, Value>, depth: usize) {
        self.out.push('{');
        let mut fields: Vec<_> = fields.iter().collect();
        fields.sort_by_key(|(name, _)| *name);
        let mut first = true;
        for (name, value) in fields {
            let key = if is_identifier(name) { name.clone() } else { format!("[{}]", quote(name)) };
            self.entry(Some(&key), value, depth, &mut first);
        }
        self.close(depth);
    }

    fn entry(&mut self, key: Option<&str>, value: &Value, depth: usize, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(',');
        }
        self.line(depth + 1);
        if let Some(key) = key {
            self.out.push_str(key);
            self.out.push_str(self.equals);
        }
        self.value(value, depth + 1);
    }

    fn close(&mut self, depth: usize) {
        self.line(depth);
        self.out.push('}');
    }

    fn line(&mut self, depth: usize) {
        self.out.push_str(self.newline);
        for _ in 0..depth {
            self.out.push_str(self.space);
        }
    }
}

const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
    "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    starts && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') && !KEYWORDS.contains(&name)
}

/// A string in quotes, or in long brackets where it has line ends or such brackets itself.
fn quote(text: &str) -> String {
    let brackets = long_brackets(text);
    if (text.contains('\n') || brackets.is_some()) && !text.contains('\r') {
        let level = "=".repeat(brackets.map_or(0, |level| level + 1));
        let start = if text.starts_with('\n') { "\n" } else { "" };
        return format!("[{level}[{start}{text}]{level}]");
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\\n"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The greatest number of `=` between two closing brackets, a bracket at the end included.
fn long_brackets(text: &str) -> Option<usize> {
    let text = format!("{text}]");
    let mut parts = text.split(']');
    parts.next();
    let between: Vec<&str> = parts.collect();
    let closed = between.len().saturating_sub(1);
    between
        .iter()
        .take(closed)
        .filter(|part| part.bytes().all(|b| b == b'='))
        .map(|part| part.len())
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: impl Into<Value>, lines: &str, line: &str) {
        let value = value.into();
        assert_eq!(pretty(&value), lines);
        assert_eq!(pretty_line(&value), line);
    }

    #[test]
    fn tables() {
        check(
            json!({"b": [1, "x"], "a": {"more": true}, "x y": 1.5}),
            "{\n  a = {\n    more = true\n  },\n  b = {\n    1,\n    \"x\"\n  },\n  \
             [\"x y\"] = 1.5\n}",
            "{a={more=true},b={1,\"x\"},[\"x y\"]=1.5}",
        );
        check(json!([null, "a"]), "{\n  [2] = \"a\"\n}", "{[2]=\"a\"}");
    }

    #[test]
    fn strings() {
        check(json!("say \"x\""), "\"say \\\"x\\\"\"", "\"say \\\"x\\\"\"");
        check(json!("a\nb"), "[[a\nb]]", "[[a\nb]]");
        check(json!("a]"), "[=[a]]=]", "[=[a]]=]");
        check(json!("a]b"), "\"a]b\"", "\"a]b\"");
    }
}
