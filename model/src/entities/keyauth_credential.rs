//! A key of a consumer (kong/plugins/key-auth/daos.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Consumer, Foreign, Set, null_default};

/// A key of a consumer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "keyauth_credentials",
    endpoint_key = "key",
    workspaceable,
    cache_key("key"),
    ttl,
    admin_api_name = "key-auths",
    admin_api_nested_name = "key-auth"
)]
#[serde(default)]
pub struct KeyauthCredential {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// The consumer whose credential it is.
    #[field(on_delete = "cascade")]
    pub consumer: Foreign<Consumer>,
    /// The key.
    #[field(required = false, unique, auto)]
    pub key: Option<String>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
}
