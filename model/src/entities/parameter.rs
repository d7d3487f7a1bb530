//! A value the cluster shares, such as its id (kong/db/schema/entities/parameters.lua).

use serde::Deserialize;
use silverback_macros::Entity;

use crate::entities::null_default;

/// A value the cluster shares, such as its id.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "parameters", primary_key("key"), cache_key("key"), generate_admin_api = false)]
#[serde(default)]
pub struct Parameter {
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// Its name.
    #[field(unique)]
    pub key: String,
    /// Its value.
    pub value: String,
}
