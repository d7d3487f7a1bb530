//! What rate-limiting and response-ratelimiting ask of their configuration beyond its fields.

use serde_json::{Value, json};
use silverback_model::{
    Record,
    schema::{Field, Schema, Shorthand},
};

use crate::limits::Period;

/// The checks and the old names of rate-limiting.
pub(super) fn rules(schema: Schema) -> Schema {
    let periods = Period::ALL.map(|period| format!("config.{}", period.name()));
    let [second, minute, hour, day, month, year] = &periods;
    let redis = || Field::partial().eq("redis");
    let required = || Field::partial().required();
    let mut schema = schema
        .at_least_one_of([second, minute, hour, day, month, year].map(String::as_str))
        .conditional("config.policy", redis(), "config.redis.host", required())
        .conditional("config.policy", redis(), "config.redis.port", required())
        .conditional("config.policy", redis(), "config.redis.timeout", required());
    for (by, field) in [("header", "config.header_name"), ("path", "config.path")] {
        let by = Field::partial().eq(by);
        schema = schema.conditional("config.limit_by", by, field, required());
    }
    with_config(schema, |config| old_names("rate-limiting", config.custom_value(check)))
}

/// Changes the `config` record.
pub(crate) fn with_config(mut schema: Schema, change: impl FnOnce(Field) -> Field) -> Schema {
    if let Some(config) = schema.fields.get_mut("config") {
        let plain = std::mem::replace(config, Field::partial());
        *config = change(plain);
    }
    schema
}

/// The fields `redis_*` of before Kong 3.8.
pub(crate) fn old_names(plugin: &str, mut config: Field) -> Field {
    let fields = [
        ("host", Field::string()),
        ("port", Field::integer()),
        ("password", Field::string().len_min(0)),
        ("username", Field::string()),
        ("ssl", Field::boolean()),
        ("ssl_verify", Field::boolean()),
        ("server_name", Field::string()),
        ("timeout", Field::integer()),
        ("database", Field::integer()),
    ];
    let Some(record) = config.as_record_mut() else { return config };
    for (name, field) in fields {
        let message = format!(
            "{plugin}: config.redis_{name} is deprecated, please use config.redis.{name} instead"
        );
        let field = field.deprecation(json!({
            "replaced_with": [{"path": ["redis", name]}],
            "message": message,
            "removal_in_version": "4.0",
        }));
        let plain = std::mem::take(record);
        *record = plain.shorthand(&format!("redis_{name}"), Shorthand::renamed(field));
    }
    config
}

/// A longer period allows no less than a shorter one; `sync_rate` goes with Redis.
fn check(config: &Value) -> Result<(), String> {
    let Some(config) = config.as_object() else { return Ok(()) };
    in_order(config, "The")?;
    let rate = config.get("sync_rate").and_then(Value::as_f64).unwrap_or(-1.0);
    #[expect(clippy::float_cmp, reason = "-1 is meant, as in Kong")]
    let real_time = rate == -1.0;
    let by_redis = config.get("policy").and_then(Value::as_str) == Some("redis");
    if !by_redis && !real_time {
        return Err("sync_rate can only be used with the redis policy".to_owned());
    }
    if by_redis && !real_time && rate < 0.02 {
        return Err("sync_rate must be greater than 0.02, or -1 to disable".to_owned());
    }
    Ok(())
}

/// A longer period allows no less than a shorter one; `the` begins the refusal.
pub(crate) fn in_order(limits: &Record, the: &str) -> Result<(), String> {
    let limit = |period: Period| limits.get(period.name()).and_then(Value::as_f64);
    for (at, lower) in Period::ALL.into_iter().enumerate() {
        for upper in Period::ALL.into_iter().skip(at + 1) {
            if let (Some(less), Some(more)) = (limit(lower), limit(upper))
                && more < less
            {
                let (upper, lower) = (upper.name(), lower.name());
                return Err(format!(
                    "{the} limit for {upper}({more:.1}) cannot be lower than the limit for \
                     {lower}({less:.1})"
                ));
            }
        }
    }
    Ok(())
}
