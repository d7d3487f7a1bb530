//! Types of configuration fields that are read once, when the configuration is loaded.

use std::net::IpAddr;

use base64::{
    Engine,
    alphabet::{Alphabet, STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use fancy_regex::Regex;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error};
use silverback_model::schema::{Field, FieldType};

/// A regular expression as PCRE has them. Those without look-around and back references take time
/// in proportion to the text, whatever they look for; the others give up after a million steps.
#[derive(Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Reads a regular expression.
    pub(crate) fn read(text: &str) -> Result<Pattern, Box<fancy_regex::Error>> {
        Regex::new(text).map(Pattern).map_err(Box::new)
    }

    /// Whether it is found in the text; none if that takes too long to say.
    pub(crate) fn is_match(&self, text: &str) -> Option<bool> {
        self.0.is_match(text).ok()
    }
}

/// An address or a range of addresses.
#[derive(Debug)]
pub(crate) struct Network(IpNet);

/// `name:value`: what stands before the first colon, and what follows the colons after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// What stands before the first colon.
    pub(crate) name: String,
    /// What follows it; none where nothing does.
    pub(crate) value: Option<String>,
}

/// A header that is looked for. One whose name has `_` is found under the name with `-`, too, as
/// in Kong (`ngx.req.get_headers`).
#[derive(Debug)]
pub(crate) struct Sought([Option<HeaderName>; 2]);

impl Sought {
    /// The header of that name.
    pub(crate) fn of(name: &str) -> Sought {
        let header = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
        let dashed = name.contains('_').then(|| name.replace('_', "-"));
        Sought([header(name), dashed.and_then(|name| header(&name))])
    }

    /// The name under which it is there.
    pub(crate) fn found(&self, headers: &HeaderMap) -> Option<&HeaderName> {
        self.0.iter().flatten().find(|name| headers.contains_key(*name))
    }

    /// Takes it away, under either name.
    pub(crate) fn remove(&self, headers: &mut HeaderMap) {
        for name in self.0.iter().flatten() {
            headers.remove(name);
        }
    }

    /// Its first line.
    pub(crate) fn first<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        self.0.iter().flatten().find_map(|name| headers.get(name))
    }
}

impl Network {
    /// Whether the address is in it.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl Pair {
    fn read(text: &str) -> Pair {
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.trim_start_matches(':');
        Pair { name: name.to_owned(), value: (!value.is_empty()).then(|| value.to_owned()) }
    }
}

macro_rules! texts {
    ($($type:ty: $read:expr;)*) => {
        $(impl FieldType for $type {
            fn field() -> Field {
                Field::string()
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                $read(&text).map_err(|error| D::Error::custom(format!("'{text}': {error}")))
            }
        })*
    };
}

texts! {
    Pattern: Pattern::read;
    Network: network;
    Pair: |text: &str| Ok::<_, String>(Pair::read(text));
}

fn network(text: &str) -> Result<Network, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let parsed = text.parse::<IpNet>().or_else(|_| address());
    parsed.map(Network).map_err(|_| "expected an IP address or a CIDR range".to_owned())
}

/// Base64 in the standard alphabet, as nginx reads it: padding may be missing, and ends the text.
pub(crate) fn base64_decode(text: &str) -> Option<Vec<u8>> {
    decode(text, &STANDARD)
}

/// Base64 in the alphabet of URLs, as nginx reads it.
pub(crate) fn base64url_decode(text: &str) -> Option<Vec<u8>> {
    decode(text, &URL_SAFE)
}

fn decode(text: &str, alphabet: &Alphabet) -> Option<Vec<u8>> {
    let text = text.split('=').next().unwrap_or_default();
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_look_around_and_give_up() {
        let check = |pattern: &str, text: &str, expect: Option<bool>| {
            let found = Pattern::read(pattern).unwrap().is_match(text);
            assert_eq!(found, expect, "{pattern} {text}");
        };
        check("^curl/(?!8)", "curl/7.1", Some(true));
        check("^curl/(?!8)", "curl/8.1", Some(false));
        check(r"^((x+)+)\1y$", &"x".repeat(60), None);
        assert!(Pattern::read("(").is_err());
    }

    #[test]
    fn pairs_are_split_at_their_first_colons() {
        let check = |text: &str, name: &str, value: Option<&str>| {
            let expect = Pair { name: name.into(), value: value.map(str::to_owned) };
            assert_eq!(Pair::read(text), expect, "{text}");
        };
        check("a:b", "a", Some("b"));
        check("a::b:c", "a", Some("b:c"));
        check("a:", "a", None);
        check("a", "a", None);
    }

    #[test]
    fn networks_are_addresses_and_ranges() {
        let check = |text: &str, address: &str, expect: bool| {
            let network = network(text).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expect, "{text} {address}");
        };
        check("10.1.2.3", "10.1.2.3", true);
        check("10.1.2.3", "::ffff:10.1.2.3", true);
        check("10.1.2.3", "10.1.2.4", false);
        check("192.168.7.1/16", "192.168.77.1", true);
        check("2001:db8::/32", "2001:db8::99", true);
        check("0.0.0.0/0", "::1", false);
        assert!(network("10.0.0.0/33").is_err());
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        let check = |text: &str, expect: Option<&str>| {
            let decoded = base64_decode(text);
            assert_eq!(decoded.as_deref(), expect.map(str::as_bytes), "{text}");
        };
        check("bTpw", Some("m:p"));
        check("bTpwdw==", Some("m:pw"));
        check("bTpwdw", Some("m:pw"));
        check("bTpwd", None);
        check("!!!", None);
        assert_eq!(base64url_decode("-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(base64_decode("-_8"), None);
    }
}
