//! Events over `ProtoBuf:1`: between an event and its end the server asks, and nothing else may
//! run on the connection.

use silverback_pdk::{Exchange, LogLevel, Value, kong::Function, log};

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
    let mut args = Vec::new();
    loop {
        connection.send().await?;
        let method = connection.read_frame().await?.bytes();
        if method.is_empty() {
            returned(connection, sequence, |_| Ok(())).await?;
            return Ok(End::Done);
        }
        run.calls += 1;
        let function = Run::find(method);
        if function.is_none() {
            run.unknown(method);
        }
        let message = connection.read_frame().await?;
        let Some(function) = function else {
            frame(connection, |_| {});
            continue;
        };
        protobuf::arguments(function, message, &mut args)?;
        match run.call(function, &args, exchange).await {
            Reply::Value(value) => frame(connection, |out| protobuf::result(function, &value, out)),
            Reply::Nil(text) => {
                if function.name == RAW_BODY && file.is_none() {
                    file = body_file(run, function, exchange).await;
                }
                frame(connection, |out| match &file {
                    Some(file) if function.name == RAW_BODY => {
                        protobuf::body_path(file.path(), out);
                    }
                    _ => protobuf::error(function, &text, out),
                });
            }
            Reply::End(end) => return Ok(end),
        }
    }
}

/// The whole body in a file, where the buffer was too small for it. None where it can't be had
/// that way either: the first refusal stands.
async fn body_file(
    run: &mut Run<'_>,
    function: &Function,
    exchange: &mut Exchange,
) -> Option<BodyFile> {
    const ANY_SIZE: Value = Value::Int(0);
    let directory = run.server.config.body_directory.as_deref()?;
    let Reply::Value(Value::Binary(body)) = run.call(function, &[ANY_SIZE], exchange).await else {
        return None;
    };
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
    connection.send().await?;
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
    connection.send().await?;
    returned(connection, sequence, |_| Ok(())).await
}

/// Asks for an instance's status.
pub(crate) async fn status(connection: &mut Connection, id: i64) -> Result<(), Fault> {
    let sequence = command(connection, INSTANCE_STATUS, |out| put_int(out, 1, id));
    connection.send().await?;
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

/// Reads the RpcReturn of a command, and the message in it as `read` does.
async fn returned<T>(
    connection: &mut Connection,
    sequence: i64,
    read: impl FnOnce(Part<'_>) -> Result<T, Malformed>,
) -> Result<T, Fault> {
    let mut reader = Reader::new(connection.read_frame().await?);
    let (mut got, mut message) = (0, Part::new(&[]));
    while let Some(field) = reader.field()? {
        match field {
            (1, Wire::Int(n)) => got = n.cast_signed(),
            (STATUS, Wire::Bytes(bytes)) => message = bytes,
            _ => {}
        }
    }
    if got == sequence {
        return Ok(read(message)?);
    }
    Err(Fault::Protocol(format!("the answer to {got} instead of {sequence}")))
}
