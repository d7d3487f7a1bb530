//! What has come in on a connection, and parts of messages in it.
//!
//! Most messages are a few dozen bytes: those are decoded where they were read to, and only text
//! that outlives its message is copied. Large ones become shared bytes, of which parts are taken
//! without copying.

use std::ops::Range;

use bytes::Bytes;

/// How much room there is at least for each read.
const READ_SIZE: usize = 4 << 10;
/// The most room that is made for what was only announced, and the largest buffer that is kept.
const KEEP_SIZE: usize = 256 << 10;
/// Messages of this size are shared rather than copied from.
const LARGE_SIZE: usize = 32 << 10;
/// Parts of this size are not worth holding a large message for.
const SMALL_SIZE: usize = 1 << 10;

/// Some bytes of a message.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    bytes: &'a [u8],
    /// The whole message, where it can be shared.
    whole: Option<&'a Bytes>,
}

impl<'a> Part<'a> {
    /// All of a message; what is kept of it will be copied.
    pub fn new(message: &'a [u8]) -> Part<'a> {
        Part { bytes: message, whole: None }
    }

    /// All of a message; what is kept of it will share its bytes.
    pub fn shared(message: &'a Bytes) -> Part<'a> {
        Part { bytes: message, whole: Some(message) }
    }

    /// The bytes themselves.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes at these positions; none if not all of them are there.
    #[inline]
    pub fn get(self, range: Range<usize>) -> Option<Part<'a>> {
        Some(Part { bytes: self.bytes.get(range)?, whole: self.whole })
    }

    /// The bytes, to be kept.
    pub fn to_bytes(self) -> Bytes {
        match self.whole {
            Some(whole) if self.bytes.len() > SMALL_SIZE => whole.slice_ref(self.bytes),
            _ => Bytes::copy_from_slice(self.bytes),
        }
    }
}

/// Bytes that came in and were not taken yet.
#[derive(Debug)]
pub(crate) struct Input {
    /// Written to its end once: reading into it needs no clearing.
    buffer: Vec<u8>,
    /// What is there and not taken.
    held: Range<usize>,
    /// The message that was taken last, if it is large.
    large: Bytes,
}

impl Input {
    /// An empty one.
    pub(crate) fn new() -> Input {
        Input { buffer: vec![0; READ_SIZE], held: 0..0, large: Bytes::new() }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What is there.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.held.clone()).unwrap_or_default()
    }

    /// What is there, to be tried as a message; none where there is nothing, or so much that a
    /// message is better taken whole.
    #[inline]
    pub(crate) fn small(&self) -> Option<Part<'_>> {
        let bytes = self.bytes();
        (1..LARGE_SIZE).contains(&bytes.len()).then(|| Part::new(bytes))
    }

    /// Drops bytes from the front.
    #[inline]
    pub(crate) fn skip(&mut self, length: usize) {
        self.held.start = self.held.end.min(self.held.start + length);
    }

    /// Takes a message off the front; there must be that many bytes. It stays where it is until
    /// more is read.
    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Part<'_> {
        let at = self.held.start;
        if length >= LARGE_SIZE {
            return self.take_large(at..at + length);
        }
        self.skip(length);
        Part::new(self.buffer.get(at..self.held.start).unwrap_or_default())
    }

    #[cold]
    fn take_large(&mut self, message: Range<usize>) -> Part<'_> {
        let rest = self.buffer.get(message.end..self.held.end).unwrap_or_default();
        let mut buffer = vec![0; READ_SIZE.max(rest.len())];
        if let Some(start) = buffer.get_mut(..rest.len()) {
            start.copy_from_slice(rest);
        }
        self.held = 0..rest.len();
        let mut whole = std::mem::replace(&mut self.buffer, buffer);
        whole.truncate(message.end);
        self.large = Bytes::from(whole).slice(message.start..);
        Part::shared(&self.large)
    }

    /// Room for reading, for a message of `least` bytes. What a server only announces takes no
    /// memory before it comes.
    #[inline]
    pub(crate) fn room(&mut self, least: usize) -> &mut [u8] {
        if self.is_empty() {
            self.held = 0..0;
        }
        if self.held.end > 0 || least > READ_SIZE || !self.large.is_empty() {
            self.make_room(least);
        }
        self.buffer.get_mut(self.held.end..).unwrap_or_default()
    }

    /// Where a message came in part, or is large.
    #[cold]
    fn make_room(&mut self, least: usize) {
        self.large = Bytes::new();
        let missing = least.saturating_sub(self.held.len()).clamp(READ_SIZE / 2, KEEP_SIZE);
        if self.buffer.len() - self.held.end < missing {
            self.buffer.copy_within(self.held.clone(), 0);
            self.held = 0..self.held.len();
            let needed = self.held.end + missing;
            if self.buffer.len() < needed {
                self.buffer.resize(needed, 0);
            }
        }
    }

    /// That many bytes have been read into the room.
    #[inline]
    pub(crate) fn came(&mut self, length: usize) {
        self.held.end = self.buffer.len().min(self.held.end + length);
    }

    /// Gives back what a large message took.
    pub(crate) fn shrink(&mut self) {
        self.large = Bytes::new();
        if self.is_empty() && self.buffer.len() > KEEP_SIZE {
            *self = Input::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    /// Whatever the sizes of messages and reads, what comes out is what came in.
    #[test]
    fn messages_come_out_as_they_came_in() {
        let mut random = Random::new(11);
        let mut input = Input::new();
        let (mut sent, mut taken) = (0usize, 0usize);
        for _ in 0..2000 {
            let most = if random.below(20) == 0 { 100_000 } else { 300 };
            let length = 1 + random.below(most);
            while input.bytes().len() < length {
                let room = input.room(length);
                let came = 1 + random.below(room.len());
                for byte in &mut room[..came] {
                    *byte = (sent % 251) as u8;
                    sent += 1;
                }
                input.came(came);
            }
            let message = input.take(length);
            assert_eq!(message.bytes().len(), length);
            let kept = message.to_bytes();
            for byte in &kept {
                assert_eq!(usize::from(*byte), taken % 251);
                taken += 1;
            }
            if random.below(10) == 0 {
                input.shrink();
            }
        }
    }

    #[test]
    fn only_what_is_large_is_shared() {
        let mut input = Input::new();
        let room = input.room(LARGE_SIZE);
        room.fill(7);
        let length = room.len();
        input.came(length);
        let message = input.take(LARGE_SIZE);
        let whole = message.to_bytes();
        assert_eq!(whole.as_ptr(), message.bytes().as_ptr());
        let small = message.get(5..25).expect("a part");
        assert_ne!(small.to_bytes().as_ptr(), small.bytes().as_ptr());
        assert!(message.get(5..LARGE_SIZE + 1).is_none());
    }

    #[test]
    fn what_is_announced_takes_little() {
        let mut input = Input::new();
        assert!(input.room(128 << 20).len() <= KEEP_SIZE);
    }
}
