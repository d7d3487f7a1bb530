//! A data plane that a control plane has seen (kong/db/schema/entities/clustering_data_planes.lua).

use indexmap::IndexMap;
use serde::Deserialize;
use silverback_macros::{Config, Entity};
use uuid::Uuid;

use crate::entities::{Set, null_default};

/// A data plane that a control plane has seen.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "clustering_data_planes",
    admin_api_name = "clustering/data-planes",
    generate_admin_api = false,
    db_export = false,
    ttl
)]
#[serde(default)]
pub struct DataPlane {
    /// The node's id.
    #[field(typedef = uuid, required)]
    pub id: Uuid,
    /// When it was last seen, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub last_seen: i64,
    /// When it was updated, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub updated_at: i64,
    /// Its address.
    #[field(typedef = ip)]
    pub ip: String,
    /// Which configuration it has.
    #[field(len_eq = 32)]
    pub config_hash: Option<String>,
    /// Its host name.
    #[field(typedef = host)]
    pub hostname: String,
    /// Its version.
    #[field(typedef = semantic_version)]
    pub version: Option<String>,
    /// Whether it takes the configuration, and why not.
    #[field(
        default = "unknown",
        one_of(
            "unknown",
            "normal",
            "kong_version_incompatible",
            "plugin_set_incompatible",
            "plugin_version_incompatible",
            "filter_set_incompatible"
        )
    )]
    pub sync_status: String,
    /// Labels given in its configuration.
    #[field(nullable)]
    #[serde(deserialize_with = "null_default")]
    pub labels: IndexMap<String, String>,
    /// Of its certificate.
    #[serde(deserialize_with = "null_default")]
    pub cert_details: CertDetails,
    /// The remote procedures it offers.
    #[field(nullable)]
    #[serde(deserialize_with = "null_default")]
    pub rpc_capabilities: Set<String>,
}

/// What is known of a data plane's certificate.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Config)]
#[serde(default)]
pub struct CertDetails {
    /// When it expires, in seconds since 1970.
    #[field(required = false, timestamp)]
    pub expiry_timestamp: Option<f64>,
}
