//! A certificate authority to trust (kong/db/schema/entities/ca_certificates.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Set, null_default};

/// A certificate authority to trust (kong/db/schema/entities/ca_certificates.lua).
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "ca_certificates", with = rules)]
#[serde(default)]
pub struct CaCertificate {
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
    /// One certificate in PEM.
    #[field(typedef = certificate)]
    pub cert: String,
    /// SHA-256 of the certificate, in hexadecimal; made by the gateway.
    #[field(unique)]
    pub cert_digest: Option<String>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
}
