//! Events over MessagePack-RPC: a call arrives as the answer to the step before it.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
};

use silverback_pdk::{
    Exchange, Value,
    kong::{self, Function, Outcome, Shape},
};

use super::{End, Reply, Run};
use crate::{
    connection::{Connection, Fault},
    msgpack::{Malformed, Reader, Writer},
    server::Server,
};

/// An id that no instance has: ids count from 0.
const NO_INSTANCE: i64 = -1;
/// How an answer of no type of its own goes back.
const STEP: &str = "plugin.Step";
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
        let next = poll_fn(|cx| converse(run, connection, exchange, &mut args, cx));
        let (event, function) = match next.await? {
            Next::End(end) => return Ok(end),
            Next::Waits(event, function) => (event, function),
        };
        let outcome = function.call(exchange, &args).await;
        if let Some(end) = answer_call(run, connection, event, function, outcome) {
            return Ok(end);
        }
    }
}

/// Where a conversation stops.
enum Next {
    /// The event is over.
    End(End),
    /// The handler of this event has called a function that may have to wait.
    Waits(i64, &'static Function),
}

/// Answers the handler's calls for as long as nothing has to be waited for but its next one.
fn converse(
    run: &mut Run<'_>,
    connection: &mut Connection,
    exchange: &mut Exchange,
    args: &mut Vec<Value>,
    cx: &mut Context<'_>,
) -> Poll<Result<Next, Fault>> {
    loop {
        ready!(connection.poll_send(cx))?;
        let step = poll_answer(connection, run.server, cx, |reader| read_step(reader, args));
        let Step { event, data } = ready!(step)?;
        let function = match data {
            Data::Return => return Poll::Ready(Ok(Next::End(End::Done))),
            Data::Call(function) => function,
            Data::Unknown(name) => {
                run.calls += 1;
                run.unknown(&name);
                write_step(connection, run.server, STEP, event, &Value::Nil);
                continue;
            }
        };
        run.calls += 1;
        let Some(outcome) = function.call_now(exchange, args) else {
            return Poll::Ready(Ok(Next::Waits(event, function)));
        };
        if let Some(end) = answer_call(run, connection, event, function, outcome) {
            return Poll::Ready(Ok(Next::End(end)));
        }
    }
}

/// Writes what came of a call, unless that is the event's end.
#[inline]
fn answer_call(
    run: &mut Run<'_>,
    connection: &mut Connection,
    event: i64,
    function: &'static Function,
    outcome: Outcome,
) -> Option<End> {
    let value = match run.reply(function, outcome) {
        Reply::Value(value) => value,
        // Kong, too, keeps only the nil.
        Reply::Nil(_) => Value::Nil,
        Reply::End(end) => return Some(end),
    };
    write_step(connection, run.server, step_method(function), event, &value);
    None
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
            match reader.text()?.bytes() {
                b"Id" => id = Some(reader.int()?),
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
        _ => STEP,
    }
}

/// Writes all of a request but its one argument.
#[inline]
fn request<'a>(connection: &'a mut Connection, server: &Server, method: &str) -> Writer<'a> {
    let id = connection.next_id();
    let mut writer = Writer::new(&mut connection.output, server.strict_text);
    // An array of four, a request.
    writer.written(b"\x94\x00");
    writer.int(id.into());
    if method == STEP {
        // Most requests by far.
        writer.written(b"\xabplugin.Step\x91");
    } else {
        writer.text(method.as_bytes());
        writer.array(1);
    }
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
    if value.is_nil() {
        writer.written(b"\x81\xa7EventId");
    } else {
        writer.written(b"\x82\xa4Data");
        if method == "plugin.StepMultiMap" {
            writer.multi_map(value);
        } else {
            writer.value(value);
        }
        writer.written(b"\xa7EventId");
    }
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
    /// It calls a function that there is not, by this name.
    Unknown(Vec<u8>),
}

/// Reads what the handler does next.
#[inline]
fn read_step(reader: &mut Reader<'_>, args: &mut Vec<Value>) -> Result<Step, Fault> {
    match reader.attempt(|reader| read_call(reader, args)) {
        Some(step) => Ok(step),
        None => read_any_step(reader, args),
    }
}

