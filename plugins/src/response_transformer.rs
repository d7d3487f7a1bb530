//! response-transformer: changes the headers of answers and the members of JSON answers
//! (`kong/plugins/response-transformer/`).

mod body;

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_LENGTH, header::CONTENT_TYPE};
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::{Exchange, Flow, LogLevel, Plugin, Value, kong};

use crate::{fields::Pair, native::native};

pub(crate) fn plugin() -> Plugin {
    native::<ResponseTransformer>(800)
        .header_filter(ResponseTransformer::header_filter)
        .body_filter_when(ResponseTransformer::changes_bodies, ResponseTransformer::body_filter)
        .build()
}

/// Changes answers: their headers, and the members of bodies that are JSON objects. Removes
/// first, then renames, replaces, adds and appends.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "response-transformer", protocols_http)]
struct ResponseTransformer {
    /// What is removed.
    #[field(required)]
    remove: Removed,
    /// What is renamed: `old:new`.
    #[field(required)]
    rename: Renamed,
    /// What gets another value, if it is there: `name:value`.
    #[field(required)]
    replace: Changed,
    /// What is set, unless it is there: `name:value`.
    #[field(required)]
    add: Changed,
    /// What gets one more value, or is set: `name:value`.
    #[field(required)]
    append: Changed,
}

/// Names.
#[derive(Debug, Deserialize, Config)]
struct Removed {
    /// Members of JSON objects.
    #[field(required, default = [])]
    json: Vec<Pair>,
    /// Headers.
    #[field(required, default = [])]
    headers: Vec<Pair>,
}

/// Old and new names.
#[derive(Debug, Deserialize, Config)]
struct Renamed {
    /// Members of JSON objects.
    #[field(required, default = [], elements(match = "^[^:]+:.*$"))]
    json: Vec<Pair>,
    /// Headers.
    #[field(required, default = [], elements(match = "^[^:]+:.*$", custom = two_header_names))]
    headers: Vec<Pair>,
}

/// Names and values.
#[derive(Debug, Deserialize, Config)]
struct Changed {
    /// Members of JSON objects.
    #[field(required, default = [], elements(match = "^[^:]+:.*$"))]
    json: Vec<Pair>,
    /// What the values of `json` become, one by one: text where nothing is said.
    #[field(required, default = [], elements(one_of("boolean", "number", "string")))]
    json_types: Vec<String>,
    /// Headers.
    #[field(required, default = [], elements(match = "^[^:]+:.*$"))]
    headers: Vec<Pair>,
}

/// Whether a pair is the old and the new name of a header.
fn two_header_names(pair: &str) -> Result<(), String> {
    let (old, new) = pair.split_once(':').unwrap_or((pair, ""));
    for name in [old, new.trim_start_matches(':')] {
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(format!("'{name}' is not a valid header"));
        }
    }
    Ok(())
}

impl ResponseTransformer {
    fn header_filter(&self, exchange: &mut Exchange) -> Flow {
        let spelling = &mut exchange.response_spelling;
        let headers = &mut exchange.response.headers;
        // What was there before decides, as in Kong.
        let before = headers.clone();
        for name in self.remove.headers.iter().filter_map(name) {
            spelling.remove(headers, &name);
            headers.remove(name);
        }
        for pair in &self.rename.headers {
            if let (Some(old), Some(given)) = (name(pair), pair.value.as_deref())
                && let Some(new) = read_name(given)
                && before.contains_key(&old)
            {
                spelling.put(given);
                headers.remove(&old);
                set_all(headers, &new, &before, &old);
            }
        }
        for (name, value) in self.replace.headers.iter().filter_map(header) {
            if before.contains_key(&name) {
                headers.insert(name, value);
            }
        }
        for pair in &self.add.headers {
            if let Some((name, value)) = header(pair)
                && !before.contains_key(&name)
            {
                spelling.add(headers, &name, &pair.name);
                headers.insert(name, value);
            }
        }
        for pair in &self.append.headers {
            if let Some((name, value)) = header(pair) {
                spelling.add(headers, &name, &pair.name);
                headers.append(name, value);
            }
        }
        if self.changes_bodies() && is_json(&before) {
            headers.remove(CONTENT_LENGTH);
        }
        Flow::Next
    }

    fn changes_bodies(&self) -> bool {
        let Self { remove, rename, replace, add, append } = self;
        [&remove.json, &rename.json, &replace.json, &add.json, &append.json]
            .into_iter()
            .any(|pairs| !pairs.is_empty())
    }

    /// Keeps the pieces back until the last one has come.
    fn body_filter(&self, exchange: &mut Exchange) -> Flow {
        if !is_json(&exchange.response.headers) {
            return Flow::Next;
        }
        let whole = match call(exchange, "kong.response.get_raw_body", &[]) {
            Value::Text(body) | Value::Binary(body) if !body.is_empty() => body,
            _ => return Flow::Next,
        };
        match body::transform(self, &whole) {
            Some(body) => {
                call(exchange, "kong.response.set_raw_body", &[Value::Text(body.into())]);
            }
            None => {
                let text = "the body is no JSON object: it stays as it is";
                silverback_pdk::log(LogLevel::Warn, "response-transformer", text);
            }
        }
        Flow::Next
    }
}

/// Puts the lines of one header in the place of another's.
fn set_all(headers: &mut HeaderMap, new: &HeaderName, before: &HeaderMap, old: &HeaderName) {
    headers.remove(new);
    for value in before.get_all(old) {
        headers.append(new, value.clone());
    }
}

/// A header's name; none for what can't be one.
fn name(pair: &Pair) -> Option<HeaderName> {
    read_name(&pair.name)
}

fn read_name(text: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(text.as_bytes()).ok()
}

/// A header's name and value; none where either is missing.
fn header(pair: &Pair) -> Option<(HeaderName, HeaderValue)> {
    Some((name(pair)?, HeaderValue::from_bytes(pair.value.as_deref()?.as_bytes()).ok()?))
}

/// Whether the content type is JSON, or one made of it (`application/vnd.api+json`).
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.unwrap_or_default().split(',').any(|media_type| {
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_lowercase();
        let subtype = media_type.strip_prefix("application/");
        subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
    })
}

fn call(exchange: &mut Exchange, name: &str, args: &[Value]) -> Value {
    match kong::find(name).map(|function| &function.call) {
        Some(kong::Call::Now(call)) => call(exchange, args).unwrap_or_default(),
        _ => Value::Nil,
    }
}

#[cfg(test)]
mod tests;
