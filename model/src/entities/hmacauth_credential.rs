//! A name and secret that a consumer signs requests with (kong/plugins/hmac-auth/daos.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Consumer, Foreign, Set, null_default};

/// A name and secret that a consumer signs requests with.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "hmacauth_credentials",
    endpoint_key = "username",
    workspaceable,
    cache_key("username"),
    admin_api_name = "hmac-auths",
    admin_api_nested_name = "hmac-auth"
)]
#[serde(default)]
pub struct HmacauthCredential {
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
    /// The name.
    #[field(unique)]
    pub username: String,
    /// The secret.
    #[field(auto)]
    pub secret: Option<String>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
}
