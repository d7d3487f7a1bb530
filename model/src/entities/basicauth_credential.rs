//! A name and password of a consumer (kong/plugins/basic-auth/daos.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Consumer, Foreign, Set, null_default};

/// A name and password of a consumer (kong/plugins/basic-auth/daos.lua).
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "basicauth_credentials", endpoint_key = "username", workspaceable, cache_key("username"), admin_api_name = "basic-auths", admin_api_nested_name = "basic-auth", with = rules)]
#[serde(default)]
pub struct BasicauthCredential {
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
    /// SHA-1 of the password followed by the consumer's id, in hexadecimal.
    #[field(encrypted)]
    pub password: String,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
}
