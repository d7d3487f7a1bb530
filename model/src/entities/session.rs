//! What the session plugin keeps (kong/plugins/session/daos.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Foreign, null_default};

/// A session kept by the gateway.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "sessions",
    endpoint_key = "session_id",
    cache_key("session_id"),
    ttl,
    db_export = false
)]
#[serde(default)]
pub struct Session {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// The id that the cookie holds.
    #[field(unique)]
    pub session_id: String,
    /// When it expires, in seconds since 1970.
    pub expires: Option<i64>,
    /// The session's contents.
    pub data: Option<String>,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
}

/// Who a session belongs to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "session_metadatas", generate_admin_api = false, db_export = false)]
#[serde(default)]
pub struct SessionMetadata {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// The session.
    #[field(on_delete = "cascade")]
    pub session: Foreign<Session>,
    /// The id that the cookie holds.
    pub sid: Option<String>,
    /// The audience of the session.
    pub audience: Option<String>,
    /// The subject of the session.
    pub subject: Option<String>,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
}
