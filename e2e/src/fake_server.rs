//! A plugin server that answers wrongly on purpose, in either wire protocol. It listens in this
//! process; for the gateway it is one that somebody else starts: it has no start command.
//!
//! Its only plugin is `fake`, of priority 50, with one phase, access, and no configuration fields.
//! Done well, an event asks the gateway for nothing and ends.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::gateway::Builder;

/// Which protocol it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Length-prefixed Protocol Buffers, as go-pdk does since 0.7.
    ProtoBuf,
    /// MessagePack-RPC, as the servers for JavaScript, Python and older Go plugins do.
    MessagePack,
}

/// What it does when an event comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Ends the event as it should.
    Well,
    /// Answers with bytes that are no message.
    Malformed,
    /// Sends half an answer and closes.
    Truncated,
    /// Announces an answer of a gigabyte and sends zeros for as long as somebody reads.
    Huge,
    /// Closes without an answer.
    Closes,
    /// Says nothing.
    Silent,
    /// Answers another request than it was asked.
    WrongId,
}

/// A running fake; [`FakeServer::behave`] changes its mind at any time.
pub struct FakeServer {
    behaviour: Arc<Mutex<Behaviour>>,
}

impl FakeServer {
    /// Adds the fake to a gateway's configuration and starts it.
    pub fn add(builder: Builder, protocol: Protocol, timeout: Duration) -> (Builder, FakeServer) {
        let socket = builder.prefix().join("fake.socket");
        let dump = builder.prefix().join("fake.json");
        write(&dump, description(protocol).as_bytes());
        let listener = UnixListener::bind(&socket);
        let listener = listener.unwrap_or_else(|err| panic!("{}: {err}", socket.display()));
        let fake = FakeServer { behaviour: Arc::new(Mutex::new(Behaviour::Well)) };
        let behaviour = fake.behaviour.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let behaviour = behaviour.clone();
                std::thread::spawn(move || serve(stream, protocol, &behaviour));
            }
        });
        let query = format!("cat {}", dump.display());
        let builder = builder
            .plugin_server("fake", &socket.display().to_string(), "", &query)
            .set("pluginserver_fake_timeout", &timeout.as_millis().to_string());
        (builder, fake)
    }

    /// What to do with events from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }
}

fn write(path: &std::path::Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
}

fn description(protocol: Protocol) -> String {
    let info = r#"{"Name":"fake","Phases":["access"],"Version":"1.0","Priority":50,"Schema":
        {"name":"fake","fields":[{"config":{"type":"record","fields":[]}}]}}"#;
    match protocol {
        Protocol::MessagePack => format!("[{info}]\n"),
        Protocol::ProtoBuf => {
            format!(r#"{{"Protocol":"ProtoBuf:1","SocketPath":"/nowhere","Plugins":[{info}]}}"#)
        }
    }
}

fn serve(
    mut stream: UnixStream,
    protocol: Protocol,
    behaviour: &Mutex<Behaviour>,
) -> io::Result<()> {
    loop {
        let (call, good) = match protocol {
            Protocol::ProtoBuf => protobuf::read(&mut stream)?,
            Protocol::MessagePack => msgpack::read(&mut stream)?,
        };
        let behaviour = match call {
            Call::Event => *behaviour.lock().unwrap(),
            Call::Other => Behaviour::Well,
        };
        match behaviour {
            Behaviour::Well => stream.write_all(&good.right)?,
            Behaviour::WrongId => stream.write_all(&good.wrong_id)?,
            Behaviour::Malformed => stream.write_all(&good.malformed)?,
            Behaviour::Truncated => return stream.write_all(&good.right[..good.right.len() / 2]),
            Behaviour::Closes => return Ok(()),
            Behaviour::Silent => std::thread::sleep(Duration::from_secs(600)),
            Behaviour::Huge => {
                stream.write_all(&good.huge_head)?;
                for _ in 0..16_384 {
                    stream.write_all(&[0; 65_536])?;
                }
            }
        }
    }
}

enum Call {
    Event,
    Other,
}

/// The answers to one call that the behaviours choose from.
struct Answers {
    right: Vec<u8>,
    wrong_id: Vec<u8>,
    malformed: Vec<u8>,
    huge_head: Vec<u8>,
}

/// Frames of Protocol Buffers, by hand: five field numbers are all there is.
mod protobuf {
    use super::{Answers, Call, Read, UnixStream, io};

    /// Field numbers of RpcCall and RpcReturn.
    const START_INSTANCE: u64 = 33;
    const CLOSE_INSTANCE: u64 = 35;
    const HANDLE_EVENT: u64 = 36;

