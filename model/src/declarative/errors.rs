//! What is wrong with a file: Kong's tree of errors, the same entity by entity, and lines for
//! people.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::yaml;
use crate::Record;
use crate::errors::{self, ENTITY, Errors, Fault};
use crate::set::Kinds;

/// What is wrong with a declarative configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclarativeErrors(Box<Wrong>);

#[derive(Debug, Clone, PartialEq)]
struct Wrong {
    errors: Errors,
    /// The file as it was read; none if it could not be read.
    input: Option<Record>,
    /// The file as text, where it may be YAML.
    text: Option<String>,
}

impl DeclarativeErrors {
    /// A file that could not be read.
    pub(crate) fn unreadable(why: &str) -> DeclarativeErrors {
        let error = format!("failed parsing declarative configuration: {why}");
        DeclarativeErrors(Box::new(Wrong {
            errors: Errors::of("error", error),
            input: None,
            text: None,
        }))
    }

    /// A file with errors; `text` if it was text.
    pub(crate) fn of(errors: Errors, input: Record, text: Option<&str>) -> DeclarativeErrors {
        DeclarativeErrors(Box::new(Wrong {
            errors,
            input: Some(input),
            text: text.map(str::to_owned),
        }))
    }

    /// The errors by field.
    pub fn errors(&self) -> &Errors {
        &self.0.errors
    }

    /// The answer of `POST /config`: status 400.
    pub fn fault(&self) -> Fault {
        Fault::declarative_config(self.0.errors.clone())
    }

    /// The body of the answer with `flatten_errors`: errors by entity in `flattened_errors`, what
    /// is about no entity in `fields` (`declarative_config_flattened` of kong/db/errors.lua).
    pub fn flattened(&self, kinds: &Kinds) -> Value {
        let Some(input) = &self.0.input else { return self.fault().to_json() };
        let schemas: Vec<_> = kinds.iter().map(|kind| Arc::clone(&kind.schema)).collect();
        let mut errors = self.0.errors.clone();
        let flat = errors::flatten(&mut errors, input, &schemas);
        let mut body = Fault::declarative_config(errors).to_json();
        body["flattened_errors"] = Value::Array(flat);
        body
    }

    /// A line for each error: file, line if the file is YAML, entity, field, and what is wrong.
    pub fn describe(&self, file: &str) -> Vec<String> {
        let lines = self.0.text.as_deref().map(yaml::lines).unwrap_or_default();
        let input = self.0.input.clone().map_or(Value::Null, Value::Object);
        let mut out = Vec::new();
        let at = Place { path: String::new(), shown: String::new(), item: Some(&input) };
        describe(&Value::from(self.0.errors.clone()), &at, &mut |place, error| {
            let mut path = place.path.as_str();
            // What is missing is said of the entity that lacks it.
            let line = loop {
                match (lines.get(path), path.rsplit_once('/')) {
                    (Some(line), _) => break Some(line),
                    (None, Some((parent, _))) => path = parent,
                    (None, None) => break None,
                }
            };
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            let colon = if place.shown.is_empty() { "" } else { ": " };
            out.push(format!("{file}{line}: {}{colon}{error}", place.shown));
        });
        out
    }
}

impl fmt::Display for DeclarativeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault().message)
    }
}

impl std::error::Error for DeclarativeErrors {}

/// Where an error is: its path in the file, the same for people, and the value there.
struct Place<'a> {
    path: String,
    shown: String,
    item: Option<&'a Value>,
}

impl Place<'_> {
    fn field(&self, name: &str) -> Place<'_> {
        if name == ENTITY || (self.path.is_empty() && name == "error") {
            return Place { path: self.path.clone(), shown: self.shown.clone(), item: self.item };
        }
        let dot = if self.shown.is_empty() { "" } else { "." };
        Place {
            path: format!("{}/{name}", self.path),
            shown: format!("{}{dot}{name}", self.shown),
            item: self.item.and_then(|item| item.get(name)),
        }
    }

    /// An entity is told by its name as well, where it has one; keys are secrets and never shown.
    fn element(&self, i: usize) -> Place<'_> {
        let item = self.item.and_then(|item| item.get(i));
        let name = ["name", "username", "custom_id", "target", "id"]
            .iter()
            .find_map(|field| item?.get(field)?.as_str())
            .map(|name| format!(" '{name}'"))
            .unwrap_or_default();
        Place {
            path: format!("{}/{i}", self.path),
            shown: format!("{}[{}]{name}", self.shown, i + 1),
            item,
        }
    }
}

fn describe(error: &Value, at: &Place<'_>, say: &mut dyn FnMut(&Place<'_>, &str)) {
    match error {
        Value::Null => {}
        Value::String(text) => say(at, text),
        Value::Array(list) if list.iter().all(Value::is_string) && at.item_is_no_list() => {
            list.iter().filter_map(Value::as_str).for_each(|text| say(at, text));
        }
        Value::Array(list) => {
            for (i, error) in list.iter().enumerate() {
                describe(error, &at.element(i), say);
            }
        }
        Value::Object(fields) => {
            for (name, error) in fields {
                describe(error, &at.field(name), say);
            }
        }
        other => say(at, &other.to_string()),
    }
}

impl Place<'_> {
    /// Lists of texts are said of an entity or a reference, or of each element of a list.
    fn item_is_no_list(&self) -> bool {
        !self.item.is_some_and(Value::is_array)
    }
}
