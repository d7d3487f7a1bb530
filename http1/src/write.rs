//! Writing heads and frames.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, Method, StatusCode, Version};

use crate::Names;

/// Writes the first line of a request of HTTP/1.1.
pub fn request_line(out: &mut Vec<u8>, method: &Method, target: &[&[u8]]) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    for part in target {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Writes the first line of an answer.
pub fn status_line(out: &mut Vec<u8>, version: Version, status: StatusCode) {
    if status == StatusCode::OK && version == Version::HTTP_11 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes the headers that `keep` holds for good: names as they came, those of others in title
/// case.
pub fn headers(
    out: &mut Vec<u8>,
    headers: &HeaderMap,
    names: &Names,
    keep: impl Fn(&HeaderName) -> bool,
) {
    let mut next = 0;
    for (name, value) in headers.iter().filter(|(name, _)| keep(name)) {
        match names.spelling(name.as_str(), &mut next) {
            Some(spelling) => out.extend_from_slice(spelling),
            None => name_as_kong_writes_it(out, name.as_str()),
        }
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Names that Kong writes with more capitals than is usual: whole, or those that begin so.
const OF_KONG: [&[u8]; 5] = [
    b"RateLimit-",
    b"WWW-Authenticate",
    b"X-Consumer-Custom-ID",
    b"X-Consumer-ID",
    b"X-RateLimit-",
];

/// Writes a name in title case, or as Kong has it where that differs.
fn name_as_kong_writes_it(out: &mut Vec<u8>, name: &str) {
    let start = out.len();
    name_in_title_case(out, name);
    let Some(name) = out.get_mut(start..) else { return };
    if !matches!(name, [b'R', b'a', ..] | [b'W', b'w', ..] | [b'X', b'-', b'C' | b'R', ..]) {
        return;
    }
    for own in OF_KONG {
        let fits = own.ends_with(b"-") || own.len() == name.len();
        if let Some(start) = name.get_mut(..own.len()).filter(|_| fits)
            && start.eq_ignore_ascii_case(own)
        {
            start.copy_from_slice(own);
            return;
        }
    }
}

/// Writes a name as is usual: the first letter and those after a hyphen in upper case. Names have
/// no other bytes than ASCII's.
pub fn name_in_title_case(out: &mut Vec<u8>, name: &str) {
    let start = out.len();
    out.extend_from_slice(name.as_bytes());
    let (Some([first, text @ ..]), Some((_, letters)), Some((_, before))) =
        (out.get_mut(start..), name.as_bytes().split_first(), name.as_bytes().split_last())
    else {
        return;
    };
    first.make_ascii_uppercase();
    // Eight letters at a time.
    let words = text.as_chunks_mut().0.iter_mut().zip(letters.as_chunks().0);
    for ((text, letters), before) in words.zip(before.as_chunks().0) {
        *text = capitals(*letters, *before);
    }
    // The last eight may have been among those before them.
    match (text.last_chunk_mut(), letters.last_chunk(), before.last_chunk()) {
        (Some(text), Some(letters), Some(before)) => *text = capitals(*letters, *before),
        _ => {
            for (letter, before) in text.iter_mut().zip(before) {
                if *before == b'-' {
                    letter.make_ascii_uppercase();
                }
            }
        }
    }
}

const WORD: usize = size_of::<u64>();

/// Letters, those in upper case that have a hyphen `before` them.
fn capitals(letters: [u8; WORD], before: [u8; WORD]) -> [u8; WORD] {
    const EACH: u64 = u64::from_ne_bytes([1; WORD]);
    const TOP: u64 = EACH * 0x80;
    let (letters, before) = (u64::from_ne_bytes(letters), u64::from_ne_bytes(before));
    // The top bit of a byte says what holds for it; sums of ASCII don't reach the next byte.
    let no_hyphen = (before ^ (EACH * 0x2d)) + EACH * 0x7f;
    let from_a = letters + EACH * (0x80 - 0x61);
    let behind_z = letters + EACH * (0x80 - 0x7b);
    (letters ^ ((from_a & !behind_z & !no_hyphen & TOP) >> 2)).to_ne_bytes()
}

/// Writes a number in decimal digits.
pub fn number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        if let Some(digit) = digits.get_mut(first) {
            *digit = b'0' + (number % 10) as u8;
        }
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}

/// Writes the size of a chunk, with the end of its line.
pub fn chunk_size(out: &mut Vec<u8>, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = (size >> (place * 4)) & 0xf;
        out.push(b"0123456789abcdef".get(digit).copied().unwrap_or(b'0'));
    }
    out.extend_from_slice(b"\r\n");
}

/// The Date header's text, made anew once a second.
#[derive(Debug, Default)]
pub struct Date {
    second: u64,
    text: Vec<u8>,
}

impl Date {
    /// As RFC 9110 (5.6.7) wants it: `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn text(&mut self, now: SystemTime) -> &[u8] {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text = httpdate::fmt_http_date(now).into_bytes();
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_hexadecimal() {
        let check = |size, expect: &str| {
            let mut out = Vec::new();
            chunk_size(&mut out, size);
            assert_eq!(out, format!("{expect}\r\n").as_bytes());
        };
        check(0, "0");
        check(15, "f");
        check(16, "10");
        check(0x1_2345, "12345");
    }

    #[test]
    fn numbers_are_decimal() {
        for value in [0, 7, 10, 1024, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    #[test]
    fn names_of_kong_are_written_as_kong_does() {
        for (name, expect) in [
            ("x-ratelimit-limit-day", "X-RateLimit-Limit-Day"),
            ("ratelimit-reset", "RateLimit-Reset"),
            ("www-authenticate", "WWW-Authenticate"),
            ("x-consumer-id", "X-Consumer-ID"),
            ("x-consumer-idea", "X-Consumer-Idea"),
            ("x-consumer-custom-id", "X-Consumer-Custom-ID"),
            ("x-credential-identifier", "X-Credential-Identifier"),
            ("", ""),
        ] {
            let mut out = b"x".to_vec();
            name_as_kong_writes_it(&mut out, name);
            assert_eq!(out, format!("x{expect}").as_bytes());
        }
    }

    #[test]
    fn names_have_their_usual_case() {
        let check = |name, expect: &str| {
            let mut out = b"x".to_vec();
            name_in_title_case(&mut out, name);
            assert_eq!(out, format!("x{expect}").as_bytes());
        };
        check("x-kong-request-id", "X-Kong-Request-Id");
        check("te", "Te");
        check("", "");
        check("a-", "A-");
        check("-a", "-A");
        check("abcde-gh", "Abcde-Gh");
        check("abcdef-hi", "Abcdef-Hi");
        check("x-ratelimit-limit-day", "X-Ratelimit-Limit-Day");
        check("a--b_c-0-~-z-zzz{-a`-b", "A--B_c-0-~-Z-Zzz{-A`-B");
        check("x-ratelimit-remaining-sec-x-y-z-0", "X-Ratelimit-Remaining-Sec-X-Y-Z-0");
    }

    #[test]
    fn dates_change_by_the_second() {
        let mut date = Date::default();
        let at = |seconds| UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        assert_eq!(date.text(at(784_111_777)), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.text(at(784_111_778)), b"Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
