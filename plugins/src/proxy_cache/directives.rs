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
    /// Reads a media type or range; none if it is neither.
    pub(super) fn read(text: &str) -> Option<MediaType> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let parameters = parts.filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim().to_lowercase(), value.trim().trim_matches('"').to_owned()))
        });
        (!kind.is_empty() && !subtype.is_empty()).then_some(())?;
        Some(MediaType {
            kind: kind.to_lowercase(),
            subtype: subtype.to_lowercase(),
            parameters: parameters.collect::<Option<_>>()?,
        })
    }

    /// Whether a media type is this one or lies in this range; parameters must be the same.
    pub(super) fn covers(&self, found: &MediaType) -> bool {
        (self.kind == "*" || self.kind == found.kind)
            && (self.subtype == "*" || self.subtype == found.subtype)
            && self.parameters == found.parameters
    }
}
