//! A plugin put to use (kong/db/schema/entities/plugins.lua).

use serde::Deserialize;
use serde_json::{Map, Value};
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Consumer, Foreign, Protocol, Route, Service, Set, null_default};

/// A plugin put to use.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "plugins",
    endpoint_key = "instance_name",
    workspaceable,
    cache_key("name", "route", "service", "consumer"),
    subschema_key = "name",
    subschema_error = "plugin '%s' not enabled; add it to the 'plugins' configuration property"
)]
#[serde(default)]
pub struct PluginEntity {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// Which plugin.
    pub name: String,
    /// A unique name of this use of it.
    #[field(typedef = utf8_name)]
    pub instance_name: Option<String>,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// When it was updated, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub updated_at: i64,
    /// Runs for this route only.
    #[field(default = null, on_delete = "cascade")]
    pub route: Option<Foreign<Route>>,
    /// Runs for this service only.
    #[field(default = null, on_delete = "cascade")]
    pub service: Option<Foreign<Service>>,
    /// Runs for this consumer only.
    #[field(default = null, on_delete = "cascade")]
    pub consumer: Option<Foreign<Consumer>>,
    /// The plugin's own configuration.
    #[field(typedef = abstract_record, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub config: Map<String, Value>,
    /// The protocols it runs on.
    #[field(typedef = protocols)]
    pub protocols: Set<Protocol>,
    /// Whether it runs.
    #[field(default = true)]
    pub enabled: bool,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
}
