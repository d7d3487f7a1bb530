//! A group of servers to choose from (kong/db/schema/entities/upstreams.lua).

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;
use silverback_macros::{Config, Entity};
use uuid::Uuid;

use crate::Record;
use crate::entities::{Certificate, Foreign, Set, null_default};
use crate::schema::{Field, Schema, Shorthand};

/// A group of servers to choose from.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "upstreams", endpoint_key = "name", workspaceable, with = rules)]
#[serde(default)]
pub struct Upstream {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// The unique host name by which services mean it.
    #[field(unique, custom = crate::schema::values::upstream_name)]
    pub name: String,
    /// When it was updated, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub updated_at: i64,
    /// `round-robin`, `consistent-hashing`, `least-connections` or `latency`.
    #[field(
        default = "round-robin",
        one_of("consistent-hashing", "least-connections", "round-robin", "latency")
    )]
    pub algorithm: Option<String>,
    /// What consistent hashing takes of a request.
    #[field(typedef = hash_on)]
    pub hash_on: Option<String>,
    /// What it takes when the first is absent.
    #[field(typedef = hash_on)]
    pub hash_fallback: Option<String>,
    /// The header for `hash_on = header`.
    #[field(typedef = header_name)]
    pub hash_on_header: Option<String>,
    /// The header for `hash_fallback = header`.
    #[field(typedef = header_name)]
    pub hash_fallback_header: Option<String>,
    /// The cookie for `cookie`; it is set when missing.
    #[field(typedef = cookie_name)]
    pub hash_on_cookie: Option<String>,
    /// The Path attribute of that cookie.
    #[field(typedef = path, default = "/")]
    pub hash_on_cookie_path: Option<String>,
    /// The argument for `hash_on = query_arg`.
    #[field(len_min = 1)]
    pub hash_on_query_arg: Option<String>,
    /// The argument for `hash_fallback = query_arg`.
    #[field(len_min = 1)]
    pub hash_fallback_query_arg: Option<String>,
    /// The named group of the route's regex for `hash_on = uri_capture`.
    #[field(len_min = 1)]
    pub hash_on_uri_capture: Option<String>,
    /// The named group of the route's regex for `hash_fallback = uri_capture`.
    #[field(len_min = 1)]
    pub hash_fallback_uri_capture: Option<String>,
    /// Places on the wheel that targets share.
    #[field(default = 10000, between(10, 65536))]
    pub slots: Option<u32>,
    /// How targets are found to be ill or well.
    #[field(default_of_fields)]
    pub healthchecks: Healthchecks,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
    /// The Host sent to targets.
    #[field(typedef = host_with_optional_port)]
    pub host_header: Option<String>,
    /// The certificate shown to targets that ask for one.
    pub client_certificate: Option<Foreign<Certificate>>,
    /// Whether the names of SRV records are used as host.
    #[field(default = false)]
    pub use_srv_name: Option<bool>,
}

/// How targets are found to be ill or well.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Config)]
#[serde(default)]
pub struct Healthchecks {
    /// By asking them.
    #[field(default_of_fields)]
    pub active: ActiveChecks,
    /// By watching traffic.
    #[field(default_of_fields)]
    pub passive: PassiveChecks,
    /// The share of healthy weight, in percent, below which the upstream counts as down.
    #[field(default = 0, between(0, 100))]
    pub threshold: Option<f64>,
}

/// Checks made by asking targets.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Config)]
#[serde(default)]
pub struct ActiveChecks {
    /// Seconds to wait for an answer.
    #[field(default = 1, between(0, 65535))]
    pub timeout: Option<f64>,
    /// The path asked for.
    #[field(typedef = path, default = "/")]
    pub http_path: Option<String>,
    /// The server name sent with TLS.
    #[field(typedef = sni, required = false)]
    pub https_sni: Option<String>,
    /// How many targets are asked at once.
    #[field(default = 10, between(1, 2147483648_u32))]
    pub concurrency: Option<u32>,
    /// When a target is well.
    #[field(default_of_fields)]
    pub healthy: ActiveHealthy,
    /// When a target is ill.
    #[field(default_of_fields)]
    pub unhealthy: ActiveUnhealthy,
    /// Headers sent.
    #[field(typedef = headers, required = false)]
    #[serde(deserialize_with = "null_default")]
    pub headers: IndexMap<String, Vec<String>>,
    /// How a target is asked: `tcp`, `http`, `https`, `grpc` or `grpcs`.
    #[field(default = "http", one_of("tcp", "http", "https", "grpc", "grpcs"))]
    pub r#type: Option<String>,
    /// Whether the target's certificate is verified.
    #[field(default = true)]
    pub https_verify_certificate: bool,
}

/// When an asked target is well.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Config)]
#[serde(default)]
pub struct ActiveHealthy {
    /// How many successes in a row.
    #[field(default = 0, between(0, 255))]
    pub successes: Option<u8>,
    /// Statuses that are successes.
    #[field(nullable, default = [200, 302], elements(between(100, 999)))]
    #[serde(deserialize_with = "null_default")]
    pub http_statuses: Vec<u16>,
    /// Seconds between questions; 0 asks never.
    #[field(default = 0, between(0, 65535))]
    pub interval: Option<f64>,
}

