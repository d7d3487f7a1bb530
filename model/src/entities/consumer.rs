//! A user of services (kong/db/schema/entities/consumers.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Set, null_default};

/// A user of services.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "consumers",
    endpoint_key = "username",
    workspaceable,
    at_least_one_of("custom_id", "username")
)]
#[serde(default)]
pub struct Consumer {
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
    /// A unique name.
    #[field(unique)]
    pub username: Option<String>,
    /// The id that the user has elsewhere.
    #[field(unique)]
    pub custom_id: Option<String>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
}
