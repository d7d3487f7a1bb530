//! What the acme plugin keeps (kong/plugins/acme/daos.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::null_default;

/// What the acme plugin keeps.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "acme_storage", cache_key("key"), ttl)]
#[serde(default)]
pub struct AcmeStorage {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// Its name.
    #[field(required, unique, auto)]
    pub key: String,
    /// Its value.
    #[field(required, auto)]
    pub value: String,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
}
