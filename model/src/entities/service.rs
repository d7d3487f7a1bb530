//! An upstream API: where requests of its routes are sent (kong/db/schema/entities/services.lua).

use serde::Deserialize;
use serde_json::{Value, json};
use silverback_macros::Entity;
use uuid::Uuid;

use crate::Record;
use crate::entities::{Certificate, Foreign, Protocol, Set, null_default};
use crate::schema::values::parse_url;
use crate::schema::{Field, Schema, Shorthand};

/// An upstream API: where requests of its routes are sent.
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

/// What else services.lua asks, and its shorthand `url`.
fn rules(schema: Schema) -> Schema {
    let unset = || Field::partial().eq(());
    let no_path = Field::partial().one_of(["tcp", "tls", "udp", "grpc", "grpcs"]);
    let mut schema = schema.conditional("protocol", no_path, "path", unset());
    for field in ["client_certificate", "tls_verify", "tls_verify_depth", "ca_certificates"] {
        let without_tls = Field::partial().not_one_of(["https", "tls"]);
        schema = schema.conditional("protocol", without_tls, field, unset());
    }
    schema.shorthand("url", Shorthand::new(Field::string(), spread_url))
}

/// The fields that `url` stands for.
fn spread_url(value: &Value) -> Option<Record> {
    let text = value.as_str().map_or_else(|| "null".to_owned(), str::to_owned);
    let url = parse_url(&text)?;
    let port = url.port.as_ref().map(|port| match port.parse::<u32>() {
        Ok(port) => json!(port),
        // Refused later on as no number.
        Err(_) => json!(port),
    });
    let by_port = match url.port.as_deref() {
        Some("443") => "https",
        _ => "http",
    };
    let protocol = url.scheme.as_deref().unwrap_or(by_port);
    let default_port = if protocol == "https" { 443 } else { 80 };
    Some(Record::from_iter([
        ("protocol".to_owned(), json!(protocol)),
        ("host".to_owned(), json!(url.host)),
        ("port".to_owned(), port.unwrap_or(json!(default_port))),
        ("path".to_owned(), json!(url.path)),
    ]))
}
