//! YAML to JSON values, with the scalars of YAML 1.1 as Kong's lyaml reads them.
//!
//! The event parser knows only syntax; what a plain scalar means is said in [`scalar`].

pub(crate) mod scalar;
mod simple;

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::Value;

use crate::Record;

/// How deep lists and maps may stand in one another.
const DEPTH_MAX: usize = 100;

/// How many values a document may have, those that aliases repeat included.
const VALUES_MAX: usize = 5_000_000;

/// Why a text is no YAML, and where: line and column from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {problem}")]
pub(crate) struct YamlError {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) problem: String,
}

/// The first document of a text; `None` if there is none.
pub(crate) fn parse(text: &str) -> Result<Option<Value>, YamlError> {
    match simple::parse(text) {
        Some(value) => Ok(Some(value)),
        None => whole(text),
    }
}

/// The same, whatever YAML it is.
fn whole(text: &str) -> Result<Option<Value>, YamlError> {
    let mut loader = Loader::new(text, None);
    let value = loader.document()?;
    // What stands behind the first document is not read, but must be YAML.
    while loader.next()?.is_some() {}
    Ok(value)
}

/// On which line each value of the first document begins, by its path: names and positions from
/// 0, joined by `/`. Aliases are not followed.
pub(crate) fn lines(text: &str) -> HashMap<String, usize> {
    let mut loader = Loader::new(text, Some(HashMap::new()));
    // An error has been reported before; the lines up to it are of use.
    let _ = loader.document();
    loader.lines.unwrap_or_default()
}

/// A value that an anchor names, and how many values it holds.
struct Anchor {
    value: Value,
    count: usize,
}

struct Loader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Anchor>,
    /// The start of the last event, where errors are said to be.
    line: usize,
    column: usize,
    /// How many values there are so far.
    count: usize,
    /// Filled in, where lines are asked for.
    lines: Option<HashMap<String, usize>>,
    path: String,
}

