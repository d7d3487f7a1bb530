//! An upstream API: where requests of its routes are sent (kong/db/schema/entities/services.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Certificate, Foreign, Protocol, Set, null_default};

/// An upstream API: where requests of its routes are sent (kong/db/schema/entities/services.lua).
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "services", endpoint_key = "name", workspaceable, with = rules)]
#[serde(default)]
pub struct Service {
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
    /// How often a failed request is tried again.
    #[field(default = 5, between(0, 32767))]
    pub retries: Option<u16>,
    /// The protocol spoken to the upstream.
    #[field(default = "http")]
    pub protocol: Protocol,
    /// A host name, an address, or the name of an upstream.
    #[field(typedef = host)]
    pub host: String,
    /// The port, used where the host is no upstream.
    #[field(typedef = port, default = 80)]
    pub port: u16,
    /// A path put before that of each request.
    #[field(typedef = path)]
    pub path: Option<String>,
    /// Milliseconds for connecting.
    #[field(default = 60000, between(1, 2147483646))]
    pub connect_timeout: Option<u32>,
    /// Milliseconds between two writes to the upstream.
    #[field(default = 60000, between(1, 2147483646))]
    pub write_timeout: Option<u32>,
    /// Milliseconds between two reads from the upstream.
    #[field(default = 60000, between(1, 2147483646))]
    pub read_timeout: Option<u32>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
    /// The certificate shown to an upstream that asks for one.
    pub client_certificate: Option<Foreign<Certificate>>,
    /// Whether the upstream's certificate is verified; absent means the node's own setting.
    pub tls_verify: Option<bool>,
    /// How long a chain of certificates may be when verifying.
    #[field(default = null, between(0, 64))]
    pub tls_verify_depth: Option<u8>,
    /// The CA certificates trusted when verifying.
    pub ca_certificates: Option<Vec<Uuid>>,
    /// Whether requests are sent to it at all.
    #[field(default = true)]
    pub enabled: bool,
}
