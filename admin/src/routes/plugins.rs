//! `/plugins/enabled` and the old `/plugins/schema/{name}` (`kong/api/routes/plugins.lua`).

use http::StatusCode;
use serde_json::json;

use crate::{Answer, Request, Service};

/// The names of the enabled plugins.
pub(super) fn enabled(service: &Service, _: &Request, _: &[String]) -> Answer {
    let mut names: Vec<&str> =
        service.registry.in_order().into_iter().map(|p| p.name.as_str()).collect();
    names.sort_unstable();
    Answer::ok(json!({ "enabled_plugins": names }))
}

/// The schema of a plugin's `config` alone.
pub(super) fn schema(service: &Service, _: &Request, parameters: &[String]) -> Answer {
    let name = &parameters[0];
    match service.registry.get(name) {
        Some(plugin) => Answer::ok(plugin.schema.to_json()),
        None => {
            let text = format!("No plugin named '{name}'");
            Answer::message(StatusCode::NOT_FOUND, &text)
        }
    }
}
