//! A place that references are read from (kong/db/schema/entities/vaults.lua).

use serde::Deserialize;
use serde_json::{Map, Value};
use silverback_macros::{Config, Entity};
use uuid::Uuid;

use crate::entities::{Set, null_default};
use crate::schema::{FieldType, Schema};

/// A place that references are read from.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "vaults",
    endpoint_key = "prefix",
    workspaceable,
    with = rules,
    cache_key("prefix"),
    table_name = "sm_vaults",
    subschema_key = "name",
    subschema_error = "vault '%s' is not installed"
)]
#[serde(default)]
pub struct Vault {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// The host part of references to it.
    #[field(unique, unique_across_ws, match = "^[a-z][a-z%d-]-[a-z%d]+$", not_one_of("env"))]
    pub prefix: String,
    /// Which kind of vault.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The vault's own configuration.
    #[field(typedef = abstract_record, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub config: Map<String, Value>,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// When it was updated, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub updated_at: i64,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
}

/// The vault of environment variables, the only one bundled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Config)]
#[serde(default)]
pub struct EnvVault {
    /// What the names of variables begin with.
    #[field(match = "^[%a_-][%a%d_-]*$")]
    pub prefix: Option<String>,
}

fn rules(mut schema: Schema) -> Schema {
    // A vault's subschema has the shape of a plugin's.
    schema.add_subschema("env", Schema::plugin("env", EnvVault::field()));
    schema
}
