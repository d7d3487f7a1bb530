//! Origins: as they are configured, and as browsers send them (RFC 6454).

use serde::{Deserialize, Deserializer, de::Error};
use silverback_model::schema::{Field, FieldType};

use crate::fields::Pattern;

/// An origin that may use an API.
#[derive(Debug)]
pub(super) enum Origin {
    /// Every one.
    Any,
    /// This one.
    Literal {
        /// As it was written.
        text: String,
        /// Without the port that goes without saying.
        origin: String,
    },
    /// Those that this matches from end to end.
    Regex {
        /// Anchored at both ends.
        regex: Pattern,
        /// Whether it is the host that is matched.
        by_host: bool,
    },
}

/// An origin that a browser sends.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    /// Without the port that goes without saying.
    pub(super) origin: String,
    /// Its host; the whole where there is none.
    pub(super) host: String,
}

impl FieldType for Origin {
    fn field() -> Field {
        Field::string()
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Origin, D::Error> {
        read(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl Origin {
    /// Whether this is the origin, or one of them.
    pub(super) fn matches(&self, asked: &Asked) -> bool {
        match self {
            Origin::Any => true,
            Origin::Literal { origin, .. } => *origin == asked.origin,
            Origin::Regex { regex, by_host } => {
                let text = if *by_host { &asked.host } else { &asked.origin };
                regex.is_match(text).unwrap_or(false)
            }
        }
    }
}

fn read(text: &str) -> Result<Origin, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".:/-".contains(c);
    if text == "*" {
        return Ok(Origin::Any);
    }
    if text.chars().all(plain) {
        let origin = normalize(text).origin;
        return Ok(Origin::Literal { text: text.to_owned(), origin });
    }
    let regex = Pattern::read(&format!("^(?:{text})$"));
    let regex = regex.map_err(|_| format!("'{text}' is not a valid regex"))?;
    Ok(Origin::Regex { regex, by_host: !text.contains(':') })
}

/// Whether an origin can be configured so.
pub(super) fn check(text: &str) -> Result<(), String> {
    read(text).map(drop)
}

/// An origin without the port that goes without saying.
pub(super) fn normalize(text: &str) -> Asked {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Asked { origin: text.to_owned(), host: text.to_owned() };
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    let port = match (scheme, port) {
        ("http", "80") | ("https", "443") | (_, "") => String::new(),
        (_, port) => format!(":{port}"),
    };
    Asked { origin: format!("{scheme}://{host}{port}"), host: host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_ports_go_without_saying() {
        let check = |text: &str, origin: &str, host: &str| {
            let expect = Asked { origin: origin.into(), host: host.into() };
            assert_eq!(normalize(text), expect, "{text}");
        };
        check("https://a.test:443", "https://a.test", "a.test");
        check("http://a.test:443", "http://a.test:443", "a.test");
        check("http://a.test/path", "http://a.test", "a.test");
        check("http://[::1]:80", "http://[::1]", "[::1]");
        check("http://[::1]", "http://[::1]", "[::1]");
        check("null", "null", "null");
    }

    #[test]
    fn regexes_match_from_end_to_end() {
        let check = |pattern: &str, text: &str, expect: bool| {
            let found = read(pattern).unwrap().matches(&normalize(text));
            assert_eq!(found, expect, "{pattern} {text}");
        };
        check("https?://[a-z]+\\.shop\\.test", "https://www.shop.test", true);
        check("https?://[a-z]+\\.shop\\.test", "https://www.shop.test.evil.test", false);
        check("https://a\\.test|https://b\\.test", "https://a.test.evil.test", false);
        check("^https://a\\.test$|^https://b\\.test$", "https://b.test", true);
        check(".*\\.partner\\.test", "http://x.partner.test:9000", true);
        check(".*\\.partner\\.test", "http://partner.test", false);
        check("https://(?!evil)[a-z]+\\.test", "https://good.test", true);
        check("https://(?!evil)[a-z]+\\.test", "https://evil.test", false);
        assert!(read("(").is_err());
    }
}
