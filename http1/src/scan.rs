//! Finding the end of a head, and its lines.

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING},
};
use memchr::memchr;

use crate::Names;

/// Why a request is refused, and with which status; or why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// As nginx answers it: 400, 414, 494, 501, 505.
    pub status: u16,
    /// For the log.
    pub reason: &'static str,
}

impl Refusal {
    pub(crate) const fn bad(reason: &'static str) -> Refusal {
        Refusal { status: 400, reason }
    }

    pub(crate) const fn new(status: u16, reason: &'static str) -> Refusal {
        Refusal { status, reason }
    }

    /// The status as such.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST)
    }
}

/// What lines may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// CR LF ends a line, nothing else does: requests.
    Strict,
    /// LF alone does, too: answers, which old programs write so.
    Lenient,
}

/// Looks for the end of a head in a buffer that grows. What was looked through once is not looked
/// through again.
#[derive(Debug, Clone, Copy)]
pub struct Scan {
    /// Where to go on.
    at: usize,
    /// Where the line begins that is looked through.
    line: usize,
    /// How long one may be.
    line_max: usize,
}

impl Default for Scan {
    fn default() -> Scan {
        Scan::within(usize::MAX)
    }
}

impl Scan {
    /// For lines of at most `line_max` bytes, their ends included.
    pub fn within(line_max: usize) -> Scan {
        Scan { at: 0, line: 0, line_max }
    }

    /// Takes a whole head off the buffer: the lines with the empty one that ends them.
    ///
    /// # Errors
    /// If there are more than `limit` bytes without an end, or a line is too long: 414 within the
    /// first line, else 494.
    pub fn take(&mut self, buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, Refusal> {
        while let Some(found) = buffer.get(self.at..).and_then(|rest| memchr(b'\n', rest)) {
            let after = self.at + found + 1;
            self.check_line(after)?;
            let end = match buffer.get(after..).unwrap_or_default() {
                [b'\n', ..] => Some(after + 1),
                [b'\r', b'\n', ..] => Some(after + 2),
                // It may yet become one.
                [] | [b'\r'] => {
                    self.at = after - 1;
                    return self.none_yet(buffer, limit);
                }
                _ => None,
            };
            (self.at, self.line) = (after, after);
            if let Some(end) = end {
                *self = Scan::within(self.line_max);
                return match end > limit {
                    true => Err(too_large(buffer, limit)),
                    false => Ok(Some(buffer.split_to(end).freeze())),
                };
            }
        }
        self.at = buffer.len();
        self.check_line(buffer.len())?;
        self.none_yet(buffer, limit)
    }

    /// Refuses a line that is longer than it may be by here.
    fn check_line(&self, here: usize) -> Result<(), Refusal> {
        match here.saturating_sub(self.line) > self.line_max {
            true if self.line == 0 => Err(LINE_TOO_LARGE),
            true => Err(HEADER_TOO_LARGE),
            false => Ok(()),
        }
    }

    fn none_yet(&self, buffer: &[u8], limit: usize) -> Result<Option<Bytes>, Refusal> {
        match buffer.len() > limit {
            true => Err(too_large(buffer, limit)),
            false => Ok(None),
        }
    }
}

fn too_large(buffer: &[u8], limit: usize) -> Refusal {
    match memchr(b'\n', buffer) {
        Some(first) if first < limit => HEADER_TOO_LARGE,
        _ => LINE_TOO_LARGE,
    }
}

const LINE_TOO_LARGE: Refusal = Refusal::new(414, "request line too large");
const HEADER_TOO_LARGE: Refusal = Refusal::new(494, "request header too large");

/// Takes the line at `from` off a head: where its content ends, and where the next one starts.
pub(crate) fn line(head: &[u8], from: usize, lines: Lines) -> Result<(usize, usize), Refusal> {
    let rest = head.get(from..).unwrap_or_default();
    let Some(length) = memchr(b'\n', rest) else {
        return Err(Refusal::bad("line without end"));
    };
    let end = from + length;
    match (length.checked_sub(1).and_then(|at| rest.get(at)), lines) {
        (Some(b'\r'), _) => Ok((end - 1, end + 1)),
        (_, Lines::Lenient) => Ok((end, end + 1)),
        (_, Lines::Strict) => Err(Refusal::bad("line feed without carriage return")),
    }
}

/// What the lines of a head say about the message and its connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts {
    /// The one length that Content-Length gives.
    pub(crate) length: Option<u64>,
    /// Whether Transfer-Encoding says chunked, which is all that is understood.
    pub(crate) chunked: bool,
    /// Whether Connection says close.
    closes: bool,
    /// Whether it says keep-alive.
    stays: bool,
    /// Whether Expect says 100-continue.
    pub(crate) expects: bool,
}

impl Facts {
    fn learn(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Refusal> {
        if name == CONTENT_LENGTH {
            if self.length.is_some() {
                return Err(Refusal::bad("more than one Content-Length"));
            }
            self.length = Some(length(value)?);
        } else if name == TRANSFER_ENCODING {
            if self.chunked {
                return Err(Refusal::bad("more than one Transfer-Encoding"));
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::new(501, "unknown Transfer-Encoding"));
            }
            self.chunked = true;
        } else if name == CONNECTION {
            for word in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                self.closes |= word.eq_ignore_ascii_case(b"close");
                self.stays |= word.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if name == EXPECT {
            self.expects |= value.eq_ignore_ascii_case(b"100-continue");
        }
        Ok(())
    }

    /// Whether the connection can go on after the message.
    pub(crate) fn persists(&self, version: Version) -> bool {
        !self.closes && (self.stays || version != Version::HTTP_10)
    }
}

/// Reads header lines from `from` up to the empty one into `headers`.
pub(crate) fn fields(
    head: &Bytes,
    mut from: usize,
    lines: Lines,
    max: usize,
    headers: &mut HeaderMap,
    names: &mut Names,
) -> Result<Facts, Refusal> {
    let mut facts = Facts::default();
    loop {
        let (end, next) = line(head, from, lines)?;
        if end == from {
            return Ok(facts);
        }
        if names.len() >= max {
            return Err(Refusal::new(494, "too many headers"));
        }
        let text = head.get(from..end).unwrap_or_default();
        if matches!(text, [b' ' | b'\t', ..]) {
            return Err(Refusal::bad("folded header"));
        }
        let Some(colon) = memchr(b':', text) else {
            return Err(Refusal::bad("header without colon"));
        };
        // Which refuses blanks before the colon.
        let Ok(name) = HeaderName::from_bytes(text.get(..colon).unwrap_or_default()) else {
            return Err(Refusal::bad("invalid header name"));
        };
        let value = trimmed(text, colon + 1);
        let value = head.slice(from + value.start..from + value.end);
        let Ok(value) = HeaderValue::from_maybe_shared(value) else {
            return Err(Refusal::bad("invalid header value"));
        };
        facts.learn(&name, value.as_bytes())?;
        names.push(from, colon);
        headers.append(name, value);
        from = next;
    }
}

/// What is left from `start` without blanks at either end.
fn trimmed(text: &[u8], mut start: usize) -> std::ops::Range<usize> {
    let mut end = text.len();
    let is_blank = |at: usize| matches!(text.get(at), Some(b' ' | b'\t'));
    while start < end && is_blank(start) {
        start += 1;
    }
    while start < end && is_blank(end - 1) {
        end -= 1;
    }
    start..end
}

/// A length: digits, nothing else.
fn length(digits: &[u8]) -> Result<u64, Refusal> {
    let fine = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| fine);
    text.and_then(|text| text.parse().ok()).ok_or(Refusal::bad("invalid Content-Length"))
}
