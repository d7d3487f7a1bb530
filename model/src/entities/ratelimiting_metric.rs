//! A counter of requests (kong/plugins/rate-limiting/daos.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

/// A counter of requests.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "ratelimiting_metrics",
    primary_key("identifier", "period", "period_date", "service_id", "route_id"),
    generate_admin_api = false,
    db_export = false,
    ttl
)]
#[serde(default)]
pub struct RatelimitingMetric {
    /// Who is counted.
    #[field(len_min = 0)]
    pub identifier: String,
    /// `second`, `minute`, `hour`, `day`, `month` or `year`.
    pub period: String,
    /// When the period began, in seconds since 1970.
    #[field(timestamp)]
    pub period_date: i64,
    /// The service, or a nil id.
    #[field(uuid)]
    pub service_id: Uuid,
    /// The route, or a nil id.
    #[field(uuid)]
    pub route_id: Uuid,
    /// How many.
    pub value: i64,
}
