//! Events over `ProtoBuf:1`: between an event and its end the server asks, and nothing else may
//! run on the connection.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
};

use silverback_pdk::{
    Exchange, LogLevel, Value,
    kong::{self, Function, Outcome, Stop},
    log,
};

use super::{End, Reply, Run};
use crate::{
    body_file::BodyFile,
    connection::{Connection, Fault},
    input::Part,
    protobuf::{self, Malformed, RAW_BODY, Reader, Wire, put_bytes, put_int, put_message},
};

/// Field numbers of the commands in RpcCall.
const START_INSTANCE: u32 = 33;
const INSTANCE_STATUS: u32 = 34;
const CLOSE_INSTANCE: u32 = 35;
const HANDLE_EVENT: u32 = 36;
/// Field number of InstanceStatus in RpcReturn.
const STATUS: u32 = 33;

/// Runs an event.
pub(crate) async fn run(
    run: &mut Run<'_>,
    connection: &mut Connection,
    exchange: &mut Exchange,
) -> Result<End, Fault> {
    let sequence = command(connection, HANDLE_EVENT, |out| {
        put_int(out, 1, run.instance);
        put_bytes(out, 2, run.phase.name().as_bytes());
    });
    // A body in a file stays there as long as the event runs.
    let mut file = None;
    let mut call = Call { function: None, args: Vec::new() };
    loop {
        let next = poll_fn(|cx| converse(run, connection, exchange, &mut call, cx));
        match next.await? {
            Next::Returned => {
                returned(connection, sequence, |_| Ok(())).await?;
                return Ok(End::Done);
            }
            Next::End(end) => return Ok(end),
            Next::Waits(function) => {
                let outcome = function.call(exchange, &call.args).await;
                let refused = function.name == RAW_BODY && matches!(outcome, Err(Stop::Nil(_)));
                if refused && file.is_none() {
                    file = body_file(run, function, exchange).await;
                }
                match &file {
                    Some(file) if refused => {
                        frame(connection, |out| protobuf::body_path(file.path(), out));
                    }
                    _ => {
                        if let Some(end) = answer_call(run, connection, function, outcome) {
                            return Ok(end);
                        }
                    }
                }
            }
        }
    }
}

