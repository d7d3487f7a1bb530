//! A certificate with its key, shown to clients or upstreams (kong/db/schema/entities/certificates.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Set, null_default};

/// A certificate with its key, shown to clients or upstreams (kong/db/schema/entities/certificates.lua).
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "certificates", workspaceable, with = rules)]
#[serde(default)]
pub struct Certificate {
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
    /// The chain in PEM, the leaf first.
    #[field(typedef = certificate, referenceable)]
    pub cert: String,
    /// The private key in PEM.
    #[field(typedef = key, referenceable, encrypted)]
    pub key: String,
    /// A second chain, of another kind of key.
    #[field(typedef = certificate, required = false, referenceable)]
    pub cert_alt: Option<String>,
    /// The private key of the second chain.
    #[field(typedef = key, required = false, referenceable, encrypted)]
    pub key_alt: Option<String>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
    /// Server names it is for; these become SNI entities.
    #[field(required = false, transient, elements(typedef = wildcard_host))]
    #[serde(deserialize_with = "null_default")]
    pub snis: Vec<String>,
}
