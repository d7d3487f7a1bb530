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

/// The vault of environment variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Config)]
#[serde(default)]
pub struct EnvVault {
    /// What the names of variables begin with.
    #[field(match = "^[%a_-][%a%d_-]*$")]
    pub prefix: Option<String>,
}

/// A vault of files, as container platforms mount secrets. Kong has none of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Config)]
#[serde(default)]
pub struct FileVault {
    /// Where the files are: a path below `vault_file_directory` of kong.conf; without it, there.
    #[field(len_min = 1)]
    pub directory: Option<String>,
    /// What the names of files begin with.
    #[field(match = "^[%w._-]+$")]
    pub prefix: Option<String>,
    /// For how many seconds a secret is not read again; 0 for ever.
    #[field(default = 60, between(0, 100_000_000))]
    pub ttl: u32,
    /// After how many seconds a file that can't be read is looked for again.
    #[field(default = 5, between(0, 100_000_000))]
    pub neg_ttl: u32,
    /// For how many seconds after its `ttl` a secret serves on whose file can't be read any more;
    /// without it, until the file is there again.
    #[field(between(0, 100_000_000))]
    pub resurrect_ttl: Option<u32>,
    /// Whether files hold base64, which is decoded.
    #[field(default = false)]
    pub base64_decode: bool,
}

impl FileVault {
    /// The default of `ttl`, in seconds.
    pub const TTL: u32 = 60;
    /// The default of `neg_ttl`, in seconds.
    pub const NEG_TTL: u32 = 5;
}

impl Default for FileVault {
    fn default() -> FileVault {
        FileVault {
            directory: None,
            prefix: None,
            ttl: FileVault::TTL,
            neg_ttl: FileVault::NEG_TTL,
            resurrect_ttl: None,
            base64_decode: false,
        }
    }
}

fn rules(mut schema: Schema) -> Schema {
    // A vault's subschema has the shape of a plugin's.
    schema.add_subschema("env", Schema::plugin("env", EnvVault::field()));
    schema.add_subschema("file", Schema::plugin("file", FileVault::field()));
    schema
}
