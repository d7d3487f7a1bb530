//! A chain of WebAssembly filters (kong/db/schema/entities/filter_chains.lua).

use serde::Deserialize;
use serde_json::Value;
use silverback_macros::{Config, Entity};
use uuid::Uuid;

use crate::entities::{Foreign, Route, Service, Set, null_default};
use crate::schema::{CustomCheck, Schema};

/// A chain of WebAssembly filters.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "filter_chains",
    endpoint_key = "name",
    workspaceable,
    admin_api_name = "filter-chains",
    cache_key("route", "service"),
    with = rules
)]
#[serde(default)]
pub struct FilterChain {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// A unique name.
    #[field(typedef = utf8_name)]
    pub name: Option<String>,
    /// Whether it runs.
    #[field(default = true)]
    pub enabled: bool,
    /// Runs for this route only.
    #[field(default = null, on_delete = "cascade", unique)]
    pub route: Option<Foreign<Route>>,
    /// Runs for this service only.
    #[field(default = null, on_delete = "cascade", unique)]
    pub service: Option<Foreign<Service>>,
    /// The filters, in order.
    #[field(len_min = 1)]
    pub filters: Vec<Filter>,
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

/// One filter of a chain.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Config)]
#[serde(default)]
pub struct Filter {
    /// Which filter. None is installed.
    #[field(one_of(), err = "no such filter")]
    pub name: String,
    /// Whether it runs.
    #[field(default = true)]
    pub enabled: bool,
    /// The filter's configuration.
    #[field(typedef = wasm_filter_config, required = false)]
    pub config: Option<Value>,
}

/// What else filter_chains.lua asks: a service or a route, and filters to choose from, of which
/// there are none.
fn rules(schema: Schema) -> Schema {
    let mut status =
        CustomCheck::new(&["filters"], |_| Err("wasm support is not enabled".to_owned()));
    status.run_with_invalid_fields = Some(true);
    schema
        .mutually_exclusive(["service", "route"])
        .at_least_one_of(["service", "route"])
        .check(status.into())
}
