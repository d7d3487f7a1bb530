//! A set of keys (kong/db/schema/entities/key_sets.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Set, null_default};

/// A set of keys.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "key_sets", endpoint_key = "name", workspaceable, admin_api_name = "key-sets")]
#[serde(default)]
pub struct KeySet {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// A unique name.
    #[field(required = false, unique)]
    pub name: Option<String>,
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
