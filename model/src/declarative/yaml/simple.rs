//! YAML as most tools write it, at a quarter of the price: maps and lists by indentation, scalars
//! and lists of scalars on one line. Of whatever else there is in a text nothing is said here, and
//! the parser of all of YAML reads it; so what is wrong is found there as well.

use serde_json::Value;

use super::{VALUES_MAX, scalar};
use crate::Record;

/// How deep it goes.
const DEPTH_MAX: usize = 30;

/// How long names may be; YAML has such a limit itself.
const NAME_MAX: usize = 1000;

/// The value of a text, if it is of that kind. Keys and values are those that the parser of all of
/// YAML finds.
pub(super) fn parse(text: &str) -> Option<Value> {
    let text = text.strip_prefix("---\n").unwrap_or(text);
    // Some other characters are ends of lines.
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')) {
        return None;
    }
    let mut reader = Reader { rest: text, line: None, count: 0 };
    reader.advance();
    let first = reader.line?;
    let value = reader.block(first.indent, 0)?;
    reader.line.is_none().then_some(value)
}

/// A line with anything in it.
#[derive(Clone, Copy)]
struct Line<'a> {
    indent: usize,
    /// Without spaces around it; not empty.
    text: &'a str,
}

struct Reader<'a> {
    rest: &'a str,
    /// The one that is read next.
    line: Option<Line<'a>>,
    /// How many values there are so far.
    count: usize,
}

impl<'a> Reader<'a> {
    fn advance(&mut self) {
        loop {
            if self.rest.is_empty() {
                self.line = None;
                return;
            }
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            let text = line.trim_start_matches(' ');
            let indent = line.len() - text.len();
            let text = text.trim_end_matches(' ');
            if !text.is_empty() && !text.starts_with('#') {
                self.line = Some(Line { indent, text });
                return;
            }
        }
    }

