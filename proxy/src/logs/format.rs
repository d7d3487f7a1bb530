//! Formats of access logs, as nginx's `log_format` has them: text with variables
//! (ngx_http_log_module).

use silverback_pdk::{Exchange, kong::nginx_vars};
use thiserror::Error;

/// What a line of an access log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFormat {
    parts: Vec<Part>,
    escape: Escape,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// Quotes, backslashes and what is not printable as `\xHH`; `-` for nothing.
    Default,
    /// As in a JSON string; nothing for nothing.
    Json,
    /// As they are.
    None,
}

/// Why a format is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    /// A quote without its end.
    #[error("a quote is not closed: {0}")]
    Quote(String),
    /// `escape=` with something else than nginx has.
    #[error("unknown escape '{0}': it is default, json or none")]
    Escape(String),
    /// A `$` without a name.
    #[error("a '$' without the name of a variable: {0}")]
    Name(String),
    /// A variable that there is not.
    #[error("unknown variable '${0}'")]
    Variable(String),
    /// No text at all.
    #[error("it is empty")]
    Empty,
}

/// The formats that go without a definition: those of nginx and of Kong, and `json`.
const NAMED: [(&str, &str); 4] = [
    (
        "combined",
        r#"'$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
           '"$http_referer" "$http_user_agent"'"#,
    ),
    (
        "kong_log_format",
        r#"'$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
           '"$http_referer" "$http_user_agent" kong_request_id: "$kong_request_id"'"#,
    ),
    (
        "basic",
        "'$remote_addr [$time_local] $protocol $status $bytes_sent $bytes_received $session_time'",
    ),
    (
        "json",
        r#"escape=json '{"time":"$time_iso8601","remote_addr":"$remote_addr",'
           '"request_id":"$kong_request_id","method":"$request_method","host":"$host",'
           '"uri":"$request_uri","protocol":"$server_protocol","status":"$status",'
           '"body_bytes_sent":"$body_bytes_sent","request_length":"$request_length",'
           '"request_time":"$request_time","upstream_addr":"$upstream_addr",'
           '"upstream_status":"$upstream_status","upstream_time":"$upstream_response_time",'
           '"referer":"$http_referer","user_agent":"$http_user_agent"}'"#,
    ),
];

impl LogFormat {
    /// A format that needs no definition: `combined`, `kong_log_format`, `basic` (for streams) or
    /// `json`.
    pub fn named(name: &str) -> Option<LogFormat> {
        let (_, definition) = NAMED.iter().find(|(own, _)| *own == name)?;
        LogFormat::parse(definition).ok()
    }

    /// The format of a definition as it stands behind the name in nginx's `log_format`: an escape,
    /// maybe, and quoted texts that are put together.
    ///
    /// # Errors
    /// If it is none, or names a variable that there is not.
    pub fn parse(definition: &str) -> Result<LogFormat, FormatError> {
        let mut words = words(definition)?.into_iter().peekable();
        let escape = match words.peek().and_then(|word| word.strip_prefix("escape=")) {
            None => Escape::Default,
            Some("default") => Escape::Default,
            Some("json") => Escape::Json,
            Some("none") => Escape::None,
            Some(other) => return Err(FormatError::Escape(other.to_owned())),
        };
        if words.peek().is_some_and(|word| word.starts_with("escape=")) {
            words.next();
        }
        let parts = parts(&words.collect::<String>())?;
        if parts.is_empty() {
            return Err(FormatError::Empty);
        }
        Ok(LogFormat { parts, escape })
    }