/// Where a conversation stops.
enum Next {
    /// The handler has returned; the answer to the command follows.
    Returned,
    /// The event is over.
    End(End),
    /// The handler has called a function that may have to wait.
    Waits(&'static Function),
}

/// A call on its way in: its name and its arguments come in a frame each.
struct Call {
    /// What is called, once that has come; none if there is no such function.
    function: Option<Option<&'static Function>>,
    args: Vec<Value>,
}

/// Answers the handler's calls for as long as nothing has to be waited for but its next one.
fn converse(
    run: &mut Run<'_>,
    connection: &mut Connection,
    exchange: &mut Exchange,
    call: &mut Call,
    cx: &mut Context<'_>,
) -> Poll<Result<Next, Fault>> {
    loop {
        ready!(connection.poll_send(cx))?;
        if call.function.is_none() {
            let method = ready!(connection.poll_frame(cx))?.bytes();
            if method.is_empty() {
                return Poll::Ready(Ok(Next::Returned));
            }
            let function = kong::find(method);
            if function.is_none() {
                run.unknown(method);
            }
            call.function = Some(function);
            run.calls += 1;
        }
        let message = ready!(connection.poll_frame(cx))?;
        let Some(function) = call.function.take().flatten() else {
            frame(connection, |_| {});
            continue;
        };
        protobuf::arguments(function, message, &mut call.args)?;
        let Some(outcome) = function.call_now(exchange, &call.args) else {
            return Poll::Ready(Ok(Next::Waits(function)));
        };
        if let Some(end) = answer_call(run, connection, function, outcome) {
            return Poll::Ready(Ok(Next::End(end)));
        }
    }
}

/// Writes what came of a call, unless that is the event's end.
#[inline]
fn answer_call(
    run: &Run<'_>,
    connection: &mut Connection,
    function: &Function,
    outcome: Outcome,
) -> Option<End> {
    match run.reply(function, outcome) {
        Reply::Value(value) => frame(connection, |out| protobuf::result(function, &value, out)),
        Reply::Nil(text) => frame(connection, |out| protobuf::error(function, &text, out)),
        Reply::End(end) => return Some(end),
    }
    None
}

/// The whole body in a file, where the buffer was too small for it. None where it can't be had
/// that way either: the first refusal stands.
async fn body_file(
    run: &Run<'_>,
    function: &Function,
    exchange: &mut Exchange,
) -> Option<BodyFile> {
    const ANY_SIZE: Value = Value::Int(0);
    let directory = run.server.config.body_directory.as_deref()?;
    let Ok(Value::Binary(body)) = function.call(exchange, &[ANY_SIZE]).await else { return None };
    let written = BodyFile::write(directory, &body).await;
    let complain = |error| {
        let text = format!("can't keep the request's body in {}: {error}", directory.display());
        log(LogLevel::Err, run.plugin, &text);
    };
    written.map_err(complain).ok()
}

/// Starts an instance.
pub(crate) async fn start(
    connection: &mut Connection,
    plugin: &str,
    config: &str,
) -> Result<i64, Fault> {
    let sequence = command(connection, START_INSTANCE, |out| {
        put_bytes(out, 1, plugin.as_bytes());
        put_bytes(out, 2, config.as_bytes());
    });
    returned(connection, sequence, instance_id).await
}

/// The id in an InstanceStatus.
fn instance_id(status: Part<'_>) -> Result<i64, Malformed> {
    let mut reader = Reader::new(status);
    let mut id = 0;
    while let Some(field) = reader.field()? {
        if let (2, Wire::Int(n)) = field {
            id = n.cast_signed();
        }
    }
    Ok(id)
}

/// Closes an instance.
pub(crate) async fn close(connection: &mut Connection, id: i64) -> Result<(), Fault> {
    let sequence = command(connection, CLOSE_INSTANCE, |out| put_int(out, 1, id));
    returned(connection, sequence, |_| Ok(())).await
}

/// Asks for an instance's status.
pub(crate) async fn status(connection: &mut Connection, id: i64) -> Result<(), Fault> {
    let sequence = command(connection, INSTANCE_STATUS, |out| put_int(out, 1, id));
    returned(connection, sequence, |_| Ok(())).await
}

/// Writes a frame whose content `fill` writes.
fn frame(connection: &mut Connection, fill: impl FnOnce(&mut Vec<u8>)) {
    let out = &mut connection.output;
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(head) = out.get_mut(start..start + 4) {
        head.copy_from_slice(&length.to_le_bytes());
    }
}

/// Writes a command; gives its sequence number.
fn command(connection: &mut Connection, number: u32, fill: impl FnOnce(&mut Vec<u8>)) -> i64 {
    let sequence = i64::from(connection.next_id());
    frame(connection, |out| {
        put_int(out, 1, sequence);
        put_message(out, number, fill);
    });
    sequence
}

/// Sends what was written, if anything was, reads the RpcReturn of a command, and the message in it
/// as `read` does.
async fn returned<T>(
    connection: &mut Connection,
    sequence: i64,
    read: impl Fn(Part<'_>) -> Result<T, Malformed>,
) -> Result<T, Fault> {
    poll_fn(|cx| {
        ready!(connection.poll_send(cx))?;
        let mut reader = Reader::new(ready!(connection.poll_frame(cx))?);
        let (mut got, mut message) = (0, Part::new(&[]));
        while let Some(field) = reader.field()? {
            match field {
                (1, Wire::Int(n)) => got = n.cast_signed(),
                (STATUS, Wire::Bytes(bytes)) => message = bytes,
                _ => {}
            }
        }
        let mixed_up = || Fault::Protocol(format!("the answer to {got} instead of {sequence}"));
        Poll::Ready(if got == sequence { Ok(read(message)?) } else { Err(mixed_up()) })
    })
    .await
}
