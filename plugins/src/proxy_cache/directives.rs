//! Cache-Control (`parse_directive_header` in `kong/tools/http.lua`) and media types
//! (`kong/tools/mime_type.lua`).

use std::collections::BTreeMap;

use http::{HeaderMap, header};

use super::Given;

/// What Cache-Control says.
pub(super) struct Directives(Given);

impl Directives {
    pub(super) fn of(headers: &HeaderMap) -> Directives {
        let mut given = Given::new();
        for line in headers.get_all(header::CACHE_CONTROL) {
            let line = String::from_utf8_lossy(line.as_bytes());
            for directive in line.split(',').map(str::trim_start).filter(|d| !d.is_empty()) {
                let (name, value) = match directive.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (directive, None),
                };
                given.insert(name.to_lowercase(), value);
            }
        }
        Directives(given)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The seconds that a directive names.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_ref()?.trim().parse().ok()
    }

    /// For how many seconds the upstream says that its answer is good.
    pub(super) fn ttl(&self, headers: &HeaderMap, now: i64) -> i64 {
        let says = self.number("s-maxage").or_else(|| self.number("max-age"));
        let expires = || {
            let last = headers.get_all(header::EXPIRES).iter().next_back()?;
            let time = httpdate::parse_http_date(last.to_str().ok()?).ok()?;
            let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
            Some(i64::try_from(since.as_secs()).ok()? - now)
        };
        says.or_else(expires).unwrap_or(0).max(0)
    }
}

/// A media type, parts and parameters in lower case but for the parameters' values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MediaType {
    kind: String,
    subtype: String,
    parameters: BTreeMap<String, String>,
}

impl MediaType {
    /// Reads a media type or range; none if it is neither, to the letter, as Kong's parser has it.
    pub(super) fn read(text: &str) -> Option<MediaType> {
        let (kinds, mut rest) = text.split_at(text.find([';', ' ', '\t']).unwrap_or(text.len()));
        let (kind, subtype) = if kinds == "*" { ("*", "*") } else { kinds.split_once('/')? };
        let mut parameters = BTreeMap::new();
        while !rest.is_empty() {
            let parameter = rest.trim_start_matches(BLANK).strip_prefix(';')?;
            let (name, behind) = parameter.trim_start_matches(BLANK).split_once('=')?;
            let value;
            (value, rest) = match behind.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => behind.split_at(behind.find([';', ' ', '\t']).unwrap_or(behind.len())),
            };
            let fits = behind.starts_with('"') || is_token(value);
            (is_token(name) && fits).then_some(())?;
            parameters.insert(name.to_lowercase(), value.to_owned());
        }
        (is_token(kind) && is_token(subtype)).then_some(())?;
        let (kind, subtype) = (kind.to_lowercase(), subtype.to_lowercase());
        Some(MediaType { kind, subtype, parameters })
    }

    /// Whether a media type is this one or lies in this range; parameters must be the same.
    pub(super) fn covers(&self, found: &MediaType) -> bool {
        (self.kind == "*" || self.kind == found.kind)
            && (self.subtype == "*" || self.subtype == found.subtype)
            && self.parameters == found.parameters
    }
}

const BLANK: [char; 2] = [' ', '\t'];

fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_read_to_the_letter() {
        let check = |text: &str, expect: Option<&str>| {
            let shown = MediaType::read(text).map(|read| {
                let MediaType { kind, subtype, parameters } = read;
                format!("{kind} {subtype} {parameters:?}")
            });
            assert_eq!(shown.as_deref(), expect, "{text}");
        };
        check("Text/Plain", Some("text plain {}"));
        check("*", Some("* * {}"));
        check("*/*", Some("* * {}"));
        check("a/b;Q=1 ; c=\"X; y\"", Some(r#"a b {"c": "X; y", "q": "1"}"#));
        for text in ["a/b;", "a/b; ", "a", "/b", "a/b c", "a/b;c", "a/b;c=", "a/b;c =1", "a/b,c/d"]
        {
            check(text, None);
        }
    }
}
