//! A server name and its certificate (kong/db/schema/entities/snis.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Certificate, Foreign, Set, null_default};

/// A server name and its certificate.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "snis", endpoint_key = "name", workspaceable)]
#[serde(default)]
pub struct Sni {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// The server name; its first or last label may be `*`.
    #[field(typedef = wildcard_host, unique, unique_across_ws)]
    pub name: String,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// When it was updated, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub updated_at: i64,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
    /// The certificate shown.
    pub certificate: Foreign<Certificate>,
}
