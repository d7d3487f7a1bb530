//! Which requests go to a service (kong/db/schema/entities/routes.lua and routes_subschemas.lua).

use indexmap::IndexMap;
use serde::Deserialize;
use silverback_macros::{Config, Entity};
use uuid::Uuid;

use crate::entities::{Foreign, Protocol, Service, Set, null_default};

/// Which requests go to a service (kong/db/schema/entities/routes.lua and routes_subschemas.lua).
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "routes", endpoint_key = "name", workspaceable, subschema_key = "protocols", with = rules)]
#[serde(default)]
pub struct Route {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// When it was updated, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub updated_at: i64,
    /// A unique name.
    #[field(typedef = utf8_name)]
    pub name: Option<String>,
    /// What it accepts.
    #[field(
        len_min = 1,
        default = ["http", "https"],
        mutually_exclusive_subsets = [
            ["http", "https"], ["tcp", "tls", "udp"], ["tls_passthrough"], ["grpc", "grpcs"]
        ]
    )]
    pub protocols: Set<Protocol>,
    /// The answer to a request that matches in all but the protocol.
    #[field(default = 426, one_of(426, 301, 302, 307, 308))]
    pub https_redirect_status_code: u16,
    /// Whether the part of the path that matched is cut off.
    #[field(default = true)]
    pub strip_path: bool,
    /// Whether the client's Host is sent on.
    #[field(default = false)]
    pub preserve_host: bool,
    /// Whether a request is read whole before it is sent on.
    #[field(default = true)]
    pub request_buffering: bool,
    /// Whether a response is read whole before it is sent on.
    #[field(default = true)]
    pub response_buffering: bool,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
    /// The service, absent where plugins answer by themselves.
    pub service: Option<Foreign<Service>>,
    /// Server names of the TLS hello.
    #[field(nullable, elements(typedef = wildcard_host))]
    #[serde(deserialize_with = "null_default")]
    pub snis: Set<String>,
    /// Addresses and ports that connections come from.
    #[field(nullable)]
    #[serde(deserialize_with = "null_default")]
    pub sources: Set<Endpoint>,
    /// Addresses and ports that connections come in at.
    #[field(nullable)]
    #[serde(deserialize_with = "null_default")]
    pub destinations: Set<Endpoint>,
    /// HTTP methods, in upper case.
    #[field(nullable, elements(typedef = http_method))]
    #[serde(deserialize_with = "null_default")]
    pub methods: Set<String>,
    /// Host names, one label of which may be `*`, with or without a port.
    #[field(typedef = hosts, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub hosts: Vec<String>,
    /// Prefixes that start with `/`, regexes that start with `~/`.
    #[field(nullable, elements(typedef = router_path))]
    #[serde(deserialize_with = "null_default")]
    pub paths: Vec<String>,
    /// Header names to the values of which one must be there; one value may be a regex (`~*…`).
    #[field(typedef = route_headers, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub headers: IndexMap<String, Vec<String>>,
    /// Which regex is tried first: the greater.
    #[field(default = 0)]
    pub regex_priority: Option<i64>,
    /// How the paths of service, route and request are joined: `v0` or `v1`.
    #[field(default = "v0", one_of("v0", "v1"))]
    pub path_handling: Option<String>,
    /// The condition, with `router_flavor = expressions` only.
    #[field(skip)]
    pub expression: Option<String>,
    /// Which expression is tried first, with `router_flavor = expressions` only: the greater.
    #[field(skip)]
    #[serde(deserialize_with = "null_default")]
    pub priority: u64,
}

/// An address, a port, or both, of one end of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Config)]
#[record(at_least_one_of("ip", "port"))]
#[serde(default)]
pub struct Endpoint {
    /// An IP address or a CIDR range.
    #[field(typedef = ip_or_cidr)]
    pub ip: Option<String>,
    /// The port.
    #[field(typedef = port)]
    pub port: Option<u16>,
}
