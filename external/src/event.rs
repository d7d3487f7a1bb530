//! Running an event: from a handler's call to the flow that comes of it.

pub(crate) mod msgpack;
pub(crate) mod protobuf;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use http::StatusCode;
use serde_json::json;
use silverback_pdk::{
    Answer, Exchange, Flow, LogLevel, Phase, Source, Value, Wait,
    kong::{Function, Outcome, Stop},
    log, logs,
};

use crate::{
    connection::{Connection, Fault, Slot},
    info::{Protocol, cut},
    instance::{Instance, Known},
    server::{Generation, Order, Server},
};

/// How long a server that is under suspicion has for taking an event.
const SUSPICION: Duration = Duration::from_secs(5);

/// How long the end of a server may go unnoticed.
const SETTLE: Duration = Duration::from_millis(50);
/// All that a closed connection tells of an instance that could not be started.
const HUNG_UP: &str = "it hung up when the instance was to be started; its log says why";

/// A handler: an instance and a phase.
pub(crate) struct Event {
    pub(crate) instance: Arc<Instance>,
    pub(crate) phase: Phase,
}

impl Wait for Event {
    fn run<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
        Box::pin(self.handle(exchange))
    }
}

/// How an event ended that was brought to its end.
pub(crate) enum End {
    /// The handler returned.
    Done,
    /// The handler answered the request. Whether the connection can be used again.
    Exit(Box<Answer>, Reuse),
    /// A call was refused: what Lua would have raised.
    Refused(String),
}

/// Whether a connection can be used for the next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    Yes,
    No,
}

/// What to do with the answer to one call.
pub(crate) enum Reply {
    /// Send it.
    Value(Value),
    /// There is none: nil, with this text where the protocol has room for it.
    Nil(String),
    /// End the event.
    End(End),
}

/// One event on its way.
pub(crate) struct Run<'a> {
    pub(crate) server: &'a Server,
    pub(crate) plugin: &'a str,
    pub(crate) phase: Phase,
    pub(crate) instance: i64,
    /// Calls that the handler has made.
    pub(crate) calls: u64,
}

/// Counts an event on a server's process for as long as it runs there.
struct Running<'a>(&'a Generation);

