//! The few frames of the two plugin-server protocols that the bare client needs: an event begins,
//! a call comes, its answer goes back, the event ends. Written apart from the gateway's own, so
//! that the yardstick does not change with what it measures.

use anyhow::{Context, Result, bail};

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// MessagePack-RPC: Python, JavaScript.
    MsgPack,
    /// `ProtoBuf:1`: Go.
    ProtoBuf,
}

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It calls a PDK function and waits for the answer; in MessagePack with the event's id.
    Call(u64),
    /// The event is over, or another command is done, which gave this instance id.
    Done(u64),
}

impl Wire {
    /// The protocol of this name.
    pub(crate) fn named(name: &str) -> Result<Wire> {
        match name {
            "msgpack" => Ok(Wire::MsgPack),
            "protobuf" => Ok(Wire::ProtoBuf),
            _ => bail!("{name:?} is no protocol"),
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Wire::MsgPack => "msgpack",
            Wire::ProtoBuf => "protobuf",
        }
    }

    /// Starts an instance of a plugin. `seq` becomes its id where the gateway chooses it.
    pub(crate) fn start_instance(self, plugin: &str, calls: usize, seq: u32) -> Vec<u8> {
        let config = format!("{{\"__seq__\":{seq},\"calls\":{calls}}}");
        match self {
            Wire::MsgPack => {
                let mut out = request(1, "plugin.StartInstance");
                out.push(0x82);
                for text in ["Name", plugin, "Config", &config] {
                    pack_text(&mut out, text);
                }
                out
            }
            Wire::ProtoBuf => {
                let command = [field(1, plugin.as_bytes()), field(2, config.as_bytes())].concat();
                framed(&[vec![0x08, 1], field(33, &command)].concat())
            }
        }
    }

    /// The access event of an instance.
    pub(crate) fn event(self, instance: u64) -> Vec<u8> {
        match self {
            Wire::MsgPack => {
                let mut out = request(2, "plugin.HandleEvent");
                out.push(0x82);
                pack_text(&mut out, "InstanceId");
                pack_number(&mut out, instance);
                pack_text(&mut out, "EventName");
                pack_text(&mut out, "access");
                out
            }
            Wire::ProtoBuf => {
                let mut command = vec![0x08];
                put_varint(&mut command, instance);
                command.extend(field(2, b"access"));
                framed(&[vec![0x08, 2], field(36, &command)].concat())
            }
        }
    }

    /// Writes the answer to a call: a text.
    pub(crate) fn answer(self, event: u64, text: &str, out: &mut Vec<u8>) {
        match self {
            Wire::MsgPack => {
                out.extend(request(3, "plugin.Step"));
                out.push(0x82);
                pack_text(out, "Data");
                pack_text(out, text);
                pack_text(out, "EventId");
                pack_number(out, event);
            }
            Wire::ProtoBuf => out.extend(framed(&field(1, text.as_bytes()))),
        }
    }

    /// Reads what the server says first in `input`: how many bytes it took, and what it is. `None`
    /// while it is not whole.
    pub(crate) fn hear(self, input: &[u8]) -> Result<Option<(usize, Heard)>> {
        match self {
            Wire::MsgPack => hear_msgpack(input),
            Wire::ProtoBuf => hear_protobuf(input),
        }
    }
}

// === ProtoBuf:1 ===

fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = (message.len() as u32).to_le_bytes().to_vec();
    out.extend_from_slice(message);
    out
}

