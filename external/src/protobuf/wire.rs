//! The wire form of Protocol Buffers: numbered fields, varints, lengths.

use bytes::BufMut;
use thiserror::Error;

use crate::input::Part;

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The bytes end within a field.
    #[error("a field that breaks off")]
    Short,
    /// A number of more than 64 bits.
    #[error("a number of more than 64 bits")]
    Varint,
    /// A wire type that is not known, or not this field's.
    #[error("a field of the wrong type")]
    Type,
    /// Values are nested deeper than is allowed.
    #[error("values nested too deep")]
    Depth,
    /// More values than is allowed.
    #[error("too many values in one message")]
    Values,
}

/// The content of a field.
#[derive(Debug, Clone, Copy)]
pub enum Wire<'a> {
    /// A varint: int32, int64, bool.
    Int(u64),
    /// A double.
    Fixed64(u64),
    /// A float.
    Fixed32(u32),
    /// Text, bytes, or a message.
    Bytes(Part<'a>),
}

/// Reads the fields of a message.
#[derive(Debug)]
pub struct Reader<'a> {
    message: Part<'a>,
    /// Where the next field begins.
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of this message.
    pub fn new(message: Part<'a>) -> Reader<'a> {
        Reader { message, at: 0 }
    }

    /// The next field and its number; none at the end.
    ///
    /// # Errors
    /// If it breaks off or has a type that is not known.
    pub fn field(&mut self) -> Result<Option<(u32, Wire<'a>)>, Malformed> {
        if self.at >= self.message.bytes().len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed::Varint)?;
        let wire = match key & 7 {
            0 => Wire::Int(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.fixed()?)),
            5 => Wire::Fixed32(u32::from_le_bytes(self.fixed()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Short)?;
                Wire::Bytes(self.take(length)?)
            }
            _ => return Err(Malformed::Type),
        };
        Ok(Some((number, wire)))
    }

    fn take(&mut self, length: usize) -> Result<Part<'a>, Malformed> {
        let end = self.at.saturating_add(length);
        let taken = self.message.get(self.at..end).ok_or(Malformed::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.bytes().try_into().map_err(|_| Malformed::Short)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.message.bytes().get(self.at).ok_or(Malformed::Short)?;
            self.at += 1;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(Malformed::Varint)
    }
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.put_u8(n as u8 | 0x80);
        n >>= 7;
    }
    out.put_u8(n as u8);
}

fn put_key(out: &mut Vec<u8>, number: u32, wire_type: u32) {
    put_varint(out, u64::from(number << 3 | wire_type));
}

/// A field of whole number or boolean, unless it is zero.
pub fn put_int(out: &mut Vec<u8>, number: u32, n: i64) {
    if n != 0 {
        put_present_int(out, number, n.cast_unsigned());
    }
}

pub(super) fn put_present_int(out: &mut Vec<u8>, number: u32, n: u64) {
    put_key(out, number, 0);
    put_varint(out, n);
}

/// A field of floating point, unless it is zero.
pub fn put_double(out: &mut Vec<u8>, number: u32, n: f64) {
    if n != 0.0 {
        put_present_double(out, number, n);
    }
}

pub(super) fn put_present_double(out: &mut Vec<u8>, number: u32, n: f64) {
    put_key(out, number, 1);
    out.put_f64_le(n);
}

/// A field of text or bytes, unless it is empty.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_present(out, number, bytes);
    }
}

pub(super) fn put_present(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_key(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// A field that is a message, written by `fill`. Written in place: more room than one byte for the
/// length is made once it is known to be needed.
pub fn put_message(out: &mut Vec<u8>, number: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    put_key(out, number, 2);
    let at = out.len();
    out.put_u8(0);
    fill(out);
    let length = out.len() - at - 1;
    if let (0..0x80, Some(place)) = (length, out.get_mut(at)) {
        *place = length as u8;
        return;
    }
    let mut varint = Vec::with_capacity(5);
    put_varint(&mut varint, length as u64);
    out.splice(at..=at, varint);
}
