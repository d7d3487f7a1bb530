//! Instances: one per configured plugin and server for the whole process.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use serde_json::{Value as Json, json};
use silverback_pdk::Record;
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    connection::{Connection, Fault},
    event,
    server::{Generation, Server},
};

/// A configured plugin on its server. Its handlers share it; when the last of them is gone, the
/// server is told to close it.
pub(crate) struct Instance {
    pub(crate) server: Arc<Server>,
    pub(crate) plugin: String,
    /// The configuration as JSON, without the closing brace: a number follows at each start.
    config: String,
    started: ArcSwapOption<Started>,
    starting: AsyncMutex<()>,
    /// Starts that failed, and what the last one came to.
    failures: AtomicU64,
    failure: Mutex<String>,
}

/// An instance as a run of the server knows it.
struct Started {
    generation: Arc<Generation>,
    id: i64,
}

/// Which instance an event goes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) id: i64,
    /// It was started for this very event.
    pub(crate) fresh: bool,
}

impl Instance {
    pub(crate) fn new(server: Arc<Server>, plugin: String, config: String) -> Instance {
        Instance {
            server,
            plugin,
            config,
            started: ArcSwapOption::empty(),
            starting: AsyncMutex::new(()),
            failures: AtomicU64::new(0),
            failure: Mutex::default(),
        }
    }

    /// Its id on the server that the connection goes to; it is started there if need be. However
    /// many events wait for that, it is started once, and they share a failure.
    pub(crate) async fn known(&self, connection: &mut Connection) -> Result<Known, Fault> {
        if let Some(id) = self.id_for(connection) {
            return Ok(Known { id, fresh: false });
        }
        let seen = self.failures.load(Ordering::Acquire);
        let _starting = self.starting.lock().await;
        if let Some(id) = self.id_for(connection) {
            return Ok(Known { id, fresh: false });
        }
        // The process has been replaced since the connection was taken: go to the new one.
        if self.server.generation() != Some(connection.generation.number) {
            return Err(Fault::Unsent);
        }
        if self.failures.load(Ordering::Acquire) != seen {
            let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            return Err(Fault::Server(failure.clone()));
        }
        let config = format!("{},\"__seq__\":{}}}", self.config, self.server.next_sequence());
        let start = event::start_instance(&self.server, connection, &self.plugin, &config);
        match start.await {
            Ok(id) => {
                let generation = Arc::clone(&connection.generation);
                self.started.store(Some(Arc::new(Started { generation, id })));
                Ok(Known { id, fresh: true })
            }
            // The server may be dying: each event tries for itself.
            Err(fault @ (Fault::Closed | Fault::Unsent)) => Err(fault),
            Err(fault) => {
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = fault.to_string();
                self.failures.fetch_add(1, Ordering::Release);
                Err(fault)
            }
        }
    }

    fn id_for(&self, connection: &Connection) -> Option<i64> {
        let started = self.started.load();
        let started = started.as_ref()?;
        (started.generation.number == connection.generation.number).then_some(started.id)
    }

    /// Takes note that the server no longer knows that id.
    pub(crate) fn forget(&self, id: i64) {
        let started = self.started.load();
        if started.as_ref().is_some_and(|started| started.id == id) {
            // If another worker has just started it anew, that one stays.
            self.started.compare_and_swap(&started, None);
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(started) = self.started.swap(None) {
            self.server.close_later(Arc::clone(&started.generation), started.id);
        }
    }
}

/// The configuration that a server gets: the plugin's own, without what is null, and beside it
/// what Kong adds. The closing brace is left off for what is added at each start.
pub(crate) fn configuration(entity: &Record) -> String {
    let mut config = match entity.get("config") {
        Some(Json::Object(config)) => without_nulls(config),
        _ => Record::new(),
    };
    let id = |key: &str| entity.get(key).and_then(|e| e.get("id")).and_then(Json::as_str);
    let text = |key: &str| entity.get(key).and_then(Json::as_str);
    let part = |value: Option<&str>| value.unwrap_or_default().to_owned();
    // As Kong makes it (kong/db/dao/init.lua, cache_key): only told apart, never taken apart.
    let key = [
        "plugins".to_owned(),
        part(text("name")),
        part(id("route")),
        part(id("service")),
        part(id("consumer")),
        part(id("consumer_group")),
        part(text("ws_id")),
    ];
    config.insert("__key__".to_owned(), json!(key.join(":")));
    for (name, value) in [
        ("__plugin_id", text("id")),
        ("__ws_id", text("ws_id")),
        ("route_id", id("route")),
        ("service_id", id("service")),
        ("consumer_id", id("consumer")),
    ] {
        if let Some(value) = value {
            config.insert(name.to_owned(), json!(value));
        }
    }
    let mut text = Json::Object(config).to_string();
    text.pop();
    text
}

fn without_nulls(record: &Record) -> Record {
    let kept = record.iter().filter(|(_, value)| !value.is_null());
    let clean = |(key, value): (&String, &Json)| {
        let value = match value {
            Json::Object(inner) => Json::Object(without_nulls(inner)),
            other => other.clone(),
        };
        (key.clone(), value)
    };
    kept.map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_gets_the_configuration_and_where_it_belongs() {
        let entity = json!({
            "id": "p", "name": "n", "ws_id": "w", "route": {"id": "r"}, "service": null,
            "config": {"a": 1, "b": null, "c": {"d": null}},
        });
        let Json::Object(entity) = entity else { unreachable!() };
        let text = configuration(&entity) + "}";
        let expect = json!({
            "a": 1, "c": {}, "__key__": "plugins:n:r::::w", "__plugin_id": "p", "__ws_id": "w",
            "route_id": "r",
        });
        assert_eq!(serde_json::from_str::<Json>(&text).expect("json"), expect);
    }
}