    /// The line of a request or a stream; `sent` is the size of the body that was sent.
    pub(super) fn line(&self, exchange: &Exchange, sent: u64) -> String {
        let mut line = String::with_capacity(256);
        for part in &self.parts {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Variable(name) if name == "body_bytes_sent" => {
                    line.push_str(&sent.to_string());
                }
                Part::Variable(name) => {
                    let value = nginx_vars::get(exchange, name);
                    self.push(value.as_bytes().map_or(&[], |value| value), &mut line);
                }
            }
        }
        line.push('\n');
        line
    }

    fn push(&self, value: &[u8], line: &mut String) {
        match self.escape {
            Escape::Default if value.is_empty() => line.push('-'),
            Escape::Default => super::escape(value, line),
            Escape::None => line.push_str(&String::from_utf8_lossy(value)),
            Escape::Json => {
                let text = String::from_utf8_lossy(value);
                // The text of a string always has a form, and its quotes stand at its ends.
                let quoted = serde_json::to_string(&text).unwrap_or_default();
                line.push_str(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
            }
        }
    }
}

/// The words of a directive: bare ones, and quoted ones without their quotes.
fn words(text: &str) -> Result<Vec<String>, FormatError> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '\'' || first == '"' {
            let (word, after) =
                quoted(rest, first).ok_or_else(|| FormatError::Quote(rest.to_owned()))?;
            words.push(word);
            rest = after.trim_start();
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            words.push(word.to_owned());
            rest = after.trim_start();
        }
    }
    Ok(words)
}

/// What stands between quotes, and what follows them. A backslash keeps the character behind it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next()?.1 {
                'n' => word.push('\n'),
                't' => word.push('\t'),
                'r' => word.push('\r'),
                kept @ ('\\' | '\'' | '"') => word.push(kept),
                other => word.extend(['\\', other]),
            },
            end if end == quote => return Some((word, text.get(at + end.len_utf8()..)?)),
            other => word.push(other),
        }
    }
    None
}

/// Text and variables: `$name` or `${name}`.
fn parts(text: &str) -> Result<Vec<Part>, FormatError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        let (name, behind) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').unwrap_or_default(),
            None => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len()))
            }
        };
        if name.is_empty() {
            return Err(FormatError::Name(format!("${after}")));
        }
        if !nginx_vars::is_known(name) {
            return Err(FormatError::Variable(name.to_owned()));
        }
        parts.push(Part::Variable(name.to_owned()));
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(definition: &str, expect: Result<&[Part], &str>) {
        let got = LogFormat::parse(definition);
        let got = got.as_ref().map(|format| &*format.parts).map_err(ToString::to_string);
        assert_eq!(got, expect.map_err(str::to_owned), "{definition}");
    }

    #[test]
    fn definitions_are_read_as_nginx_reads_them() {
        let text = |text: &str| Part::Text(text.to_owned());
        let variable = |name: &str| Part::Variable(name.to_owned());
        let both = [variable("status"), text(" "), variable("host"), text("x")];
        check("'$status' ' ${host}x'", Ok(&both));
        let json = [text("{\"a\":\""), variable("arg_a"), text("\"}")];
        check(r#"escape=json '{"a":"$arg_a"}'"#, Ok(&json));
        check(r"'it\'s'", Ok(&[text("it's")]));
        check("'$stat'", Err("unknown variable '$stat'"));
        check("'a", Err("a quote is not closed: 'a"));
        check("'100$ '", Err("a '$' without the name of a variable: $ "));
        check("escape=xml '$status'", Err("unknown escape 'xml': it is default, json or none"));
        check("", Err("it is empty"));
    }

    #[test]
    fn formats_that_go_without_a_definition_are_valid() {
        for (name, definition) in NAMED {
            assert_eq!(LogFormat::parse(definition).ok(), LogFormat::named(name), "{name}");
            assert!(LogFormat::named(name).is_some(), "{name}");
        }
        assert_eq!(LogFormat::named("main"), None);
    }

    #[test]
    fn values_are_escaped() {
        let push = |escape, value: &str| {
            let mut line = String::new();
            LogFormat { parts: Vec::new(), escape }.push(value.as_bytes(), &mut line);
            line
        };
        assert_eq!(push(Escape::Default, "a\"\n"), "a\\x22\\x0A");
        assert_eq!(push(Escape::Default, ""), "-");
        assert_eq!(push(Escape::Json, "a\"\né"), "a\\\"\\né");
        assert_eq!(push(Escape::Json, ""), "");
        assert_eq!(push(Escape::None, "a\""), "a\"");
    }
}
