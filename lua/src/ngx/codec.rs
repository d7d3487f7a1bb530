//! Escaping, base64 and check sums (`ngx.escape_uri` and its like).

use std::fmt::Write;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use mlua::Table;

use crate::{
    bind,
    raw::{Args, Kind, Out, Outcome},
    state::State,
};

/// As nginx decodes: with padding or without.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const DECODER: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_DECODER: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Puts the functions into the table `ngx`, and those of other modules into `native`.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, ngx: &Table, native: &Table) -> mlua::Result<()> {
    ngx.set("escape_uri", bind::fast(state, escape_uri)?)?;
    ngx.set("unescape_uri", bind::fast(state, |args| text_of(args, "unescape_uri", unescape))?)?;
    ngx.set("encode_base64", bind::fast(state, encode_base64)?)?;
    ngx.set("decode_base64", bind::fast(state, decode_base64)?)?;
    ngx.set("quote_sql_str", bind::fast(state, |args| text_of(args, "quote_sql_str", quote))?)?;
    let crc = |args: &Args<'_>| Outcome::One(f64::from(crc32(&own_text(args, 1))).into());
    ngx.set("crc32_short", bind::fast(state, crc)?)?;
    ngx.set("crc32_long", bind::fast(state, crc)?)?;
    native.set("encode_base64url", bind::fast(state, encode_base64url)?)?;
    native.set("decode_base64url", bind::fast(state, decode_base64url)?)?;
    native.set("decode_base64mime", bind::fast(state, decode_base64mime)?)?;
    native.set("hex", bind::fast(state, |args| text_of(args, "to_hex", hex))?)
}

/// A text, a number as text, or nothing for nil, as lua-resty-core takes it.
pub(super) fn own_text(args: &Args<'_>, position: usize) -> Vec<u8> {
    match args.kind(position) {
        Kind::Text => args.bytes(position).unwrap_or_default().to_vec(),
        Kind::Number => number_text(args.number(position).unwrap_or_default()).into_bytes(),
        Kind::Boolean => args.truthy(position).to_string().into_bytes(),
        Kind::None | Kind::Nil => Vec::new(),
        other => other.name().as_bytes().to_vec(),
    }
}

/// A number as Lua's `tostring` writes it.
pub(super) fn number_text(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e14 {
        return format!("{number:.0}");
    }
    let Some(exponent) = (number != 0.0).then(|| number.abs().log10().floor()) else {
        return "0".to_owned();
    };
    if !number.is_finite() {
        let sign = if number < 0.0 { "-" } else { "" };
        return if number.is_nan() { "nan".to_owned() } else { format!("{sign}inf") };
    }
    #[expect(clippy::cast_possible_truncation, reason = "between -324 and 308")]
    let exponent = exponent as i32;
    if !(-5..14).contains(&exponent) {
        let text = format!("{number:.13e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        let power: i32 = power.parse().unwrap_or_default();
        return format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs());
    }
    let places = usize::try_from(13 - exponent).unwrap_or_default();
    let text = format!("{number:.places$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A number, which LuaJIT keeps as one of two kinds.
pub(super) fn number(value: &mlua::Value) -> Option<f64> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "LuaJIT's integers have 32 bits")]
        mlua::Value::Integer(number) => Some(*number as f64),
        mlua::Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// A function from text to text.
fn text_of(args: &Args<'_>, name: &str, work: fn(&[u8]) -> Vec<u8>) -> Outcome {
    if args.len() == 0 {
        return Outcome::Raise(format!(
            "bad argument #1 to '{name}' (string expected, got no value)"
        ));
    }
    Outcome::One(Out::Owned(work(&own_text(args, 1))))
}

