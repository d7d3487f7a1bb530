//! What the tests of this crate share: seeded randomness, hexadecimal bytes.

use bytes::Bytes;
use silverback_pdk::Value;

/// Numbers that look random and are the same on every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Up to `most` bytes.
    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next() as u8).collect()
    }
}

/// Any value, up to `depth` deep.
pub(crate) fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 6 } else { 8 }) {
        0 => Value::Nil,
        1 => Value::Bool(random.below(2) == 1),
        2 => Value::Int((random.next() >> random.below(64)).cast_signed()),
        3 => Value::Number(random.below(1000) as f64 / 8.0),
        4 => Value::Text(Bytes::from(random.bytes(300))),
        5 => Value::Binary(Bytes::from(random.bytes(300))),
        6 => Value::Array((0..random.below(20)).map(|_| value(random, depth - 1)).collect()),
        _ => Value::Map(
            (0..random.below(20))
                .map(|i| (Value::from(format!("k{i}")), value(random, depth - 1)))
                .collect(),
        ),
    }
}

/// Bytes from hexadecimal digits; blanks do not count.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hex"))
        .collect()
}
