//! `/proxy-cache`: what the plugin keeps (`kong/plugins/proxy-cache/api.lua`). What is dropped on
//! this node is dropped on all that share its database.

use http::StatusCode;
use serde_json::Value;
use silverback_model::Record;
use silverback_store::Key;

use crate::{
    Answer, Refusal,
    call::{Call, Outcome},
};

/// Drops everything.
pub(super) async fn flush(call: &Call<'_>) -> Outcome {
    silverback_plugins::flush_cache(None);
    for plugin in one_of_each_memory(call) {
        tell(call, &plugin, "nil").await;
    }
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// An answer that is kept.
pub(super) async fn show(call: &Call<'_>) -> Outcome {
    let (memory, key) = place(call).await?;
    let found = silverback_plugins::cached(memory.as_deref(), key);
    Ok(found.map_or_else(Answer::not_found, Answer::ok))
}

/// Drops an answer. Other nodes may have it where this one has not.
pub(super) async fn purge(call: &Call<'_>) -> Outcome {
    let (memory, key) = place(call).await?;
    let purged = silverback_plugins::purge_cached(memory.as_deref(), key);
    for plugin in one_of_each_memory(call) {
        if memory.as_deref().is_none_or(|memory| Some(memory) == name_of(&plugin)) {
            tell(call, &plugin, key).await;
        }
    }
    Ok(if purged { Answer::empty(StatusCode::NO_CONTENT) } else { Answer::not_found() })
}

/// The memory of the plugin that the path names, or any, and the key.
async fn place<'a>(call: &'a Call<'_>) -> Result<(Option<String>, &'a str), Refusal> {
    let [plugin, key] = call.parameters else { return Ok((None, call.parameter(0))) };
    let plugin = call.service.store.select("plugins", Key::Id(plugin)).await?;
    let name = plugin.as_deref().and_then(name_of).ok_or_else(Answer::not_found)?;
    Ok((Some(name.to_owned()), key))
}

/// The name of the memory of a plugin.
fn name_of(plugin: &Record) -> Option<&str> {
    plugin.get("config")?.get("memory")?.get("dictionary_name").and_then(Value::as_str)
}

/// A configured plugin for each memory: others are told of a memory by the id of its plugin.
fn one_of_each_memory(call: &Call<'_>) -> Vec<std::sync::Arc<Record>> {
    let entities = call.service.store.entities();
    let all = entities.of("plugins").iter();
    let own = all.filter(|plugin| plugin.get("name").is_some_and(|name| name == "proxy-cache"));
    let mut each: Vec<std::sync::Arc<Record>> = Vec::new();
    for plugin in own {
        if !each.iter().any(|known| name_of(known) == name_of(plugin)) {
            each.push(std::sync::Arc::clone(plugin));
        }
    }
    each
}

/// Tells the other nodes. As in Kong the answer is the same where they can't be told.
async fn tell(call: &Call<'_>, plugin: &Record, key: &str) {
    let id = plugin.get("id").and_then(Value::as_str).unwrap_or_default();
    if let Err(fault) = call.service.store.tell_purge(&format!("{id}:{key}")).await {
        let text = format!("other nodes could not be told what proxy-cache drops: {fault}");
        silverback_pdk::log(silverback_pdk::LogLevel::Err, "proxy-cache", &text);
    }
}
