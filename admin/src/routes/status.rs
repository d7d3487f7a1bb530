//! `/status` (`kong/api/routes/health.lua`).

use http::StatusCode;
use serde_json::{Value, json};

use crate::{Answer, Request, Service};

/// How the node is: connections, memory, plugin servers, and which configuration it serves.
pub(super) fn status(service: &Service, request: &Request, _: &[String]) -> Answer {
    if let Some(refusal) = bad_unit(request) {
        return Answer::message(StatusCode::BAD_REQUEST, &refusal);
    }
    let mut status = (service.facts.status)();
    status.insert("configuration_hash".into(), json!(service.store.hash()));
    Answer::ok(Value::Object(status))
}

/// What is wrong with `unit` and `scale` (`kong/tools/string.lua`: bytes_to_str).
fn bad_unit(request: &Request) -> Option<String> {
    if let Some(unit) = request.argument("unit")
        && !["b", "k", "m", "g"].contains(&unit.to_lowercase().as_str())
    {
        return Some(format!("invalid unit '{unit}' (expected 'k/K', 'm/M', or 'g/G')"));
    }
    let scale: f64 = request.argument("scale")?.parse().ok()?;
    (scale < 0.0).then(|| "scale must be equal or greater than 0".to_owned())
}