impl<'a> Running<'a> {
    fn begin(generation: &'a Generation) -> Running<'a> {
        generation.events.fetch_add(1, Ordering::Relaxed);
        Running(generation)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.events.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Event {
    async fn handle(&self, exchange: &mut Exchange) -> Flow {
        let server = &*self.instance.server;
        let Ok(slot) = Slot::take(server).await else { return self.busy(exchange) };
        server.counts.events.fetch_add(1, Ordering::Relaxed);
        match self.attempts(&slot, exchange).await {
            Ok(End::Done) => Flow::Next,
            Ok(End::Exit(answer, _)) => Flow::Exit(*answer),
            // The plugin is at fault, not the server: it fails even where servers may.
            Ok(End::Refused(text)) => {
                server.counts.failures.fetch_add(1, Ordering::Relaxed);
                Flow::Fail(self.describe(&text))
            }
            Err(fault) => self.failed(&fault),
        }
    }

    /// Runs it, and once more where nothing has happened yet: the server did not know the instance
    /// (it was started again, or threw the instance away), or a pooled connection was closed before
    /// the event reached it.
    async fn attempts(&self, slot: &Slot, exchange: &mut Exchange) -> Result<End, Fault> {
        let server = &*self.instance.server;
        let mut again = true;
        loop {
            let mut connection = slot.connection(server).await?;
            let generation = Arc::clone(&connection.generation);
            let _running = Running::begin(&generation);
            let known = match self.instance.known(&mut connection).await {
                // Starting an instance does nothing to the request. A server that is dying still
                // takes connections; its supervisor will know in a moment.
                Err(Fault::Unsent | Fault::Closed | Fault::Replaced) if again => {
                    again = false;
                    tokio::time::sleep(SETTLE).await;
                    continue;
                }
                Err(Fault::Closed) => return Err(Fault::Server(HUNG_UP.to_owned())),
                known => known?,
            };
            let (result, calls) = self.once(&mut connection, known, exchange).await;
            match &result {
                Ok(End::Done | End::Exit(_, Reuse::Yes)) => slot.give_back(connection),
                Ok(_) => {}
                Err(Fault::NoInstance(_)) if again && !known.fresh && calls == 0 => {
                    self.instance.forget(known.id);
                    server.has_forgotten(&generation);
                    slot.give_back(connection);
                    again = false;
                    continue;
                }
                Err(Fault::Unsent | Fault::Replaced) if again && calls == 0 => {
                    again = false;
                    continue;
                }
                // This protocol tells an unknown instance by hanging up.
                Err(Fault::Closed)
                    if server.protocol == Protocol::ProtoBuf
                        && again
                        && !known.fresh
                        && calls == 0 =>
                {
                    self.instance.forget(known.id);
                    again = false;
                    continue;
                }
                Err(Fault::Timeout(_)) if calls == 0 => {
                    server.order(Order::Suspect("an event timed out", SUSPICION));
                }
                Err(_) => {}
            }
            return result;
        }
    }

    async fn once(
        &self,
        connection: &mut Connection,
        known: Known,
        exchange: &mut Exchange,
    ) -> (Result<End, Fault>, u64) {
        let server = &*self.instance.server;
        let Known { id: instance, .. } = known;
        let (plugin, phase) = (self.instance.plugin.as_str(), self.phase);
        let mut run = Run { server, plugin, phase, instance, calls: 0 };
        let result = match server.protocol {
            Protocol::MsgPack => msgpack::run(&mut run, connection, exchange).await,
            Protocol::ProtoBuf => protobuf::run(&mut run, connection, exchange).await,
        };
        server.counts.calls.fetch_add(run.calls, Ordering::Relaxed);
        (result, run.calls)
    }

    fn describe(&self, text: &str) -> String {
        let Instance { plugin, server, .. } = &*self.instance;
        let (phase, name) = (self.phase, &server.config.name);
        format!("plugin '{plugin}' failed in {phase} (plugin server '{name}'): {text}")
    }

    /// What a fault means for the request: it is refused, unless the operator wants otherwise.
    fn failed(&self, fault: &Fault) -> Flow {
        let server = &self.instance.server;
        server.counts.failures.fetch_add(1, Ordering::Relaxed);
        if matches!(fault, Fault::Timeout(_)) {
            server.counts.timeouts.fetch_add(1, Ordering::Relaxed);
        }
        let text = self.describe(&fault.to_string());
        if !server.config.fail_open {
            return Flow::Fail(text);
        }
        log(LogLevel::Err, &self.instance.plugin, &format!("{text}; going on without it"));
        Flow::Next
    }

    fn busy(&self, exchange: &Exchange) -> Flow {
        let config = &self.instance.server.config;
        let text = self.describe(&format!("more than {} events wait for it", config.queue));
        if self.phase == Phase::Log {
            return Flow::Fail(text);
        }
        if config.fail_open {
            log(LogLevel::Err, &self.instance.plugin, &format!("{text}; going on without it"));
            return Flow::Next;
        }
        log(LogLevel::Err, &self.instance.plugin, &text);
        let body = json!({
            "message": "Service temporarily unavailable",
            "request_id": exchange.request.id.as_str(),
        });
        let mut answer = Answer::json(StatusCode::SERVICE_UNAVAILABLE, &body);
        answer.source = Source::Error;
        Flow::Exit(answer)
    }
}

impl Run<'_> {
    /// What a call comes to.
    #[inline]
    pub(crate) fn reply(&self, function: &Function, outcome: Outcome) -> Reply {
        match outcome {
            Ok(table @ (Value::Map(_) | Value::Entity(_))) => Run::table(function, table),
            Ok(value) => Reply::Value(value),
            Err(stop) => self.stopped(function, stop),
        }
    }

    /// Over the wire the log's document is text.
    #[cold]
    fn table(function: &Function, table: Value) -> Reply {
        Reply::Value(match function.name {
            "kong.log.serialize" => table.to_json().to_string().into(),
            _ => table,
        })
    }

    #[cold]
    fn stopped(&self, function: &Function, stop: Stop) -> Reply {
        match stop {
            Stop::Nil(text) => {
                if logs(LogLevel::Debug) {
                    log(LogLevel::Debug, self.plugin, &format!("{}: {text}", function.name));
                }
                Reply::Nil(text)
            }
            Stop::Raise(text) => Reply::End(End::Refused(format!("{}: {text}", function.name))),
            Stop::Exit(answer) => {
                let reuse = match self.server.protocol {
                    // The answer to the step was read whole; the handler has no way to write.
                    Protocol::MsgPack => Reuse::Yes,
                    // The handler still waits for a frame, and hangs up when it gets none.
                    Protocol::ProtoBuf => Reuse::No,
                };
                Reply::End(End::Exit(answer, reuse))
            }
        }
    }

    /// Says that there is no such function. Kong, too, answers calls of unknown ones with nil.
    #[cold]
    pub(crate) fn unknown(&self, name: &[u8]) {
        let name = String::from_utf8_lossy(name);
        let text = format!("called '{}', which there is not; answered nil", cut(&name));
        log(LogLevel::Err, self.plugin, &text);
    }
}

/// Starts an instance; gives its id.
pub(crate) async fn start_instance(
    server: &Server,
    connection: &mut Connection,
    plugin: &str,
    config: &str,
) -> Result<i64, Fault> {
    match server.protocol {
        Protocol::MsgPack => msgpack::start(server, connection, plugin, config).await,
        Protocol::ProtoBuf => protobuf::start(connection, plugin, config).await,
    }
}

/// Closes an instance.
pub(crate) async fn close_instance(
    server: &Server,
    connection: &mut Connection,
    id: i64,
) -> Result<(), Fault> {
    match server.protocol {
        Protocol::MsgPack => msgpack::close(server, connection, id).await,
        Protocol::ProtoBuf => protobuf::close(connection, id).await,
    }
}

/// Whether a server still takes events: one for an instance that it can't know is refused at once,
/// unless something holds it up.
pub(crate) async fn probe(server: &Server, connection: &mut Connection) -> Result<(), Fault> {
    let done = match server.protocol {
        Protocol::MsgPack => msgpack::probe(server, connection).await,
        Protocol::ProtoBuf => protobuf::status(connection, 0).await,
    };
    match done {
        Ok(()) | Err(Fault::NoInstance(_) | Fault::Server(_) | Fault::Closed | Fault::Unsent) => {
            Ok(())
        }
        Err(fault) => Err(fault),
    }
}
