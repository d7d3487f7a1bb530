//! Values with templates: text in which `$(...)` stands for what an expression gives.

use http::{HeaderMap, HeaderName};
use silverback_pdk::{Exchange, Expression as Hosted, Value, kong};

use super::expression::{Expression, Trouble};

/// A value: text and expressions in turn.
pub(super) struct Template(Vec<Piece>);

enum Piece {
    Text(String),
    /// An expression that is simple enough to be run here.
    Simple(Expression),
    /// Any other, run by whoever hosts Lua.
    Lua(Box<dyn Hosted>),
}

impl Template {
    /// Reads a value.
    ///
    /// # Errors
    /// What is wrong with an expression in it.
    pub(super) fn read(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, code, after)) = next(rest) {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(match Expression::read(code) {
                Ok(expression) => Piece::Simple(expression),
                Err(Trouble::Wrong(error)) => return Err(format!("$({code}): {error}")),
                Err(Trouble::Beyond) => {
                    let hosted = silverback_pdk::compile_expression(&chunk(code));
                    Piece::Lua(hosted.map_err(|error| format!("$({code}): {error}"))?)
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Template(pieces))
    }

    /// The value for a request.
    ///
    /// # Errors
    /// If an expression fails, or gives what is no text.
    pub(super) fn render(&self, environment: &mut Environment<'_>) -> Result<String, String> {
        let mut text = String::new();
        for piece in &self.0 {
            let value = match piece {
                Piece::Text(piece) => {
                    text.push_str(piece);
                    continue;
                }
                Piece::Simple(expression) => expression.evaluate(environment)?,
                Piece::Lua(hosted) => hosted.evaluate(environment.exchange)?,
            };
            match &value {
                Value::Nil | Value::Bool(false) => {}
                value => text.push_str(&as_text(value)?),
            }
        }
        Ok(text)
    }
}

/// A value as Lua writes it.
pub(super) fn as_text(value: &Value) -> Result<String, String> {
    Ok(match value {
        Value::Bool(yes) => yes.to_string(),
        Value::Int(_) | Value::Number(_) => value.to_json().to_string(),
        Value::Text(text) | Value::Binary(text) => String::from_utf8_lossy(text).into_owned(),
        other => return Err(format!("a template gives a {}", other.type_name())),
    })
}

/// What is there for expressions beyond those that are run here: the same names, and what the host
/// of Lua has in its sandbox.
fn chunk(code: &str) -> String {
    format!(
        "local headers, query_params = kong.request.get_headers(), kong.request.get_query() \
         local shared, captures = kong.ctx.shared, kong.request.get_uri_captures() \
         local uri_captures = {{}} \
         for _, part in ipairs({{captures.unnamed or {{}}, captures.named or {{}}}}) do \
         for k, v in pairs(part) do uri_captures[k] = v end end \
         return ({code})"
    )
}

/// The text before the next expression, the expression, and what follows it.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find("$(")?;
        let body = text.get(at + 2..)?;
        let mut depth = 1;
        for (end, letter) in body.char_indices() {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            if depth == 0 {
                return Some((text.get(..at)?, body.get(..end)?, body.get(end + 1..)?));
            }
        }
        // It is never closed: it is text.
        from = at + 2;
    }
}

/// A name and a value, and a template that can be read.
pub(super) fn check_value(pair: &str) -> Result<(), String> {
    let (name, value) = pair.split_once(':').unwrap_or((pair, ""));
    let value = value.trim_start_matches(':');
    if value.is_empty() {
        return Err(format!("key '{name}' has no value"));
    }
    let mut rest = value;
    while let Some((_, code, after)) = next(rest) {
        let wrong = match Expression::read(code) {
            Ok(_) => None,
            Err(Trouble::Wrong(error)) => Some(error),
            Err(Trouble::Beyond) => silverback_pdk::compile_expression(&chunk(code)).err(),
        };
        if let Some(error) = wrong {
            return Err(format!("value '{value}' is not in supported format, error:{error}"));
        }
        rest = after;
    }
    Ok(())
}

/// Whether a pair begins with the name of a header.
pub(super) fn check_name(pair: &str) -> Result<(), String> {
    let (name, _) = pair.split_once(':').unwrap_or((pair, ""));
    is_header(name)
}

/// Whether a pair is the old and the new name of a header.
pub(super) fn check_two_names(pair: &str) -> Result<(), String> {
    let (old, new) = pair.split_once(':').unwrap_or((pair, ""));
    is_header(old)?;
    is_header(new.trim_start_matches(':'))
}

fn is_header(name: &str) -> Result<(), String> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("'{name}' is not a valid header")),
    }
}

/// What expressions see of a request: each part as it was when it was first looked at, as in
/// Kong.
pub(super) struct Environment<'a> {
    pub(super) exchange: &'a mut Exchange,
    headers: Option<HeaderMap>,
    query: Option<Value>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(exchange: &'a mut Exchange) -> Environment<'a> {
        Environment { exchange, headers: None, query: None }
    }

    /// The query's arguments.
    pub(super) fn query(&mut self) -> &Value {
        let query = self.exchange.request.query.as_deref().unwrap_or_default();
        self.query.get_or_insert_with(|| kong::decode_arguments(query.as_bytes()))
    }

    /// A header, in any case and with `_` for `-`: text, or a list where it has several lines.
    pub(super) fn header(&mut self, name: &str) -> Value {
        let headers = self.headers.get_or_insert_with(|| self.exchange.request.headers.clone());
        let name = name.to_lowercase().replace('_', "-");
        let mut lines: Vec<Value> =
            headers.get_all(name).iter().map(|line| Value::text(line.as_bytes())).collect();
        if lines.len() > 1 { Value::Array(lines) } else { lines.pop().unwrap_or_default() }
    }

    /// What a group of the route's path has matched, by its number, or by its name.
    pub(super) fn capture(&self, key: &Value) -> Value {
        let captures = self.exchange.matched.as_ref().and_then(|m| m.captures.as_ref());
        let Some(captures) = captures else { return Value::Nil };
        if let Some(number) = key.as_int() {
            let found = usize::try_from(number).ok().and_then(|n| captures.unnamed.get(n));
            return found.map(Value::text).unwrap_or_default();
        }
        let name = key.as_str().unwrap_or_default();
        let found = captures.named.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| Value::text(value)).unwrap_or_default()
    }
}
