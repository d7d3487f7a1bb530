//! A group that a consumer is in (kong/plugins/acl/daos.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Consumer, Foreign, Set, null_default};

/// A group that a consumer is in.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "acls", workspaceable, cache_key("consumer", "group"))]
#[serde(default)]
pub struct Acl {
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
    /// The group's name.
    pub group: String,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
}
