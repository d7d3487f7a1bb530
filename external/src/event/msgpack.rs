//! Events over MessagePack-RPC: a call arrives as the answer to the step before it.

use silverback_pdk::{
    Exchange, Value,
    kong::{Function, Shape},
};

use super::{End, Reply, Run};
use crate::{
    connection::{Connection, Fault},
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
        let step = answer(connection, run.server, |reader| read_step(reader, &mut args));
        let Step { event, data } = step.await?;
        let call = match data {
            Data::Return => return Ok(End::Done),
            Data::Call(call) => call,
        };
        run.calls += 1;
        let (method, value) = match call {
            Err(name) => {
                run.unknown(&name);
                ("plugin.Step", Value::Nil)
            }
            Ok(function) => match run.call(function, &args, exchange).await {
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
    answer(connection, server, |reader| {
        let mut id = None;
        for _ in 0..reader.map()? {
            match reader.key(&["Id"])? {
                Some(_) => id = Some(reader.int()?),
                _ => drop(reader.value()?),
            }
        }
        id.ok_or_else(|| Fault::Protocol("an instance was started without an Id".to_owned()))
    })
    .await
}

/// Closes an instance.
pub(crate) async fn close(
    server: &Server,
    connection: &mut Connection,
    id: i64,
) -> Result<(), Fault> {
    request(connection, server, "plugin.CloseInstance").int(id);
    answer(connection, server, ignored).await
}

/// Sends an event that can only be refused.
pub(crate) async fn probe(server: &Server, connection: &mut Connection) -> Result<(), Fault> {
    write_event(connection, server, NO_INSTANCE, "access");
    answer(connection, server, ignored).await
}

/// An answer of which nothing is of interest.
fn ignored(reader: &mut Reader<'_>) -> Result<(), Fault> {
    reader.value()?;
    Ok(())
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
    /// It calls a function, with the arguments that were read beside this; or one that there is
    /// not, by this name.
    Call(Result<&'static Function, Vec<u8>>),
}

/// Reads what the handler does next.
fn read_step(reader: &mut Reader<'_>, args: &mut Vec<Value>) -> Result<Step, Fault> {
    let (mut event, mut data) = (None, None);
    for _ in 0..reader.map()? {
        match reader.key(&["EventId", "Data"])? {
            Some(0) => event = Some(reader.int()?),
            Some(_) => data = Some(read_data(reader, args)?),
            _ => drop(reader.value()?),
        }
    }
    match (event, data) {
        (Some(event), Some(data)) => Ok(Step { event, data }),
        _ => Err(Fault::Protocol("an answer without EventId or Data".to_owned())),
    }
}

fn read_data(reader: &mut Reader<'_>, args: &mut Vec<Value>) -> Result<Data, Fault> {
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
    Ok(Data::Call(Run::find(method.bytes()).ok_or_else(|| method.bytes().to_vec())))
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

/// A message of a server's.
enum Heard<T> {
    Answer(T),
    /// A notification, with the server's pid if it tells that.
    Told(Option<u32>),
}

/// Sends what was written and reads the result of the answer to it as `read` does.
async fn answer<T>(
    connection: &mut Connection,
    server: &Server,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    connection.send().await?;
    let expected = connection.last_id();
    for _ in 0..MAX_NOTIFICATIONS {
        let message = |reader: &mut Reader<'_>| match (reader.array()?, reader.int()?) {
            (4, 1) => result(reader, expected, &mut read).map(Heard::Answer),
            (3, 2) => Ok(Heard::Told(notification(reader)?)),
            (_, kind) => Err(Fault::Protocol(format!("a message of type {kind}"))),
        };
        match connection.read_value(message).await? {
            Heard::Answer(result) => return Ok(result),
            Heard::Told(Some(pid)) => server.note_pid(&connection.generation, pid),
            Heard::Told(None) => {}
        }
    }
    Err(Fault::Protocol("notifications without an end".to_owned()))
}

/// Reads the rest of an answer.
fn result<T>(
    reader: &mut Reader<'_>,
    expected: u32,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let id = reader.int()?;
    if id != i64::from(expected) {
        return Err(Fault::Protocol(format!("the answer to {id} instead of {expected}")));
    }
    if reader.skip_nil() {
        return read(reader);
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

/// Reads the rest of a notification: the server's pid, which Go servers tell on each connection.
fn notification(reader: &mut Reader<'_>) -> Result<Option<u32>, Malformed> {
    let label = reader.text()?;
    let value = reader.value()?;
    let pid = value.as_int().and_then(|pid| u32::try_from(pid).ok());
    Ok(pid.filter(|_| label.bytes() == b"serverPid"))
}
