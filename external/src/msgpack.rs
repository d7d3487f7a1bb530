//! MessagePack over [`Value`], in the exact forms that plugin servers expect.
//!
//! Text is written as str with a length of 5, 16 or 32 bits, never 8, as Kong does; raw bodies as
//! bin. An empty table is an empty array, whatever it was meant to be: Lua knows no difference, and
//! plugins have come to rely on it. What is read is bounded in depth and number of values, so that
//! a faulty server can't make the gateway allocate more than what it sends justifies.

use bytes::BufMut;
use serde_json::Value as Json;
use silverback_pdk::Value;
use thiserror::Error;

use crate::input::Part;

/// How deep arrays and maps may be nested.
const MAX_DEPTH: usize = 100;
/// How many values one message may hold: each takes up to 40 bytes once it is read.
const MAX_VALUES: u64 = 4_000_000;

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The byte 0xc1, which no value begins with.
    #[error("a byte that begins no MessagePack value")]
    Byte,
    /// Arrays and maps are nested deeper than is allowed.
    #[error("values nested more than {MAX_DEPTH} deep")]
    Depth,
    /// More values than is allowed.
    #[error("more than {MAX_VALUES} values in one message")]
    Values,
    /// The bytes end within a value.
    #[error("a value that breaks off")]
    Short,
    /// Another type stands where the protocol has this one.
    #[error("expected {0}")]
    Expected(&'static str),
}

/// What begins with a byte: the bytes of its head, of its content, and the values inside.
struct Head {
    /// Tag and length.
    head: usize,
    /// Content in bytes.
    body: usize,
    /// Values that follow and belong to it.
    values: u64,
}

/// Reads the tag and length at the start of `at`; none if they are not all there.
#[inline]
fn head(at: &[u8]) -> Result<Option<Head>, Malformed> {
    let Some(&tag) = at.first() else { return Ok(None) };
    let (body, values) = match tag {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
        0x80..=0x8f => (0, 2 * u64::from(tag & 0x0f)),
        0x90..=0x9f => (0, u64::from(tag & 0x0f)),
        0xa0..=0xbf => (usize::from(tag & 0x1f), 0),
        _ => return long_head(at, tag),
    };
    Ok(Some(Head { head: 1, body, values }))
}

/// Likewise where more than the tag tells what follows: the smaller part of a message.
fn long_head(at: &[u8], tag: u8) -> Result<Option<Head>, Malformed> {
    // How many bytes of length follow the tag.
    let width = match tag {
        0xc4 | 0xc7 | 0xd9 => 1,
        0xc5 | 0xc8 | 0xda | 0xdc | 0xde => 2,
        0xc6 | 0xc9 | 0xdb | 0xdd | 0xdf => 4,
        _ => 0,
    };
    let Some(length) = at.get(1..1 + width) else { return Ok(None) };
    let length = length.iter().fold(0usize, |n, &b| n << 8 | usize::from(b));
    let (body, values) = match tag {
        0xc4..=0xc6 | 0xd9..=0xdb => (length, 0),
        // An extension has a byte of type before its content.
        0xc7..=0xc9 => (length + 1, 0),
        0xcc | 0xd0 => (1, 0),
        0xcd | 0xd1 | 0xd4 => (2, 0),
        0xd5 => (3, 0),
        0xca | 0xce | 0xd2 => (4, 0),
        0xd6 => (5, 0),
        0xcb | 0xcf | 0xd3 => (8, 0),
        0xd7 => (9, 0),
        0xd8 => (17, 0),
        0xdc | 0xdd => (0, length as u64),
        0xde | 0xdf => (0, 2 * length as u64),
        // 0xc1: all others have been told from the tag alone.
        _ => return Err(Malformed::Byte),
    };
    Ok(Some(Head { head: 1 + width, body, values }))
}

/// Finds the end of a message while it comes in: what has been looked at is not looked at again.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Bytes looked at.
    at: usize,
    /// Values that are still to come.
    open: u64,
    /// Values seen.
    seen: u64,
}

