//! A name space of entities, of which there is one (kong/db/schema/entities/workspaces.lua).

use serde::Deserialize;
use serde_json::{Map, Value};
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::null_default;

/// A name space of entities, of which there is one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "workspaces", endpoint_key = "name", cache_key("name"), generate_admin_api = false)]
#[serde(default)]
pub struct Workspace {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// A unique name.
    #[field(
        typedef = utf8_name,
        not_one_of(
            "workspaces", "consumers", "certificates", "services", "routes", "snis", "upstreams",
            "targets", "plugins", "tags", "ca_certificates", "clustering_data_planes",
            "parameters", "vaults", "key_sets", "keys", "filter_chains"
        )
    )]
    pub name: String,
    /// What it is for.
    pub comment: Option<String>,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// When it was updated, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub updated_at: i64,
    /// Kept for other tools.
    #[field(typedef = empty_record)]
    pub meta: Map<String, Value>,
    /// Kept for other tools.
    #[field(typedef = empty_record)]
    pub config: Map<String, Value>,
}