impl<'a> Loader<'a> {
    fn new(text: &'a str, lines: Option<HashMap<String, usize>>) -> Loader<'a> {
        Loader {
            parser: Parser::new_from_str(text),
            anchors: HashMap::new(),
            line: 1,
            column: 1,
            count: 0,
            lines,
            path: String::new(),
        }
    }

    fn next(&mut self) -> Result<Option<Event<'a>>, YamlError> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                self.mark(&span);
                Ok(Some(event))
            }
            Some(Err(error)) => Err(self.scan_error(&error)),
        }
    }

    fn mark(&mut self, span: &Span) {
        self.line = span.start.line();
        self.column = span.start.col() + 1;
    }

    fn error(&self, problem: impl Into<String>) -> YamlError {
        YamlError { line: self.line, column: self.column, problem: problem.into() }
    }

    /// The problem without what was being parsed, as lyaml shows it.
    fn scan_error(&self, error: &ScanError) -> YamlError {
        let info = error.info();
        let problem = match info.split_once(", ") {
            Some((context, problem)) if context.starts_with("while ") => problem,
            _ => info,
        };
        self.error(problem)
    }

    fn document(&mut self) -> Result<Option<Value>, YamlError> {
        while let Some(event) = self.next()? {
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                Event::StreamEnd | Event::DocumentEnd => return Ok(None),
                event => return self.node(event, 0).map(Some),
            }
        }
        Ok(None)
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Value, YamlError> {
        self.add(1)?;
        if depth > DEPTH_MAX {
            return Err(self.error(format!("more than {DEPTH_MAX} levels of nesting")));
        }
        if let Some(lines) = &mut self.lines {
            lines.insert(self.path.clone(), self.line);
        }
        let before = self.count;
        let (value, anchor) = match event {
            Event::Alias(id) => return self.alias(id),
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(text, style, tag.as_deref())?, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.sequence(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.mapping(depth)?, anchor),
            _ => return Err(self.error("unexpected end")),
        };
        if anchor > 0 {
            let count = self.count - before + 1;
            self.anchors.insert(anchor, Anchor { value: value.clone(), count });
        }
        Ok(value)
    }

    fn add(&mut self, count: usize) -> Result<(), YamlError> {
        self.count += count;
        if self.count > VALUES_MAX {
            return Err(self.error(format!("more than {VALUES_MAX} values, aliases included")));
        }
        Ok(())
    }

    fn alias(&mut self, id: usize) -> Result<Value, YamlError> {
        let count = match self.anchors.get(&id) {
            Some(anchor) => anchor.count,
            // An alias inside of what it names: a value cannot hold itself.
            None => return Err(self.error(format!("invalid reference: {id}"))),
        };
        self.add(count)?;
        Ok(self.anchors.get(&id).map(|anchor| anchor.value.clone()).unwrap_or_default())
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                Some(Event::SequenceEnd) => return Ok(Value::Array(list)),
                Some(event) => {
                    let length = self.enter(|| list.len().to_string());
                    list.push(self.node(event, depth + 1)?);
                    self.path.truncate(length);
                }
                None => return Err(self.error("unexpected end")),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut map = Record::new();
        let mut merged = Vec::new();
        loop {
            let (name, merge) = match self.next()? {
                Some(Event::MappingEnd) => break,
                Some(Event::Scalar(text, _, anchor, tag)) => {
                    let merge = text == "<<" || tag.is_some_and(|tag| tag.suffix == "merge");
                    let name = text.into_owned();
                    if anchor > 0 {
                        let value = Value::String(name.clone());
                        self.anchors.insert(anchor, Anchor { value, count: 1 });
                    }
                    (name, merge)
                }
                Some(Event::Alias(id)) => match self.alias(id)? {
                    Value::String(name) => (name, false),
                    _ => return Err(self.error("the key of a map must be a scalar")),
                },
                Some(_) => return Err(self.error("the key of a map must be a scalar")),
                None => return Err(self.error("unexpected end")),
            };
            let length = self.enter(|| name.clone());
            let Some(event) = self.next()? else { return Err(self.error("unexpected end")) };
            let value = self.node(event, depth + 1)?;
            self.path.truncate(length);
            if merge {
                merged.push(value);
            } else {
                map.insert(name, value);
            }
        }
        merged.into_iter().try_for_each(|value| self.merge(&mut map, value))?;
        Ok(Value::Object(map))
    }

    /// Adds what `<<` names, where the map does not say it itself.
    fn merge(&self, map: &mut Record, value: Value) -> Result<(), YamlError> {
        let maps = match value {
            Value::Array(list) => list,
            value => vec![value],
        };
        for value in maps {
            let Value::Object(fields) = value else {
                return Err(self.error("invalid '<<' merge event: expected a map"));
            };
            for (name, value) in fields {
                map.entry(name).or_insert(value);
            }
        }
        Ok(())
    }

    fn enter(&mut self, name: impl FnOnce() -> String) -> usize {
        let length = self.path.len();
        if self.lines.is_some() {
            self.path.push('/');
            self.path.push_str(&name());
        }
        length
    }

    fn scalar(
        &self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
    ) -> Result<Value, YamlError> {
        if let Some(tag) = tag.filter(|tag| tag.is_yaml_core_schema())
            && let Some(value) = scalar::explicit(&tag.suffix, &text)
        {
            return value.ok_or_else(|| {
                let suffix = &tag.suffix;
                self.error(format!("invalid 'tag:yaml.org,2002:{suffix}' value: '{text}'"))
            });
        }
        if style == ScalarStyle::Plain {
            return Ok(scalar::implicit(&text).unwrap_or_else(|| text.into_owned().into()));
        }
        Ok(Value::String(text.into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(text: &str, expect: Value) {
        assert_eq!(parse(text).map(Option::unwrap_or_default), Ok(expect), "{text}");
    }

    fn check_error(text: &str, expect: &str) {
        assert_eq!(
            parse(text).map_err(|error| error.to_string()),
            Err(expect.to_owned()),
            "{text}"
        );
    }

    #[test]
    fn documents() {
        check("a: [1, 'x', yes]\nb:\n- {c: ~}\n", json!({"a": [1, "x", true], "b": [{"c": null}]}));
        check("a: 1\na: 2\n", json!({"a": 2}));
        check("8080: x\n", json!({"8080": "x"}));
        check("a: |\n  one\n  two\n", json!({"a": "one\ntwo\n"}));
        check("a: !!str 1\nb: !!int '7'\n", json!({"a": "1", "b": 7}));
        check("---\na: 1\n---\nb: 2\n", json!({"a": 1}));
        check("", Value::Null);
        check("# nothing\n", Value::Null);
    }

    #[test]
    fn anchors_and_merges() {
        check("a: &x {b: 1}\nc: *x\n", json!({"a": {"b": 1}, "c": {"b": 1}}));
        check(
            "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n",
            json!({"a": {"b": 1, "c": 2}, "d": {"c": 3, "b": 1}}),
        );
        check_error("a: &x\n  b: *x\n", "2:6: invalid reference: 1");
    }

    #[test]
    fn errors_are_where_the_last_event_was() {
        check_error("services: [", "1:11: did not find expected node content");
        check_error("a: {? [1] : 2}", "1:7: the key of a map must be a scalar");
    }

    #[test]
    fn bombs_are_refused() {
        let deep = format!("a: {}{}", "[".repeat(200), "]".repeat(200));
        check_error(&deep, "1:104: more than 100 levels of nesting");
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..12 {
            let before = format!("*a{}", i - 1);
            let list = [before.as_str(); 10].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{list}]\n"));
        }
        let error = parse(&bomb).map_err(|error| error.problem);
        assert_eq!(error, Err("more than 5000000 values, aliases included".to_owned()));
    }

    #[test]
    fn lines_by_path() {
        let lines = lines("a:\n- b: 1\n  c:\n    d: 2\n");
        assert_eq!(lines.get("/a/0"), Some(&2));
        assert_eq!(lines.get("/a/0/c/d"), Some(&4));
    }
}
