//! Plugins that send what `kong.log.serialize` tells of a request to somewhere else.

mod file_log;
mod http_log;
mod line;
mod syslog;
mod tcp_log;
mod udp_log;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde_json::Value as Json;
use silverback_pdk::{
    Configuration, Exchange, Expression, Flow, LogLevel, Plugin, PluginFault, SerializeMode, kong,
};

use crate::{
    queue::{Queue, QueueSettings, Sink},
    tls::Trust,
};

/// Those of the list of bundled plugins: file-log, http-log, syslog, tcp-log and udp-log.
pub(crate) fn plugins(trust: &Trust) -> [Plugin; 5] {
    [
        file_log::plugin(),
        http_log::plugin(trust),
        syslog::plugin(),
        tcp_log::plugin(trust),
        udp_log::plugin(),
    ]
}

/// Fields that expressions of Lua make.
type CustomFields = Option<BTreeMap<String, String>>;

/// Whether a field's expression is Lua that may run (kong/db/schema/typedefs.lua, `lua_code`).
fn check_code(code: &str) -> Result<(), String> {
    match silverback_pdk::compile_expression(code) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("Error parsing function: {error}")),
    }
}

/// What all of them do in the log phase.
struct Logger {
    plugin: &'static str,
    fields: Vec<(String, Box<dyn Expression>)>,
    queue: Queue,
}

impl Logger {
    fn new(
        plugin: &'static str,
        configuration: &Configuration<'_>,
        fields: &CustomFields,
        queue: QueueSettings,
        sink: impl Sink,
    ) -> Result<Logger, PluginFault> {
        let compile = |(name, code): (&String, &String)| {
            let compiled = silverback_pdk::compile_expression(code)
                .map_err(|error| PluginFault(format!("custom_fields_by_lua: {name}: {error}")))?;
            Ok((name.clone(), compiled))
        };
        let fields = fields.iter().flatten().map(compile).collect::<Result<_, PluginFault>>()?;
        let id = configuration.entity.get("id").and_then(Json::as_str).unwrap_or_default();
        let name = format!("of {plugin} {id}");
        Ok(Logger { plugin, fields, queue: Queue::new(name, queue, sink) })
    }

    /// Hands the document over.
    fn log(&self, exchange: &mut Exchange) -> Flow {
        if let Some(document) = self.document(exchange) {
            self.queue.push(Bytes::from(document));
        }
        Flow::Next
    }

    /// The document as JSON. A field whose expression fails is left out.
    fn document(&self, exchange: &mut Exchange) -> Option<Vec<u8>> {
        for (name, expression) in &self.fields {
            match expression.evaluate(exchange) {
                Ok(value) => exchange.serialize.push((name.clone(), value, SerializeMode::Set)),
                Err(error) => self.complain(&format!("custom field '{name}': {error}")),
            }
        }
        kong::serialize_text(exchange).inspect_err(|error| self.complain(error)).ok()
    }

    fn complain(&self, text: &str) {
        silverback_pdk::log(LogLevel::Err, self.plugin, text);
    }
}

/// Entries, a line each.
fn lines(batch: &[Bytes]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(batch.iter().map(|entry| entry.len() + 1).sum());
    for entry in batch {
        lines.extend_from_slice(entry);
        lines.push(b'\n');
    }
    lines
}

/// Milliseconds, or those of the default.
fn millis(given: Option<f64>, default: f64) -> Duration {
    Duration::try_from_secs_f64(given.unwrap_or(default) / 1_000.0).unwrap_or_default()
}
