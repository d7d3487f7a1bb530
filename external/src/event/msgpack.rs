//! Events over MessagePack-RPC: a call arrives as the answer to the step before it.

use bytes::Bytes;
use silverback_pdk::{
    Exchange, Value,
    kong::{Function, Shape},
};

use super::{End, Reply, Run};
use crate::{
    connection::{Connection, Fault},
    msgpack::{Reader, Writer},
    server::Server,
};

/// An id that no instance has: ids count from 0.
const NO_INSTANCE: i64 = -1;
/// Notifications that may come before an answer: servers send one per connection.
const MAX_NOTIFICATIONS: usize = 16;

/// Runs an event.
pub(crate) async fn run(
    run: &mut Run<'_>,
    connection: &mut Connection,
    exchange: &mut Exchange,
) -> Result<End, Fault> {
    write_event(connection, run.server, run.instance, run.phase.name());
    let mut step = exchange_step(connection, run.server).await?;
    loop {
        let Data::Call { method, args } = step.data else { return Ok(End::Done) };
        let Some(function) = run.find(&method) else {
            write_step(connection, run.server, "plugin.Step", step.event, &Value::Nil);
            step = exchange_step(connection, run.server).await?;
            continue;
        };
        let value = match run.call(function, &args, exchange).await {
            Reply::Value(value) => value,
            // Kong, too, keeps only the nil.
            Reply::Nil(_) => Value::Nil,
            Reply::End(end) => return Ok(end),
        };
        write_step(connection, run.server, step_method(function), step.event, &value);
        step = exchange_step(connection, run.server).await?;
    }
}

/// Starts an instance.
pub(crate) async fn start(
    server: &Server,
    connection: &mut Connection,
    plugin: &str,
    config: &str,
) -> Result<i64, Fault> {
    let mut writer = request(connection, server, "plugin.StartInstance");
    writer.map(2);
    writer.text(b"Name");
    writer.text(plugin.as_bytes());
    writer.text(b"Config");
    writer.text(config.as_bytes());
    let mut reader = answer(connection, server).await?;
    let mut id = None;
    for _ in 0..reader.map()? {
        match reader.key(&["Id"])? {
            Some(_) => id = Some(reader.int()?),
            _ => drop(reader.value()?),
        }
    }
    id.ok_or_else(|| Fault::Protocol("an instance was started without an Id".to_owned()))
}

/// Closes an instance.
pub(crate) async fn close(
    server: &Server,
    connection: &mut Connection,
    id: i64,
) -> Result<(), Fault> {
    request(connection, server, "plugin.CloseInstance").int(id);
    answer(connection, server).await.map(drop)
}

/// Sends an event that can only be refused.
pub(crate) async fn probe(server: &Server, connection: &mut Connection) -> Result<(), Fault> {
    write_event(connection, server, NO_INSTANCE, "access");
    answer(connection, server).await.map(drop)
}

/// The step by which an answer goes back. Python and JavaScript take them all alike; Go decodes
/// into the type that the step names.
fn step_method(function: &Function) -> &'static str {
    match function.result {
        Shape::MultiMap => "plugin.StepMultiMap",
        Shape::Credential => "plugin.StepCredential",
        Shape::Consumer => "plugin.StepConsumer",
        Shape::Route => "plugin.StepRoute",
        Shape::Service => "plugin.StepService",
        Shape::MemoryStats => "plugin.StepMemoryStats",
        _ => "plugin.Step",
    }
}

/// Writes all of a request but its one argument.
fn request<'a>(connection: &'a mut Connection, server: &Server, method: &str) -> Writer<'a> {
    let id = connection.next_id();
    let mut writer = Writer::new(&mut connection.output, server.strict_text);
    writer.array(4);
    writer.int(0);
    writer.int(id.into());
    writer.text(method.as_bytes());
    writer.array(1);
    writer
}

fn write_event(connection: &mut Connection, server: &Server, instance: i64, phase: &str) {
    let mut writer = request(connection, server, "plugin.HandleEvent");
    writer.map(2);
    writer.text(b"InstanceId");
    writer.int(instance);
    writer.text(b"EventName");
    writer.text(phase.as_bytes());
}

