//! `/plugins/enabled` and the old `/plugins/schema/{name}` (`kong/api/routes/plugins.lua`).

use serde_json::json;

use super::schemas;
use crate::{
    Answer,
    call::{Call, Outcome},
};

/// The names of the enabled plugins.
pub(super) fn enabled(call: &Call<'_>) -> Outcome {
    let plugins = call.service.registry.in_order().into_iter();
    let mut names: Vec<&str> = plugins.map(|plugin| plugin.name.as_str()).collect();
    names.sort_unstable();
    Ok(Answer::ok(json!({ "enabled_plugins": names })))
}

/// The schema of a plugin's `config` alone.
pub(super) fn schema(call: &Call<'_>) -> Outcome {
    let plugin = schemas::registered(call)?;
    let config = plugin.schema.fields.get("config").and_then(|field| field.as_record());
    Ok(Answer::ok(config.unwrap_or(&plugin.schema).to_json()))
}