/// Reads a call whose keys come in the order in which they nearly always do, without a look at
/// each: `{Data: {Method: "kong.…", Args: […]}, EventId: 1}`.
#[inline]
fn read_call(reader: &mut Reader<'_>, args: &mut Vec<Value>) -> Option<Step> {
    args.clear();
    reader.skip(b"\x82\xa4Data\x82\xa6Method").then_some(())?;
    let function = kong::find(reader.text().ok()?.bytes())?;
    reader.skip(b"\xa4Args").then_some(())?;
    for _ in 0..reader.array().ok()? {
        args.push(reader.value().ok()?);
    }
    reader.skip(b"\xa7EventId").then_some(())?;
    Some(Step { event: reader.int().ok()?, data: Data::Call(function) })
}

/// Reads anything else that a handler may do next, and calls in another order.
#[cold]
fn read_any_step(reader: &mut Reader<'_>, args: &mut Vec<Value>) -> Result<Step, Fault> {
    let (mut event, mut data) = (None, None);
    for _ in 0..reader.map()? {
        match reader.text()?.bytes() {
            b"EventId" => event = Some(reader.int()?),
            b"Data" => data = Some(read_data(reader, args)?),
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
        match reader.text()?.bytes() {
            b"Method" => method = Some(reader.text()?.bytes()),
            b"Args" => read_args(reader, args)?,
            _ => drop(reader.value()?),
        }
    }
    let method = method.ok_or_else(|| Fault::Protocol("a call without Method".to_owned()))?;
    Ok(kong::find(method).map_or_else(|| Data::Unknown(method.to_vec()), Data::Call))
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
    poll_fn(|cx| {
        ready!(connection.poll_send(cx))?;
        poll_answer(connection, server, cx, &mut read)
    })
    .await
}

/// Reads the answer to what was sent.
#[inline]
fn poll_answer<T>(
    connection: &mut Connection,
    server: &Server,
    cx: &mut Context<'_>,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, Fault>,
) -> Poll<Result<T, Fault>> {
    let expected = connection.last_id();
    loop {
        let message = |reader: &mut Reader<'_>| {
            // Nearly always an array of four, an answer.
            let plain = reader.skip(b"\x94\x01");
            let kind = if plain { (4, 1) } else { (reader.array()?, reader.int()?) };
            match kind {
                (4, 1) => result(reader, expected, &mut read).map(Heard::Answer),
                (3, 2) => Ok(Heard::Told(notification(reader)?)),
                (_, kind) => Err(Fault::Protocol(format!("a message of type {kind}"))),
            }
        };
        match ready!(connection.poll_value(cx, message))? {
            Heard::Answer(result) => return Poll::Ready(Ok(result)),
            Heard::Told(pid) => told(connection, server, pid)?,
        }
    }
}

#[cold]
fn told(connection: &mut Connection, server: &Server, pid: Option<u32>) -> Result<(), Fault> {
    connection.notifications += 1;
    if connection.notifications > MAX_NOTIFICATIONS {
        return Err(Fault::Protocol("notifications without an end".to_owned()));
    }
    match pid {
        // The event may have met another instance, which has the number of its own.
        Some(pid) if !server.is_same(&connection.generation, pid) => Err(Fault::Replaced),
        _ => Ok(()),
    }
}

/// Reads the rest of an answer.
#[inline]
fn result<T>(
    reader: &mut Reader<'_>,
    expected: u32,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let id = reader.int()?;
    if id != i64::from(expected) {
        return Err(Fault::Protocol(format!("the answer to {id} instead of {expected}")));
    }
    if reader.skip(b"\xc0") {
        return read(reader);
    }
    Err(refused(reader)?)
}

/// Reads what the server says instead of a result.
#[cold]
fn refused(reader: &mut Reader<'_>) -> Result<Fault, Malformed> {
    let error = reader.value()?;
    let text = match error.as_bytes() {
        Some(text) => String::from_utf8_lossy(text).into_owned(),
        None => error.to_json().to_string(),
    };
    // "no plugin instance #7"; go-pluginserver begins with a capital.
    let unknown = text.to_ascii_lowercase().contains("no plugin instance");
    Ok(if unknown { Fault::NoInstance(text) } else { Fault::Server(text) })
}

/// Reads the rest of a notification: the server's pid, which Go servers tell on each connection.
fn notification(reader: &mut Reader<'_>) -> Result<Option<u32>, Malformed> {
    let label = reader.text()?;
    let value = reader.value()?;
    let pid = value.as_int().and_then(|pid| u32::try_from(pid).ok());
    Ok(pid.filter(|_| label.bytes() == b"serverPid"))
}