/// Nil is no Data at all.
fn write_step(
    connection: &mut Connection,
    server: &Server,
    method: &str,
    event: i64,
    value: &Value,
) {
    let mut writer = request(connection, server, method);
    writer.map(if value.is_nil() { 1 } else { 2 });
    if !value.is_nil() {
        writer.text(b"Data");
        if method == "plugin.StepMultiMap" { writer.multi_map(value) } else { writer.value(value) }
    }
    writer.text(b"EventId");
    writer.int(event);
}

/// What a handler does next.
struct Step {
    event: i64,
    data: Data,
}

enum Data {
    /// It has returned.
    Return,
    /// It calls a function.
    Call { method: Bytes, args: Vec<Value> },
}

/// Sends what was written and reads what the handler does next.
async fn exchange_step(connection: &mut Connection, server: &Server) -> Result<Step, Fault> {
    let mut reader = answer(connection, server).await?;
    let (mut event, mut data) = (None, None);
    for _ in 0..reader.map()? {
        match reader.key(&["EventId", "Data"])? {
            Some(0) => event = Some(reader.int()?),
            Some(_) => data = Some(read_data(&mut reader)?),
            _ => drop(reader.value()?),
        }
    }
    match (event, data) {
        (Some(event), Some(data)) => Ok(Step { event, data }),
        _ => Err(Fault::Protocol("an answer without EventId or Data".to_owned())),
    }
}

fn read_data(reader: &mut Reader) -> Result<Data, Fault> {
    if !reader.at_map() {
        return match reader.value()? {
            Value::Text(text) if text.as_ref() == b"ret" => Ok(Data::Return),
            other => Err(Fault::Protocol(format!("a {} for a call", other.type_name()))),
        };
    }
    let (mut method, mut args) = (None, Vec::new());
    for _ in 0..reader.map()? {
        match reader.key(&["Method", "Args"])? {
            Some(0) => method = Some(reader.text()?),
            Some(_) => args = read_args(reader)?,
            _ => drop(reader.value()?),
        }
    }
    let method = method.ok_or_else(|| Fault::Protocol("a call without Method".to_owned()))?;
    Ok(Data::Call { method, args })
}

/// Arguments keep their positions, nil ones too. Go sends nil for none at all.
fn read_args(reader: &mut Reader) -> Result<Vec<Value>, Fault> {
    match reader.value()? {
        Value::Array(args) => Ok(args),
        Value::Nil => Ok(Vec::new()),
        Value::Map(pairs) if pairs.is_empty() => Ok(Vec::new()),
        other => Err(Fault::Protocol(format!("a {} for Args", other.type_name()))),
    }
}

/// Sends what was written and reads the result of the answer to it.
async fn answer(connection: &mut Connection, server: &Server) -> Result<Reader, Fault> {
    connection.send().await?;
    for _ in 0..MAX_NOTIFICATIONS {
        let mut reader = Reader::new(connection.read_value().await?);
        let items = reader.array()?;
        match (reader.int()?, items) {
            (1, 4) => return result(connection, reader),
            (2, 3) => notification(connection, server, &mut reader)?,
            (kind, _) => return Err(Fault::Protocol(format!("a message of type {kind}"))),
        }
    }
    Err(Fault::Protocol("notifications without an end".to_owned()))
}

fn result(connection: &Connection, mut reader: Reader) -> Result<Reader, Fault> {
    let id = reader.int()?;
    if id != i64::from(connection.last_id()) {
        let expected = connection.last_id();
        return Err(Fault::Protocol(format!("the answer to {id} instead of {expected}")));
    }
    match reader.value()? {
        Value::Nil => Ok(reader),
        error => {
            let text = match error.as_bytes() {
                Some(text) => String::from_utf8_lossy(text).into_owned(),
                None => error.to_json().to_string(),
            };
            // "no plugin instance #7"; go-pluginserver begins with a capital.
            let unknown = text.to_ascii_lowercase().contains("no plugin instance");
            Err(if unknown { Fault::NoInstance(text) } else { Fault::Server(text) })
        }
    }
}

/// Go servers tell their pid on each connection.
fn notification(
    connection: &Connection,
    server: &Server,
    reader: &mut Reader,
) -> Result<(), Fault> {
    let label = reader.text()?;
    let value = reader.value()?;
    if label.as_ref() == b"serverPid"
        && let Some(pid) = value.as_int().and_then(|pid| u32::try_from(pid).ok())
    {
        server.note_pid(&connection.generation, pid);
    }
    Ok(())
}