fn field(number: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, number << 3 | 2);
    put_varint(&mut out, content.len() as u64);
    out.extend_from_slice(content);
    out
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The frame at the start of `input`, and what follows it.
fn take_frame(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// A call is a frame with a name and one with its argument; the end of an event is an empty frame
/// and the answer to the command. The answer to StartInstance has no empty frame before it: it
/// begins with the sequence number, as no name does.
fn hear_protobuf(input: &[u8]) -> Result<Option<(usize, Heard)>> {
    let Some((first, rest)) = take_frame(input) else { return Ok(None) };
    if first.first() == Some(&0x08) {
        return Ok(Some((input.len() - rest.len(), Heard::Done(0))));
    }
    let Some((_, rest)) = take_frame(rest) else { return Ok(None) };
    let heard = if first.is_empty() { Heard::Done(0) } else { Heard::Call(0) };
    Ok(Some((input.len() - rest.len(), heard)))
}

// === MessagePack ===

fn request(id: u8, method: &str) -> Vec<u8> {
    let mut out = vec![0x94, 0x00, id];
    pack_text(&mut out, method);
    out.push(0x91);
    out
}

fn pack_text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length => {
            out.push(0xda);
            out.extend((length as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

fn pack_number(out: &mut Vec<u8>, value: u64) {
    match value {
        0..0x80 => out.push(value as u8),
        _ => {
            out.push(0xce);
            out.extend((value as u32).to_be_bytes());
        }
    }
}

/// A position in MessagePack that may end before the value does.
struct Cursor<'a> {
    rest: &'a [u8],
}

/// A value, as far as the client cares.
#[derive(Debug, PartialEq)]
enum Value<'a> {
    Nil,
    Number(u64),
    Text(&'a [u8]),
    Array(usize),
    Map(usize),
    Other,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.take(bytes)?;
        Some(taken.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn text(&mut self, length: Option<u64>) -> Option<Value<'a>> {
        Some(Value::Text(self.take(length? as usize)?))
    }

    /// The next value, or the head of the next array or map.
    fn value(&mut self) -> Option<Value<'a>> {
        let mark = *self.take(1)?.first()?;
        Some(match mark {
            0x00..=0x7f => Value::Number(u64::from(mark)),
            0x80..=0x8f => Value::Map(usize::from(mark & 0x0f)),
            0x90..=0x9f => Value::Array(usize::from(mark & 0x0f)),
            0xa0..=0xbf => Value::Text(self.take(usize::from(mark & 0x1f))?),
            0xc0 => Value::Nil,
            0xc4 | 0xd9 => {
                let length = self.number(1);
                self.text(length)?
            }
            0xc5 | 0xda => {
                let length = self.number(2);
                self.text(length)?
            }
            0xc6 | 0xdb => {
                let length = self.number(4);
                self.text(length)?
            }
            0xca..=0xcb | 0xd0..=0xd3 => {
                let bytes = [4, 8, 0, 0, 0, 0, 1, 2, 4, 8][usize::from(mark - 0xca)];
                self.take(bytes)?;
                Value::Other
            }
            0xcc..=0xcf => Value::Number(self.number(1 << (mark - 0xcc))?),
            0xdc => Value::Array(self.number(2)? as usize),
            0xde => Value::Map(self.number(2)? as usize),
            _ => Value::Other,
        })
    }

    fn skip(&mut self) -> Option<()> {
        let inside = match self.value()? {
            Value::Array(count) => count,
            Value::Map(count) => 2 * count,
            _ => 0,
        };
        (0..inside).try_for_each(|_| self.skip())
    }
}

fn hear_msgpack(input: &[u8]) -> Result<Option<(usize, Heard)>> {
    let mut whole = Cursor { rest: input };
    if whole.skip().is_none() {
        return Ok(None);
    }
    let length = input.len() - whole.rest.len();
    let mut cursor = Cursor { rest: input };
    let head = [cursor.value(), cursor.value(), cursor.value(), cursor.value()];
    match head {
        [Some(Value::Array(4)), Some(Value::Number(1)), _, Some(Value::Nil)] => {}
        _ => bail!("the server failed: {}", String::from_utf8_lossy(&input[..length])),
    }
    let Some(Value::Map(count)) = cursor.value() else { bail!("a result that is no map") };
    let (mut call, mut id) = (false, 0);
    for _ in 0..count {
        let key = cursor.value().context("a key")?;
        let Value::Text(key) = key else { bail!("a key that is no text") };
        let mut value = Cursor { rest: cursor.rest };
        match (key, value.value()) {
            (b"Data", Some(Value::Map(_))) => call = true,
            (b"EventId" | b"Id", Some(Value::Number(number))) => id = number,
            _ => {}
        }
        cursor.skip().context("a value")?;
    }
    Ok(Some((length, if call { Heard::Call(id) } else { Heard::Done(id) })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wire: Wire, input: &[u8], expect: Heard) {
        assert_eq!(wire.hear(input).unwrap(), Some((input.len(), expect)));
        for end in 0..input.len() {
            assert_eq!(wire.hear(&input[..end]).unwrap(), None, "cut at {end}");
        }
    }

    #[test]
    fn calls_and_ends_are_heard_when_they_are_whole() {
        let call = b"\x94\x01\x54\xc0\x82\xa4Data\x82\xa6Method\xb7kong.request.get_header\
            \xa4Args\x91\xa3x-a\xa7EventId\xcd\x01\x02";
        check(Wire::MsgPack, call, Heard::Call(0x102));
        check(Wire::MsgPack, b"\x94\x01\x5a\xc0\x82\xa4Data\xa3ret\xa7EventId\x02", Heard::Done(2));
        let call = b"\x17\0\0\0kong.request.get_header\x05\0\0\0\x0a\x03x-a";
        check(Wire::ProtoBuf, call, Heard::Call(0));
        check(Wire::ProtoBuf, b"\0\0\0\0\x02\0\0\0\x08\x7f", Heard::Done(0));
    }

    #[test]
    fn an_error_is_an_error() {
        assert!(Wire::MsgPack.hear(b"\x94\x01\x02\xa4nope\xc0").is_err());
    }

    #[test]
    fn frames_are_as_on_the_wire() {
        let event = Wire::ProtoBuf.event(50);
        assert_eq!(event, b"\x0f\0\0\0\x08\x02\xa2\x02\x0a\x08\x32\x12\x06access");
        let mut answer = Vec::new();
        Wire::MsgPack.answer(2, "hi", &mut answer);
        assert_eq!(answer, b"\x94\x00\x03\xabplugin.Step\x91\x82\xa4Data\xa2hi\xa7EventId\x02");
    }
}