/// (text, kind): kind 0 keeps what may stand in a whole URI, 2 (the default) in a component.
fn escape_uri(args: &Args<'_>) -> Outcome {
    let kind = args.number(2).unwrap_or(2.0);
    let plain: &[u8] = match kind {
        0.0 => b"!$&'()*+,-./:;=@_~[]\\^`{|}<>\"",
        2.0 => b"-._~!'()*",
        _ => return Outcome::Raise(format!("\"type\" {} not supported yet", number_text(kind))),
    };
    Outcome::One(Out::Owned(escape(&own_text(args, 1), plain)))
}

/// With everything escaped but letters, digits and those given.
fn escape(text: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            out.push(byte);
        } else {
            out.push(b'%');
            out.extend(hex_digits(byte, b"0123456789ABCDEF"));
        }
    }
    out
}

/// A component of a query string, escaped.
pub(super) fn escape_component(text: &[u8]) -> Vec<u8> {
    escape(text, b"-._~!'()*")
}

fn hex_digits(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}

/// Escapes undone, "+" a blank; broken escapes stay.
pub(super) fn unescape(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (other, _) => out.push(other),
        }
    }
    out
}

fn hex(text: &[u8]) -> Vec<u8> {
    text.iter().flat_map(|&byte| hex_digits(byte, b"0123456789abcdef")).collect()
}

/// As MySQL's client library quotes.
fn quote(text: &[u8]) -> Vec<u8> {
    let mut out = vec![b'\''];
    for &byte in text {
        match byte {
            0 => out.extend(b"\\0"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            8 => out.extend(b"\\b"),
            b'\t' => out.extend(b"\\t"),
            26 => out.extend(b"\\Z"),
            b'\\' | b'\'' | b'"' => out.extend([b'\\', byte]),
            other => out.push(other),
        }
    }
    out.push(b'\'');
    out
}

fn encode_base64(args: &Args<'_>) -> Outcome {
    let engine =
        if args.truthy(2) { &general_purpose::STANDARD_NO_PAD } else { &general_purpose::STANDARD };
    Outcome::One(engine.encode(own_text(args, 1)).into())
}

fn decoded(args: &Args<'_>, engine: &GeneralPurpose) -> Outcome {
    let Some(text) = args.bytes(1) else {
        return Outcome::Raise("string argument only".to_owned());
    };
    match engine.decode(text) {
        Ok(bytes) => Outcome::One(Out::Owned(bytes)),
        Err(_) => Outcome::One(Out::Nil),
    }
}

fn decode_base64(args: &Args<'_>) -> Outcome {
    decoded(args, &DECODER)
}

fn encode_base64url(args: &Args<'_>) -> Outcome {
    match args.bytes(1) {
        Some(text) => Outcome::One(general_purpose::URL_SAFE_NO_PAD.encode(text).into()),
        None => Outcome::nil("must provide a string"),
    }
}

fn decode_base64url(args: &Args<'_>) -> Outcome {
    match args.bytes(1).map(|text| URL_DECODER.decode(text)) {
        Some(Ok(bytes)) => Outcome::One(Out::Owned(bytes)),
        Some(Err(_)) => Outcome::nil("invalid input"),
        None => Outcome::nil("must provide a string"),
    }
}

/// What is no base64 is passed over.
fn decode_base64mime(args: &Args<'_>) -> Outcome {
    let Some(text) = args.bytes(1) else {
        return Outcome::Raise("string argument only".to_owned());
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let text: Vec<u8> = text.iter().copied().filter(plain).collect();
    match DECODER.decode(text) {
        Ok(bytes) => Outcome::One(Out::Owned(bytes)),
        Err(_) => Outcome::One(Out::Nil),
    }
}

/// The check sum of IEEE 802.3.
fn crc32(text: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(text);
    crc.sum()
}

/// As a text of hexadecimal digits, lower case.
pub(super) fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_lua_does() {
        for (number, expect) in [
            (0.0, "0"),
            (-3.0, "-3"),
            (1e14, "1e+14"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.33333333333333"),
            (1e100, "1e+100"),
            (1.5e-7, "1.5e-07"),
            (123_456.789, "123456.789"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number_text(number), expect, "{number:e}");
        }
    }
}
