//! A server of an upstream (kong/db/schema/entities/targets.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Foreign, Set, Upstream, null_default};
use crate::schema::values::{AddressKind, parse_address};

/// A server of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "targets", endpoint_key = "target", workspaceable, cache_key("upstream", "target"))]
#[serde(default)]
pub struct Target {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// When it was created, in seconds since 1970, with milliseconds.
    #[field(typedef = auto_timestamp_ms)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: f64,
    /// When it was updated, in seconds since 1970, with milliseconds.
    #[field(typedef = auto_timestamp_ms)]
    #[serde(deserialize_with = "null_default")]
    pub updated_at: f64,
    /// The upstream it belongs to.
    #[field(on_delete = "cascade")]
    pub upstream: Foreign<Upstream>,
    /// A host name or an address, with a port or 8000.
    #[field(custom = crate::schema::values::target)]
    pub target: String,
    /// Its share of requests; 0 takes it out.
    #[field(default = 100, between(0, 65535))]
    pub weight: Option<u16>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
}

/// The port of a target that names none.
const DEFAULT_PORT: u16 = 8000;

impl Target {
    /// The host and port that a target's text stands for: IPv6 in full and in brackets, port 8000
    /// where it has none (kong/db/dao/targets.lua, `format_target`). None where it is no target.
    pub fn place(text: &str) -> Option<(String, u16)> {
        let address = parse_address(text).ok()?;
        let host = match address.kind {
            AddressKind::Ipv6 => format!("[{}]", address.host),
            AddressKind::Ipv4 | AddressKind::Name => address.host,
        };
        Some((host, address.port.unwrap_or(DEFAULT_PORT)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_a_host_and_a_port() {
        let check = |text, expect: Option<(&str, u16)>| {
            let expect = expect.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(Target::place(text), expect, "{text}");
        };
        check("a.test", Some(("a.test", 8000)));
        check("a.test:81", Some(("a.test", 81)));
        check("10.0.0.1:81", Some(("10.0.0.1", 81)));
        let loopback = "[0000:0000:0000:0000:0000:0000:0000:0001]";
        check("[::1]:81", Some((loopback, 81)));
        check("[::1]", Some((loopback, 8000)));
        check("a.test:x", None);
    }
}