/// When an asked target is ill. A count of 0 switches its rule off.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Config)]
#[serde(default)]
pub struct ActiveUnhealthy {
    /// How many failed connections.
    #[field(default = 0, between(0, 255))]
    pub tcp_failures: Option<u8>,
    /// How many timeouts.
    #[field(default = 0, between(0, 255))]
    pub timeouts: Option<u8>,
    /// Statuses that are failures.
    #[field(
        nullable,
        default = [429, 404, 500, 501, 502, 503, 504, 505],
        elements(between(100, 999))
    )]
    #[serde(deserialize_with = "null_default")]
    pub http_statuses: Vec<u16>,
    /// Seconds between questions; 0 asks never.
    #[field(default = 0, between(0, 65535))]
    pub interval: Option<f64>,
    /// How many failures by status.
    #[field(default = 0, between(0, 255))]
    pub http_failures: Option<u8>,
}

/// Checks made by watching traffic.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Config)]
#[serde(default)]
pub struct PassiveChecks {
    /// When a target is well.
    #[field(default_of_fields)]
    pub healthy: PassiveHealthy,
    /// What traffic is watched: `tcp`, `http`, `https`, `grpc` or `grpcs`.
    #[field(default = "http", one_of("tcp", "http", "https", "grpc", "grpcs"))]
    pub r#type: Option<String>,
    /// When a target is ill.
    #[field(default_of_fields)]
    pub unhealthy: PassiveUnhealthy,
}

/// When a watched target is well.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Config)]
#[serde(default)]
pub struct PassiveHealthy {
    /// Statuses that are successes.
    #[field(
        nullable,
        default = [
            200, 201, 202, 203, 204, 205, 206, 207, 208, 226,
            300, 301, 302, 303, 304, 305, 306, 307, 308
        ],
        elements(between(100, 999))
    )]
    #[serde(deserialize_with = "null_default")]
    pub http_statuses: Vec<u16>,
    /// How many successes.
    #[field(default = 0, between(0, 255))]
    pub successes: Option<u8>,
}

/// When a watched target is ill. A count of 0 switches its rule off.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Config)]
#[serde(default)]
pub struct PassiveUnhealthy {
    /// How many failed connections.
    #[field(default = 0, between(0, 255))]
    pub tcp_failures: Option<u8>,
    /// How many timeouts.
    #[field(default = 0, between(0, 255))]
    pub timeouts: Option<u8>,
    /// Statuses that are failures.
    #[field(nullable, default = [429, 500, 503], elements(between(100, 999)))]
    #[serde(deserialize_with = "null_default")]
    pub http_statuses: Vec<u16>,
    /// How many failures by status.
    #[field(default = 0, between(0, 255))]
    pub http_failures: Option<u8>,
}

/// What else upstreams.lua asks, and how `algorithm` and `hash_on` follow each other.
fn rules(mut schema: Schema) -> Schema {
    // The schema's own default leaves the threshold to the field's.
    let default = schema.fields.get_mut("healthchecks").and_then(|field| field.default.as_mut());
    if let Some(Value::Object(default)) = default {
        default.shift_remove("threshold");
    }
    let hash = |field: &'static str, by: &str, needed: &str| {
        let pattern = format!("^{by}$");
        (field, Field::partial().matches(&pattern), needed.to_owned(), Field::partial().required())
    };
    let fallback = |by: &str, allowed: &[&str]| {
        let pattern = format!("^{by}$");
        let allowed = Field::partial().one_of(allowed.iter().copied());
        ("hash_on", Field::partial().matches(&pattern), "hash_fallback".to_owned(), allowed)
    };
    let first = [
        hash("hash_on", "header", "hash_on_header"),
        hash("hash_fallback", "header", "hash_fallback_header"),
        hash("hash_on", "cookie", "hash_on_cookie"),
        hash("hash_fallback", "cookie", "hash_on_cookie"),
        fallback("none", &["none"]),
        fallback("cookie", &["none"]),
        fallback(
            "consumer",
            &["none", "ip", "header", "cookie", "path", "query_arg", "uri_capture"],
        ),
        fallback(
            "ip",
            &["none", "consumer", "header", "cookie", "path", "query_arg", "uri_capture"],
        ),
        fallback(
            "path",
            &["none", "consumer", "header", "cookie", "query_arg", "ip", "uri_capture"],
        ),
    ];
    let add = |schema: Schema, (field, matches, needed, then): (&str, Field, String, Field)| {
        schema.conditional(field, matches, &needed, then)
    };
    schema = first.into_iter().fold(schema, add);
    schema = schema.distinct(["hash_on_header", "hash_fallback_header"]);
    for by in ["query_arg", "uri_capture"] {
        let (on, fallback) = (format!("hash_on_{by}"), format!("hash_fallback_{by}"));
        schema = add(schema, hash("hash_on", by, &on));
        schema = add(schema, hash("hash_fallback", by, &fallback));
        schema = schema.distinct([on.as_str(), fallback.as_str()]);
    }
    schema
        .shorthand("algorithm", Shorthand::new(Field::string(), spread_algorithm))
        .shorthand("hash_on", Shorthand::new(Field::string(), spread_hash_on))
}

/// Some algorithms do not hash.
fn spread_algorithm(value: &Value) -> Option<Record> {
    let mut fields = Record::from_iter([("algorithm".to_owned(), value.clone())]);
    if value == "least-connections" || value == "latency" {
        fields.insert("hash_on".to_owned(), Value::Null);
    }
    Some(fields)
}

/// Hashing by something needs the algorithm that hashes.
fn spread_hash_on(value: &Value) -> Option<Record> {
    let algorithm = match value {
        Value::Null => return Some(Record::from_iter([("hash_on".to_owned(), "none".into())])),
        value if value == "none" => "round-robin",
        _ => "consistent-hashing",
    };
    Some(Record::from_iter([
        ("hash_on".to_owned(), value.clone()),
        ("algorithm".to_owned(), algorithm.into()),
    ]))
}
