//! A server of an upstream (kong/db/schema/entities/targets.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Foreign, Set, Upstream, null_default};

/// A server of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "targets", endpoint_key = "target", workspaceable, cache_key("upstream", "target"))]
#[serde(default)]
pub struct Target {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// When it was created, in seconds since 1970, with milliseconds.
    #[field(typedef = auto_timestamp_ms)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: f64,
    /// When it was updated, in seconds since 1970, with milliseconds.
    #[field(typedef = auto_timestamp_ms)]
    #[serde(deserialize_with = "null_default")]
    pub updated_at: f64,
    /// The upstream it belongs to.
    #[field(on_delete = "cascade")]
    pub upstream: Foreign<Upstream>,
    /// A host name or an address, with a port or 8000.
    #[field(custom = crate::schema::values::target)]
    pub target: String,
    /// Its share of requests; 0 takes it out.
    #[field(default = 100, between(0, 65535))]
    pub weight: Option<u16>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
}