impl Scanner {
    /// The length of the message that `buffer` begins with, once all of it is there.
    ///
    /// # Errors
    /// If it is no message, or has more values than is allowed.
    pub fn scan(&mut self, buffer: &[u8]) -> Result<Option<usize>, Malformed> {
        if self.seen == 0 {
            (self.open, self.seen) = (1, 1);
        }
        while self.open > 0 {
            let Some(head) = head(buffer.get(self.at..).unwrap_or_default())? else {
                return Ok(None);
            };
            self.seen += head.values;
            if self.seen > MAX_VALUES {
                return Err(Malformed::Values);
            }
            // The content may be missing yet: the position then lies behind the end for a while.
            self.at = self.at.saturating_add(head.head + head.body);
            self.open = self.open - 1 + head.values;
        }
        Ok((self.at <= buffer.len()).then_some(self.at))
    }

    /// How many bytes the message has at least, as far as can be told.
    pub fn least(&self) -> usize {
        self.at
    }
}

/// Reads values out of one whole message.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    message: Part<'a>,
    /// Where the next value begins.
    at: usize,
    values: u64,
}

impl<'a> Reader<'a> {
    /// A reader of these bytes.
    pub fn new(message: Part<'a>) -> Reader<'a> {
        Reader { message, at: 0, values: 0 }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Whether all has been read.
    pub fn is_done(&self) -> bool {
        self.at >= self.message.bytes().len()
    }

    /// The next value.
    ///
    /// # Errors
    /// If it breaks off or is deeper or larger than is allowed.
    #[inline]
    pub fn value(&mut self) -> Result<Value, Malformed> {
        // What most arguments are, without the detour by what any value may be.
        match self.short_text()? {
            Some(text) => Ok(Value::Text(text.to_bytes())),
            None => self.value_at(0),
        }
    }

    fn value_at(&mut self, depth: usize) -> Result<Value, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed::Depth);
        }
        let Item { tag, values: count, body } = self.next()?;
        let number = || unsigned(body.bytes());
        Ok(match tag {
            0x00..=0x7f => Value::Int(tag.into()),
            0xe0..=0xff => Value::Int(i64::from(tag.cast_signed())),
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xa0..=0xbf | 0xd9..=0xdb => Value::Text(body.to_bytes()),
            0xc4..=0xc6 => Value::Binary(body.to_bytes()),
            0xca => Value::Number(f32::from_bits(number() as u32).into()),
            0xcb => Value::Number(f64::from_bits(number())),
            0xcc..=0xcf => integer(number()),
            0xd0 => Value::Int((number() as u8).cast_signed().into()),
            0xd1 => Value::Int((number() as u16).cast_signed().into()),
            0xd2 => Value::Int((number() as u32).cast_signed().into()),
            0xd3 => Value::Int(number().cast_signed()),
            0x90..=0x9f | 0xdc | 0xdd => self.items(count, depth)?,
            0x80..=0x8f | 0xde | 0xdf => self.pairs(count / 2, depth)?,
            // Of extensions (times and the like) only the bytes mean something to a plugin.
            0xc7..=0xc9 | 0xd4..=0xd8 => {
                Value::Binary(body.get(1..body.bytes().len()).unwrap_or(body).to_bytes())
            }
            _ => Value::Nil,
        })
    }

    fn items(&mut self, count: u64, depth: usize) -> Result<Value, Malformed> {
        let mut items = Vec::with_capacity(self.bounded(count));
        for _ in 0..count {
            items.push(self.value_at(depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    fn pairs(&mut self, count: u64, depth: usize) -> Result<Value, Malformed> {
        let mut pairs = Vec::with_capacity(self.bounded(count));
        for _ in 0..count {
            pairs.push((self.value_at(depth + 1)?, self.value_at(depth + 1)?));
        }
        Ok(Value::Map(pairs))
    }

    /// A value takes a byte at least, so no more can follow than bytes are left.
    fn bounded(&self, count: u64) -> usize {
        usize::try_from(count).unwrap_or(usize::MAX).min(self.message.bytes().len())
    }

    /// The number of items of an array that comes next.
    ///
    /// # Errors
    /// If something else comes next.
    #[inline]
    pub fn array(&mut self) -> Result<usize, Malformed> {
        if let Some(items) = self.short(0x90) {
            return Ok(items);
        }
        let Item { tag, values: count, .. } = self.next()?;
        match (tag, count) {
            (0x90..=0x9f | 0xdc | 0xdd, count) => Ok(usize::try_from(count).unwrap_or(0)),
            _ => Err(Malformed::Expected("an array")),
        }
    }

    /// The number of pairs of a map that comes next; an empty array counts as an empty map.
    ///
    /// # Errors
    /// If something else comes next.
    #[inline]
    pub fn map(&mut self) -> Result<usize, Malformed> {
        if let Some(pairs) = self.short(0x80) {
            return Ok(pairs);
        }
        let Item { tag, values: count, .. } = self.next()?;
        match (tag, count) {
            (0x80..=0x8f | 0xde | 0xdf, count) => Ok(usize::try_from(count / 2).unwrap_or(0)),
            (0x90 | 0xdc | 0xdd, 0) => Ok(0),
            _ => Err(Malformed::Expected("a map")),
        }
    }

    /// The number in the head of a short array or map of this tag, which is what nearly all are.
    #[inline]
    fn short(&mut self, tag: u8) -> Option<usize> {
        let head = *self.message.bytes().get(self.at)?;
        (head & 0xf0 == tag).then(|| {
            self.at += 1;
            usize::from(head & 0x0f)
        })
    }

    /// A whole number that comes next.
    ///
    /// # Errors
    /// If something else comes next.
    pub fn int(&mut self) -> Result<i64, Malformed> {
        // The ids that count on and on, without the detour by a value.
        match self.message.bytes().get(self.at..).unwrap_or_default() {
            [n @ 0x00..=0x7f, ..] => {
                self.at += 1;
                Ok(i64::from(*n))
            }
            [0xcd, a, b, ..] => {
                self.at += 3;
                Ok(i64::from(u16::from_be_bytes([*a, *b])))
            }
            [0xce, a, b, c, d, ..] => {
                self.at += 5;
                Ok(i64::from(u32::from_be_bytes([*a, *b, *c, *d])))
            }
            _ => self.any_int(),
        }
    }

    #[cold]
    fn any_int(&mut self) -> Result<i64, Malformed> {
        self.value()?.as_int().ok_or(Malformed::Expected("a whole number"))
    }

    /// Reads as `read` does, or nothing.
    #[inline]
    pub fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let start = self.at;
        let read = read(self);
        if read.is_none() {
            self.at = start;
        }
        read
    }

    /// Skips these bytes if they come next; whether they did.
    #[inline]
    pub fn skip(&mut self, bytes: &[u8]) -> bool {
        let rest = self.message.bytes().get(self.at..).unwrap_or_default();
        let found = rest.starts_with(bytes);
        self.at += if found { bytes.len() } else { 0 };
        found
    }

    /// Text that comes next, of whatever type.
    ///
    /// # Errors
    /// If something else comes next.
    #[inline]
    pub fn text(&mut self) -> Result<Part<'a>, Malformed> {
        if let Some(text) = self.short_text()? {
            return Ok(text);
        }
        match self.next()? {
            Item { tag: 0xa0..=0xbf | 0xd9..=0xdb | 0xc4..=0xc6, body, .. } => Ok(body),
            _ => Err(Malformed::Expected("text")),
        }
    }

    /// Text that comes next, if its length stands in its tag.
    #[inline]
    fn short_text(&mut self) -> Result<Option<Part<'a>>, Malformed> {
        let Some(&tag @ 0xa0..=0xbf) = self.message.bytes().get(self.at) else { return Ok(None) };
        let end = self.at + 1 + usize::from(tag & 0x1f);
        let text = self.message.get(self.at + 1..end).ok_or(Malformed::Short)?;
        self.at = end;
        Ok(Some(text))
    }

    /// Whether a map comes next.
    #[inline]
    pub fn at_map(&self) -> bool {
        matches!(self.message.bytes().get(self.at), Some(0x80..=0x8f | 0xde | 0xdf))
    }

    /// Whether an array comes next.
    #[inline]
    pub fn at_array(&self) -> bool {
        matches!(self.message.bytes().get(self.at), Some(0x90..=0x9f | 0xdc | 0xdd))
    }

    fn next(&mut self) -> Result<Item<'a>, Malformed> {
        let rest = self.message.bytes().get(self.at..).unwrap_or_default();
        let head = head(rest)?.ok_or(Malformed::Short)?;
        let tag = *rest.first().ok_or(Malformed::Short)?;
        let start = self.at + head.head;
        let end = start.saturating_add(head.body);
        let body = self.message.get(start..end).ok_or(Malformed::Short)?;
        self.values += head.values;
        if self.values > MAX_VALUES {
            return Err(Malformed::Values);
        }
        self.at = end;
        Ok(Item { tag, values: head.values, body })
    }
}

