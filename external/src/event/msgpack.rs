//! Events over MessagePack-RPC: a call arrives as the answer to the step before it.

use silverback_pdk::{
    Exchange, Value,
    kong::{Function, Shape},
};

use super::{End, Reply, Run};
use crate::{
    connection::{Connection, Fault},
    input::Part,
    msgpack::{Malformed, Reader, Writer},
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
    let mut args = Vec::new();
    loop {
        let mut reader = answer(connection, run.server).await?;
        let Step { event, data } = read_step(run, &mut reader, &mut args)?;
        let (method, value) = match data {
            Data::Return => return Ok(End::Done),
            Data::Unknown => ("plugin.Step", Value::Nil),
            Data::Call(function) => match run.call(function, &args, exchange).await {
                Reply::Value(value) => (step_method(function), value),
                // Kong, too, keeps only the nil.
                Reply::Nil(_) => (step_method(function), Value::Nil),
                Reply::End(end) => return Ok(end),
            },
        };
        write_step(connection, run.server, method, event, &value);
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
    /// It calls a function, with the arguments that were read beside this.
    Call(&'static Function),
    /// It calls a function that there is not.
    Unknown,
}

/// Reads what the handler does next.
fn read_step(
    run: &mut Run<'_>,
    reader: &mut Reader<'_>,
    args: &mut Vec<Value>,
) -> Result<Step, Fault> {
    let (mut event, mut data) = (None, None);
    for _ in 0..reader.map()? {
        match reader.key(&["EventId", "Data"])? {
            Some(0) => event = Some(reader.int()?),
            Some(_) => data = Some(read_data(run, reader, args)?),
            _ => drop(reader.value()?),
        }
    }
    match (event, data) {
        (Some(event), Some(data)) => Ok(Step { event, data }),
        _ => Err(Fault::Protocol("an answer without EventId or Data".to_owned())),
    }
}

fn read_data(
    run: &mut Run<'_>,
    reader: &mut Reader<'_>,
    args: &mut Vec<Value>,
) -> Result<Data, Fault> {
    if !reader.at_map() {
        return match reader.value()? {
            Value::Text(text) if text.as_ref() == b"ret" => Ok(Data::Return),
            other => Err(Fault::Protocol(format!("a {} for a call", other.type_name()))),
        };
    }
    let mut method = None;
    args.clear();
    for _ in 0..reader.map()? {
        match reader.key(&["Method", "Args"])? {
            Some(0) => method = Some(reader.text()?),
            Some(_) => read_args(reader, args)?,
            _ => drop(reader.value()?),
        }
    }
    let method = method.ok_or_else(|| Fault::Protocol("a call without Method".to_owned()))?;
    Ok(run.find(method.bytes()).map_or(Data::Unknown, Data::Call))
}

/// Arguments keep their positions, nil ones too. Go sends nil for none at all.
fn read_args(reader: &mut Reader<'_>, args: &mut Vec<Value>) -> Result<(), Fault> {
    if reader.at_array() {
        for _ in 0..reader.array()? {
            args.push(reader.value()?);
        }
        return Ok(());
    }
    match reader.value()? {
        Value::Nil => Ok(()),
        Value::Map(pairs) if pairs.is_empty() => Ok(()),
        other => Err(Fault::Protocol(format!("a {} for Args", other.type_name()))),
    }
}

/// Sends what was written and reads the result of the answer to it.
async fn answer<'a>(connection: &'a mut Connection, server: &Server) -> Result<Reader<'a>, Fault> {
    connection.send().await?;
    let expected = connection.last_id();
    for _ in 0..MAX_NOTIFICATIONS {
        let length = connection.read_value().await?;
        match kind(connection.input.bytes())? {
            (1, 4) => return result(connection.input.take(length), expected),
            (2, 3) => {
                if let Some(pid) = notification(connection.input.take(length))? {
                    server.note_pid(&connection.generation, pid);
                }
            }
            (kind, _) => return Err(Fault::Protocol(format!("a message of type {kind}"))),
        }
    }
    Err(Fault::Protocol("notifications without an end".to_owned()))
}

/// A message's type, and how many items it has.
fn kind(message: &[u8]) -> Result<(i64, usize), Malformed> {
    let mut reader = Reader::new(Part::new(message));
    let items = reader.array()?;
    Ok((reader.int()?, items))
}

fn result(message: Part<'_>, expected: u32) -> Result<Reader<'_>, Fault> {
    let mut reader = Reader::new(message);
    (_, _) = (reader.array()?, reader.int()?);
    let id = reader.int()?;
    if id != i64::from(expected) {
        return Err(Fault::Protocol(format!("the answer to {id} instead of {expected}")));
    }
    if reader.skip_nil() {
        return Ok(reader);
    }
    let error = reader.value()?;
    let text = match error.as_bytes() {
        Some(text) => String::from_utf8_lossy(text).into_owned(),
        None => error.to_json().to_string(),
    };
    // "no plugin instance #7"; go-pluginserver begins with a capital.
    let unknown = text.to_ascii_lowercase().contains("no plugin instance");
    Err(if unknown { Fault::NoInstance(text) } else { Fault::Server(text) })
}

/// The server's pid, which Go servers tell on each connection.
fn notification(message: Part<'_>) -> Result<Option<u32>, Malformed> {
    let mut reader = Reader::new(message);
    (_, _) = (reader.array()?, reader.int()?);
    let label = reader.text()?;
    let value = reader.value()?;
    let pid = value.as_int().and_then(|pid| u32::try_from(pid).ok());
    Ok(pid.filter(|_| label.bytes() == b"serverPid"))
}
