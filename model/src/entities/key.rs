//! A key by itself, as JWK or PEM (kong/db/schema/entities/keys.lua).

use serde::Deserialize;
use silverback_macros::{Config, Entity};
use uuid::Uuid;

use crate::entities::{Foreign, KeySet, Set, null_default};

/// A key by itself, as JWK or PEM (kong/db/schema/entities/keys.lua).
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "keys", endpoint_key = "name", workspaceable, cache_key("kid", "set"), with = rules)]
#[serde(default)]
pub struct Key {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// The key set it belongs to.
    #[field(required = false, on_delete = "cascade")]
    pub set: Option<Foreign<KeySet>>,
    /// A unique name.
    #[field(required = false, unique)]
    pub name: Option<String>,
    /// The key's id.
    #[field(unique = false)]
    pub kid: String,
    /// The key as JSON Web Key.
    #[field(referenceable, encrypted)]
    pub jwk: Option<String>,
    /// The key as PEM.
    #[field(required = false)]
    pub pem: Option<Pem>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// When it was updated, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub updated_at: i64,
}

/// The halves of a key in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Config)]
#[record(at_least_one_of("private_key", "public_key"))]
#[serde(default)]
pub struct Pem {
    /// The private key.
    #[field(required = false, referenceable, encrypted)]
    pub private_key: Option<String>,
    /// The public key.
    #[field(required = false, referenceable)]
    pub public_key: Option<String>,
}
