//! `/proxy-cache`: what the plugin keeps (`kong/plugins/proxy-cache/api.lua`).

use http::StatusCode;
use serde_json::Value;
use silverback_store::Key;

use crate::{
    Answer, Refusal,
    call::{Call, Outcome},
};

/// Drops everything.
pub(super) fn flush(_: &Call<'_>) -> Outcome {
    silverback_plugins::flush_cache();
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// An answer that is kept.
pub(super) async fn show(call: &Call<'_>) -> Outcome {
    let (memory, key) = place(call).await?;
    let found = silverback_plugins::cached(memory.as_deref(), key);
    Ok(found.map_or_else(Answer::not_found, Answer::ok))
}

/// Drops an answer.
pub(super) async fn purge(call: &Call<'_>) -> Outcome {
    let (memory, key) = place(call).await?;
    if silverback_plugins::purge_cached(memory.as_deref(), key) {
        return Ok(Answer::empty(StatusCode::NO_CONTENT));
    }
    Ok(Answer::not_found())
}

/// The memory of the plugin that the path names, or any, and the key.
async fn place<'a>(call: &'a Call<'_>) -> Result<(Option<String>, &'a str), Refusal> {
    let [plugin, key] = call.parameters else { return Ok((None, call.parameter(0))) };
    let plugin = call.service.store.select("plugins", Key::Id(plugin)).await?;
    let name = plugin.as_ref().and_then(|plugin| {
        plugin.get("config")?.get("memory")?.get("dictionary_name").and_then(Value::as_str)
    });
    let name = name.ok_or_else(Answer::not_found)?;
    Ok((Some(name.to_owned()), key))
}