    /// The map or list that begins on this line.
    fn block(&mut self, indent: usize, depth: usize) -> Option<Value> {
        self.count += 1;
        if depth > DEPTH_MAX || self.count > VALUES_MAX {
            return None;
        }
        match item(self.line?.text) {
            Some(_) => self.list(indent, depth),
            None => self.map(indent, depth),
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Option<Value> {
        let mut list = Vec::new();
        while let Some(line) = self.line {
            if line.indent != indent {
                break;
            }
            let Some(text) = item(line.text) else { break };
            // A list in a list's line, or below it, is seldom.
            if item(text).is_some() || text.is_empty() {
                return None;
            }
            if key(text).is_some() {
                // The first line of a map stands behind the dash.
                let indent = indent + line.text.len() - text.len();
                self.line = Some(Line { indent, text });
                list.push(self.block(indent, depth + 1)?);
            } else {
                list.push(self.inline(text)?);
                self.advance();
            }
        }
        self.is_end(indent)?;
        Some(Value::Array(list))
    }

    fn map(&mut self, indent: usize, depth: usize) -> Option<Value> {
        let mut map = Record::new();
        while let Some(line) = self.line {
            if line.indent != indent || item(line.text).is_some() {
                break;
            }
            let (name, text) = key(line.text)?;
            self.advance();
            let value = if !text.is_empty() {
                self.inline(text)?
            } else {
                // Lists may stand as deep as the name that they belong to.
                match self.line {
                    Some(next) if next.indent > indent => self.block(next.indent, depth + 1)?,
                    Some(next) if next.indent == indent && item(next.text).is_some() => {
                        self.block(indent, depth + 1)?
                    }
                    _ => self.inline("")?,
                }
            };
            map.insert(name.to_owned(), value);
        }
        self.is_end(indent)?;
        Some(Value::Object(map))
    }

    /// Whether what began at this depth is over: what stands deeper would be a part of it.
    fn is_end(&self, indent: usize) -> Option<()> {
        self.line.is_none_or(|line| line.indent <= indent).then_some(())
    }

    /// A value in the line of its name, or of its dash.
    fn inline(&mut self, text: &str) -> Option<Value> {
        self.count += 1;
        if self.count > VALUES_MAX {
            return None;
        }
        match text.strip_prefix('[') {
            Some(rest) => {
                let inside = rest.strip_suffix(']')?;
                if inside.trim_matches(' ').is_empty() {
                    return Some(Value::Array(Vec::new()));
                }
                let items = inside.split(',').map(|item| {
                    self.count += 1;
                    let item = item.trim_matches(' ');
                    let special = |byte| matches!(byte, b'[' | b']' | b'{' | b'}');
                    scalar_of(item).filter(|_| !item.is_empty() && !item.bytes().any(special))
                });
                Some(Value::Array(items.collect::<Option<_>>()?))
            }
            None => scalar_of(text),
        }
    }
}

/// What stands behind the dash of an item of a list.
fn item(text: &str) -> Option<&str> {
    match text.strip_prefix('-')? {
        "" => Some(""),
        rest => Some(rest.strip_prefix(' ')?.trim_start_matches(' ')),
    }
}

/// A name in a map, and what stands behind it.
fn key(text: &str) -> Option<(&str, &str)> {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let end = text.bytes().position(|byte| !is_of_name(&byte))?;
    let (name, rest) = text.split_at_checked(end)?;
    let begins = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    if name.len() > NAME_MAX || !name.as_bytes().first().is_some_and(begins) {
        return None;
    }
    match rest.strip_prefix(':')? {
        "" => Some((name, "")),
        rest => Some((name, rest.strip_prefix(' ')?.trim_start_matches(' '))),
    }
}

/// A scalar that takes what there is of a line.
fn scalar_of(text: &str) -> Option<Value> {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'/' | b'~' | b'.');
    let bytes = text.as_bytes();
    match bytes {
        [] => Some(Value::Null),
        [b'"', inside @ .., b'"'] => {
            let right = !inside.iter().any(|byte| matches!(byte, b'"' | b'\\'));
            right.then(|| text.trim_matches('"').into())
        }
        [b'\'', inside @ .., b'\''] => {
            let right = !inside.contains(&b'\'');
            right.then(|| text.trim_matches('\'').into())
        }
        [first, ..] if plain(*first) || matches!(bytes, [b'-', b'0'..=b'9', ..]) => {
            // A colon or a hash may begin something else.
            let pairs = bytes.iter().zip(bytes.iter().skip(1).chain(b" "));
            let mut pairs = pairs.map(|(byte, next)| [*byte, *next]);
            let ends = |pair: [u8; 2]| matches!(pair, [b' ', b'#'] | [b':', b' ' | b',' | b':']);
            let odd = |byte: &u8| matches!(byte, b'"' | b'\'' | b'`');
            if pairs.any(ends) || bytes.iter().any(odd) {
                return None;
            }
            Some(scalar::implicit(text).unwrap_or_else(|| text.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::whole;
    use super::*;

    const FILE: &str = "\
_format_version: '3.0'
_transform: true
# all of them
services:
- name: up
  url: http://127.0.0.1:80/a
  retries: -1
  tags: [a, 'b c', \"d\", 1.5, no]

  routes:
    - name: r0
      paths: [/a/0/, ~/b/(?<x>.*)$]
      strip_path: false
      headers:
        x-y:
        - 'q'
        - 12
      snis: []
      methods:
    -   name: r1
        regex_priority: 010
  plugins:
  - name: cors
    config:
      origins:
        - http://a.test
      credentials: ~
consumers:
- username: bob
  custom_id: 'it is'
";

    /// Whatever it reads, it reads as the parser of all of YAML does.
    #[test]
    fn reads_as_the_whole_parser_does() {
        assert!(parse(FILE).is_some(), "such a file is read here");
        let mut random = 7_usize;
        let mut below = |end: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % end
        };
        let bits = [
            " ", "  ", "\n", "-", "- ", ":", ": ", "a", "'", "\"", "[", "]", ",", "#", " #", "{",
            "}", "&a", "*a", "!", "|", ">", "?", "? ", "%", "@", "<<", "~", "0", "...", "---\n",
            "\t", "_", "yes", "null", "x: y", "\n\n", "\u{e9}", "\\", "a:b", "\n- b", "\n  c: d",
            "[a: b]", ", ",
        ];
        let mut read = 0;
        for _ in 0..30_000 {
            let mut text = FILE.to_owned();
            let (from, to) = (below(text.len()), below(120));
            if below(2) == 0 {
                let lines: Vec<&str> = FILE.lines().collect();
                let from = below(lines.len());
                text = lines[from..(from + 1 + below(6)).min(lines.len())].join("\n");
            } else if from + to < text.len() {
                text.replace_range(from..from + to, "");
            }
            for _ in 0..below(4) {
                let at = below(text.len() + 1);
                if text.is_char_boundary(at) {
                    match below(3) {
                        0 if at < text.len() && text.is_char_boundary(at + 1) => {
                            text.remove(at);
                        }
                        _ => text.insert_str(at, bits[below(bits.len())]),
                    }
                }
            }
            if let Some(value) = parse(&text) {
                read += 1;
                assert_eq!(whole(&text), Ok(Some(value)), "{text}");
            }
        }
        assert!(read > 5_000, "{read}");
    }
}