    pub(super) fn read(stream: &mut UnixStream) -> io::Result<(Call, Answers)> {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut message)?;
        let (sequence, command) = call(&message);
        let event = command == HANDLE_EVENT;
        let done = |sequence: u64| {
            let mut out = vec![8];
            varint(&mut out, sequence);
            if matches!(command, START_INSTANCE | CLOSE_INSTANCE) {
                let status = [0x0a, 3, b'-', b'-', b'-', 0x10, 7]; // name "---", instance 7
                out.extend([0x8a, 2, status.len() as u8]);
                out.extend(status);
            }
            let end_of_event: &[u8] = if event { &[0; 4] } else { &[] };
            [end_of_event, &(out.len() as u32).to_le_bytes(), &out].concat()
        };
        let answers = Answers {
            right: done(sequence),
            wrong_id: done(sequence + 1000),
            malformed: [&[4, 0, 0, 0][..], &[0xff; 4], &[4, 0, 0, 0], &[0xff; 4]].concat(),
            huge_head: (1_u32 << 30).to_le_bytes().to_vec(),
        };
        Ok((if event { Call::Event } else { Call::Other }, answers))
    }

    /// The sequence number and the number of the command field.
    pub(super) fn call(message: &[u8]) -> (u64, u64) {
        let (mut sequence, mut command) = (0, 0);
        let mut rest = message;
        while let Some(tag) = take_varint(&mut rest) {
            match (tag >> 3, tag & 7) {
                (1, 0) => sequence = take_varint(&mut rest).unwrap_or_default(),
                (field, 2) => {
                    command = field;
                    let length = take_varint(&mut rest).unwrap_or_default() as usize;
                    rest = rest.get(length..).unwrap_or_default();
                }
                _ => break,
            }
        }
        (sequence, command)
    }

    fn take_varint(rest: &mut &[u8]) -> Option<u64> {
        let end = rest.iter().position(|byte| byte & 0x80 == 0)?;
        let (bytes, after) = rest.split_at(end + 1);
        *rest = after;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)))
    }

    fn varint(out: &mut Vec<u8>, mut value: u64) {
        while value > 0x7f {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
}

/// MessagePack-RPC requests `[0, id, method, [argument]]`, read only as far as they are needed.
mod msgpack {
    use super::{Answers, Call, Read, UnixStream, io};

    pub(super) fn read(stream: &mut UnixStream) -> io::Result<(Call, Answers)> {
        // One request, one write: that is what the gateway owes to servers for JavaScript.
        let mut request = vec![0; 65_536];
        let length = stream.read(&mut request)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (id, event) = call(&request[..length])?;
        let result: &[u8] = if event {
            b"\x82\xa7EventId\x00\xa4Data\xa3ret"
        } else {
            b"\x84\xa4Name\xa4fake\xa2Id\x00\xa6Config\x80\xa9StartTime\xcb\0\0\0\0\0\0\0\0"
        };
        let answer = |id: &[u8], result: &[u8]| [b"\x94\x01", id, b"\xc0", result].concat();
        let answers = Answers {
            right: answer(&id, result),
            wrong_id: answer(b"\xcd\xff\xfe", result),
            malformed: b"\xc1\xc1\x94\xc1\xff\x00garbage".to_vec(),
            huge_head: answer(&id, b"\xc6\x40\x00\x00\x00"),
        };
        Ok((if event { Call::Event } else { Call::Other }, answers))
    }

    /// The bytes of the request's id, and whether it is an event.
    pub(super) fn call(request: &[u8]) -> io::Result<(Vec<u8>, bool)> {
        let wrong = || io::Error::other("no MessagePack-RPC request");
        if request.get(..2) != Some(&[0x94, 0]) {
            return Err(wrong());
        }
        let id_length = match request.get(2).ok_or_else(wrong)? {
            0xcc | 0xd0 => 2,
            0xcd | 0xd1 => 3,
            0xce | 0xd2 => 5,
            0xcf | 0xd3 => 9,
            _ => 1,
        };
        let id = request.get(2..2 + id_length).ok_or_else(wrong)?.to_vec();
        let rest = &request[2 + id_length..];
        let method = b"plugin.HandleEvent";
        Ok((id, rest.windows(method.len()).any(|window| window == method)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls as traced on the wire of a real gateway.
    #[test]
    fn it_reads_what_gateways_write() {
        let event = b"\xa2\x02\x0a\x08\x32\x12\x06access\x08\x7f";
        assert_eq!(protobuf::call(event), (0x7f, 36));
        let event = b"\x94\x00\x54\xb2plugin.HandleEvent\x91\x82\xaaInstanceId\x01";
        assert_eq!(msgpack::call(event).unwrap(), (vec![0x54], true));
        let start = b"\x94\x00\xcd\x01\x02\xb4plugin.StartInstance\x91\x80";
        assert_eq!(msgpack::call(start).unwrap(), (vec![0xcd, 1, 2], false));
    }
}
