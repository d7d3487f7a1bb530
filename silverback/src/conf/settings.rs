//! All effective values by name, each with its origin, and what was found about them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::keys::{self, MASK, SENSITIVE};
use super::value::{self, Value};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The table of keys.
    Default,
    /// A line of a file.
    File {
        /// The file's path.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// The environment variable of that name.
    Env(String),
    /// The command line, or the caller.
    Argument,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Env(name) => f.write_str(name),
            Self::Argument => f.write_str("command line"),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfError {
    /// Where the value comes from; `None` where the error speaks for itself.
    pub origin: Option<Origin>,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(Origin::Default) | None => f.write_str(&self.message),
            Some(origin) => write!(f, "{origin}: {}", self.message),
        }
    }
}

/// Everything that is wrong with the configuration, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.lines())]
pub(crate) struct ConfErrors(pub Vec<ConfError>);

impl ConfErrors {
    fn lines(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// What is found while loading: errors stop, warnings and notices are to be logged.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<ConfError>,
    pub(super) warnings: Vec<String>,
    pub(super) notices: Vec<String>,
}

impl Findings {
    /// Adds an error about a key's value.
    pub(super) fn error(&mut self, settings: &Settings, name: &str, message: String) {
        let message = settings.without_secret(name, message);
        self.errors.push(ConfError { origin: settings.origin(name), message });
    }
}

/// One effective value. Two are equal if they have the same effect, wherever they come from.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// The value as it was given, where that refers to a vault: what is shown and kept instead.
    pub(super) reference: Option<Value>,
}

impl PartialEq for Setting {
    fn eq(&self, other: &Setting) -> bool {
        self.value == other.value
    }
}

/// All effective values by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Settings {
    pub(super) map: BTreeMap<String, Setting>,
}

impl Settings {
    /// The text of a key; `None` if it is unset or of another kind.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.value(name) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The reference that a text was given as; none if it was given itself.
    pub(crate) fn reference(&self, name: &str) -> Option<&str> {
        match self.map.get(name)?.reference.as_ref()? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a key, empty if it is unset.
    pub(crate) fn text_or_empty(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    /// Whether a boolean or switch is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Bool(on) => *on,
            Value::Text(text) => text == "on",
            _ => false,
        }
    }

    /// The number of a key; `None` if it is unset.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        match self.value(name) {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The number of a key as a whole one, cut off at the bounds of `u32`; 0 if unset.
    pub(crate) fn count(&self, name: &str) -> u32 {
        // A cast of a float saturates.
        self.number(name).unwrap_or(0.0) as u32
    }

    /// The number of a key as seconds.
    pub(crate) fn seconds(&self, name: &str) -> Option<Duration> {
        Duration::try_from_secs_f64(self.number(name)?).ok()
    }

    /// The bytes of a size.
    pub(crate) fn size(&self, name: &str) -> Option<u64> {
        value::size(self.text(name)?)
    }

    /// The texts of a list.
    pub(crate) fn list(&self, name: &str) -> &[String] {
        match self.value(name) {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Whether the value was given, rather than a default.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|setting| setting.origin != Origin::Default)
    }

    pub(super) fn value(&self, name: &str) -> &Value {
        debug_assert!(
            keys::find(name).is_some() || keys::family_of(name).is_some(),
            "{name} is not a key"
        );
        self.map.get(name).map_or(&Value::Unset, |setting| &setting.value)
    }

    pub(super) fn origin(&self, name: &str) -> Option<Origin> {
        self.map.get(name).map(|setting| setting.origin.clone())
    }

    /// Replaces a value that follows from others.
    pub(super) fn derive(&mut self, name: &str, value: Value) {
        let origin = self.origin(name).unwrap_or(Origin::Default);
        self.map.insert(name.to_owned(), Setting { value, origin, reference: None });
    }

    /// A text about a value, without it where it is a secret of a vault.
    fn without_secret(&self, name: &str, text: String) -> String {
        let Some(Setting { value, reference: Some(reference), .. }) = self.map.get(name) else {
            return text;
        };
        match value.to_text() {
            secret if secret.is_empty() => text,
            secret => text.replace(&secret, &reference.to_text()),
        }
    }

    /// A value for eyes: masked if it is sensitive, a reference if it was given as one.
    pub(super) fn shown(&self, name: &str) -> Option<serde_json::Value> {
        let setting = self.map.get(name)?;
        if SENSITIVE.contains(&name) {
            return setting.value.to_json().map(|_| MASK.into());
        }
        setting.reference.as_ref().unwrap_or(&setting.value).to_json()
    }
}