/// A value's head, and its content.
struct Item<'a> {
    tag: u8,
    /// Values that follow and belong to it.
    values: u64,
    body: Part<'a>,
}

/// Up to eight bytes, the most significant first.
fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, &b| n << 8 | u64::from(b))
}

fn integer(n: u64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "Lua would have a double too")]
    i64::try_from(n).map_or(Value::Number(n as f64), Value::Int)
}

/// Writes values behind one another.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Write text that is not UTF-8 as bin. Python's reader gives up on such a str, and the request
    /// with it; a bin arrives as `bytes`.
    strict_text: bool,
}

impl<'a> Writer<'a> {
    /// Writes to the end of `out`. `strict_text`: text that is not UTF-8 goes as bin.
    pub fn new(out: &'a mut Vec<u8>, strict_text: bool) -> Writer<'a> {
        Writer { out, strict_text }
    }

    /// Values that stand there as they are written.
    #[inline]
    pub fn written(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Nil.
    pub fn nil(&mut self) {
        self.out.put_u8(0xc0);
    }

    /// A whole number in its shortest form.
    pub fn int(&mut self, n: i64) {
        match n {
            0..=0x7f => self.out.put_u8(n as u8),
            -32..=-1 => self.out.put_i8(n as i8),
            0x80..=0xff => self.tagged(0xcc, &(n as u8).to_be_bytes()),
            0x100..=0xffff => self.tagged(0xcd, &(n as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.tagged(0xce, &(n as u32).to_be_bytes()),
            0x1_0000_0000.. => self.tagged(0xcf, &n.to_be_bytes()),
            -0x80..=-33 => self.tagged(0xd0, &(n as i8).to_be_bytes()),
            -0x8000..=-0x81 => self.tagged(0xd1, &(n as i16).to_be_bytes()),
            -0x8000_0000..=-0x8001 => self.tagged(0xd2, &(n as i32).to_be_bytes()),
            _ => self.tagged(0xd3, &n.to_be_bytes()),
        }
    }

    /// A number: whole ones as integers, as Kong sends them.
    pub fn number(&mut self, n: f64) {
        match Value::Number(n).as_int() {
            Some(n) => self.int(n),
            None => self.tagged(0xcb, &n.to_be_bytes()),
        }
    }

    /// Text.
    pub fn text(&mut self, text: &[u8]) {
        if self.strict_text && !text.is_ascii() && std::str::from_utf8(text).is_err() {
            return self.binary(text);
        }
        match text.len() {
            n @ 0..=31 => self.out.put_u8(0xa0 | n as u8),
            n @ 32..=0xffff => self.tagged(0xda, &(n as u16).to_be_bytes()),
            n => self.tagged(0xdb, &(n as u32).to_be_bytes()),
        }
        self.out.put_slice(text);
    }

    /// Bytes.
    pub fn binary(&mut self, bytes: &[u8]) {
        match bytes.len() {
            n @ 0..=0xff => self.tagged(0xc4, &(n as u8).to_be_bytes()),
            n @ 0x100..=0xffff => self.tagged(0xc5, &(n as u16).to_be_bytes()),
            n => self.tagged(0xc6, &(n as u32).to_be_bytes()),
        }
        self.out.put_slice(bytes);
    }

    /// The head of an array of that many items.
    pub fn array(&mut self, items: usize) {
        match items {
            0..=15 => self.out.put_u8(0x90 | items as u8),
            16..=0xffff => self.tagged(0xdc, &(items as u16).to_be_bytes()),
            _ => self.tagged(0xdd, &(items as u32).to_be_bytes()),
        }
    }

    /// The head of a map of that many pairs.
    pub fn map(&mut self, pairs: usize) {
        match pairs {
            0..=15 => self.out.put_u8(0x80 | pairs as u8),
            16..=0xffff => self.tagged(0xde, &(pairs as u16).to_be_bytes()),
            _ => self.tagged(0xdf, &(pairs as u32).to_be_bytes()),
        }
    }

    /// A value. A table without members is an array. A member that is nil stands for a null in
    /// JSON; where nil means absent, whoever made the map has left it out.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Nil | Value::Foreign(_) => self.nil(),
            Value::Bool(b) => self.out.put_u8(if *b { 0xc3 } else { 0xc2 }),
            Value::Int(n) => self.int(*n),
            Value::Number(n) => self.number(*n),
            Value::Text(text) => self.text(text),
            Value::Binary(bytes) => self.binary(bytes),
            Value::Array(items) => {
                self.array(items.len());
                items.iter().for_each(|item| self.value(item));
            }
            Value::Map(pairs) => {
                self.table(pairs.len());
                for (key, value) in pairs {
                    self.value(key);
                    self.value(value);
                }
            }
            Value::Entity(record) => self.members(record),
        }
    }

    /// A map of names to lists of text: one text becomes a list of one, and true, an argument
    /// without a value, a list of none. Empty, it is a map all the same.
    pub fn multi_map(&mut self, value: &Value) {
        let Value::Map(pairs) = value else {
            return if matches!(value, Value::Array(items) if items.is_empty()) {
                self.map(0);
            } else {
                self.value(value);
            };
        };
        self.map(pairs.len());
        for (key, value) in pairs {
            self.value(key);
            match value {
                Value::Array(_) => self.value(value),
                Value::Bool(_) | Value::Nil => self.array(0),
                one => {
                    self.array(1);
                    self.value(one);
                }
            }
        }
    }

    fn members(&mut self, record: &serde_json::Map<String, Json>) {
        self.table(record.values().filter(|v| !v.is_null()).count());
        for (key, value) in record.iter().filter(|(_, v)| !v.is_null()) {
            self.text(key.as_bytes());
            self.json(value);
        }
    }

    fn json(&mut self, json: &Json) {
        match json {
            Json::Null => self.nil(),
            Json::Bool(b) => self.value(&Value::Bool(*b)),
            Json::Number(n) => match n.as_i64() {
                Some(n) => self.int(n),
                None => self.number(n.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(s) => self.text(s.as_bytes()),
            Json::Array(items) => {
                self.array(items.len());
                items.iter().for_each(|item| self.json(item));
            }
            Json::Object(record) => self.members(record),
        }
    }

    /// The head of a map, which is an array when empty.
    fn table(&mut self, pairs: usize) {
        if pairs == 0 { self.array(0) } else { self.map(pairs) }
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.out.put_u8(tag);
        self.out.put_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::testing::{Random, hex, value};

    fn write(value: &Value, strict: bool) -> Vec<u8> {
        let mut out = Vec::new();
        Writer::new(&mut out, strict).value(value);
        out
    }

    fn read(bytes: &[u8]) -> Result<Value, Malformed> {
        Reader::new(Part::new(bytes)).value()
    }

    #[track_caller]
    fn check(value: &Value, expect: &str) {
        assert_eq!(write(value, false), hex(expect), "{value:?}");
        assert_eq!(read(&hex(expect)).as_ref(), Ok(value));
    }

    #[test]
    fn values_have_the_forms_that_servers_expect() {
        check(&Value::Nil, "c0");
        check(&Value::Bool(true), "c3");
        for (n, expect) in [
            (0, "00"),
            (127, "7f"),
            (128, "cc80"),
            (-1, "ff"),
            (-33, "d0df"),
            (65535, "cdffff"),
            (-32769, "d2ffff7fff"),
            (i64::MAX, "cf7fffffffffffffff"),
            (i64::MIN, "d38000000000000000"),
        ] {
            check(&Value::Int(n), expect);
        }
        check(&Value::Number(1.1), "cb3ff199999999999a");
        check(&Value::constant("hi"), "a26869");
        check(&Value::Text(vec![b'a'; 32].into()), &format!("da0020{}", "61".repeat(32)));
        check(&Value::Binary(Bytes::new()), "c400");
        check(&Value::Array(vec![Value::Int(1), Value::Nil]), "9201c0");
        check(&Value::Map(vec![(Value::constant("a"), Value::Int(1))]), "81a16101");
    }

    #[test]
    fn whole_numbers_go_as_integers_and_empty_tables_as_arrays() {
        for (value, expect) in [
            (Value::Number(2.0), "02"),
            (Value::Map(vec![]), "90"),
            (Value::Map(vec![(Value::constant("a"), Value::Nil)]), "81a161c0"),
            (Value::Text(Bytes::from_static(b"\xff")), "a1ff"),
        ] {
            assert_eq!(write(&value, false), hex(expect));
        }
    }

    #[test]
    fn to_python_text_that_is_no_utf8_goes_as_bin() {
        assert_eq!(write(&Value::Text(Bytes::from_static(b"\xff")), true), hex("c401ff"));
        assert_eq!(write(&Value::constant("ü"), true), hex("a2c3bc"));
    }

    #[test]
    fn an_entity_is_a_map_without_its_nulls() {
        let json = json!({"id": "x", "tags": null, "n": {}});
        let Json::Object(record) = json else { unreachable!() };
        let expect = hex("82a26964a178a16e90");
        assert_eq!(write(&Value::Entity(Arc::new(record)), false), expect);
    }

    #[test]
    fn lists_of_arguments_are_as_kong_sends_them() {
        let value = Value::Map(vec![
            (Value::constant("b"), Value::constant("")),
            (Value::constant("f"), Value::Bool(true)),
            (Value::constant("g"), Value::Array(vec![Value::Bool(true), Value::Bool(true)])),
        ]);
        for (value, expect) in [
            (value, "83a16291a0a16690a16792c3c3"),
            (Value::Map(vec![]), "80"),
            (Value::Array(vec![]), "80"),
            (Value::Nil, "c0"),
        ] {
            let mut out = Vec::new();
            Writer::new(&mut out, false).multi_map(&value);
            assert_eq!(out, hex(expect));
        }
    }

    #[test]
    fn a_message_is_found_however_it_is_cut() {
        let mut random = Random::new(7);
        for _ in 0..300 {
            let written = write(&value(&mut random, 4), false);
            let mut longer = written.clone();
            longer.extend_from_slice(b"\xa3foo");
            let mut scanner = Scanner::default();
            let mut found = None;
            for end in 0..=longer.len() {
                found = scanner.scan(&longer[..end]).expect("a message");
                if found.is_some() {
                    assert_eq!(end, written.len());
                    break;
                }
            }
            assert_eq!(found, Some(written.len()));
        }
    }

    #[test]
    fn whole_numbers_are_read_from_every_form() {
        for (bytes, expect) in [
            ("05", 5),
            ("cc80", 0x80),
            ("cd1234", 0x1234),
            ("ceffffffff", 0xffff_ffff),
            ("cf0000000100000000", 0x1_0000_0000),
            ("d0df", -33),
            ("ff", -1),
            ("cb4000000000000000", 2),
        ] {
            assert_eq!(Reader::new(Part::new(&hex(bytes))).int(), Ok(expect), "{bytes}");
        }
        for (bytes, fault) in
            [("cd12", Malformed::Short), ("a0", Malformed::Expected("a whole number"))]
        {
            assert_eq!(Reader::new(Part::new(&hex(bytes))).int(), Err(fault), "{bytes}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut random = Random::new(8);
        for _ in 0..500 {
            let once = read(&write(&value(&mut random, 4), false)).expect("readable");
            // Only now are empty maps arrays and whole numbers integers.
            assert_eq!(read(&write(&once, false)), Ok(once));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic_or_much_memory() {
        let mut random = Random::new(9);
        for _ in 0..20_000 {
            let bytes = random.bytes(40);
            let _ = read(&bytes);
            let mut scanner = Scanner::default();
            if let Ok(Some(length)) = scanner.scan(&bytes) {
                assert!(length <= bytes.len());
            }
        }
    }

    #[test]
    fn nesting_and_number_are_bounded() {
        assert_eq!(read(&[0x91; 5000]), Err(Malformed::Depth));
        assert_eq!(read(&hex("ddffffffff")), Err(Malformed::Values));
        assert_eq!(read(&hex("dc0100c0")), Err(Malformed::Short));
        assert_eq!(read(&hex("c1")), Err(Malformed::Byte));
        assert_eq!(Scanner::default().scan(&hex("ddffffffff")), Err(Malformed::Values));
    }
}
