//! The head of an answer.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version};

use crate::{
    Framing, Lines, Names, Refusal,
    request::version,
    scan::{Facts, fields, line},
};

/// The head of an answer.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// 1.0 or 1.1.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// How their names were written.
    pub names: Names,
    /// How its body ends.
    pub framing: Framing,
    /// Whether the connection can go on afterwards, as far as the upstream is concerned.
    pub persists: bool,
}

/// Reads a head, as [`Scan::take`](crate::Scan::take) gives it, into `headers`, which is empty.
/// How its body ends depends on what was asked.
///
/// # Errors
/// Where it is malformed, or could be understood in two ways.
pub fn response(
    head: &Bytes,
    method: &Method,
    lines_max: usize,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let mut headers = headers;
    let (end, next) = line(head, 0, Lines::Lenient)?;
    let (version, status) = status_line(head.get(..end).unwrap_or_default())?;
    let mut names = Names::new(head.clone());
    let facts = fields(head, next, Lines::Lenient, lines_max, &mut headers, &mut names)?;
    let framing = framing(&facts, status, method, version)?;
    // What speaks of a body where there can be none may send one all the same, and that would be
    // taken for the next answer.
    let odd =
        status == StatusCode::NO_CONTENT && (facts.chunked || facts.length.is_some_and(|l| l > 0));
    let persists = framing != Framing::UntilClose && !odd && facts.persists(version);
    Ok(Response { status, version, headers, names, framing, persists })
}

/// `HTTP/1.1 200 OK`; the blank and the words at the end may be missing.
fn status_line(text: &[u8]) -> Result<(Version, StatusCode), Refusal> {
    let (start, rest) = text.split_at_checked(8).ok_or(Refusal::bad("no status line"))?;
    let version = version(start)?;
    let (code, reason) = match rest {
        [b' ', code @ ..] if code.len() >= 3 => code.split_at(3),
        _ => return Err(Refusal::bad("invalid status line")),
    };
    let status = StatusCode::from_bytes(code).ok().filter(|_| matches!(reason, [] | [b' ', ..]));
    Ok((version, status.ok_or(Refusal::bad("invalid status"))?))
}

/// How the body ends (RFC 9112, 6.3). What could be taken for two things is none: nginx, too,
/// refuses an answer with both lengths, or with another coding than chunked.
fn framing(
    facts: &Facts,
    status: StatusCode,
    method: &Method,
    version: Version,
) -> Result<Framing, Refusal> {
    let framing = match (facts.chunked, facts.length) {
        (true, Some(_)) => {
            return Err(Refusal::bad("both Content-Length and Transfer-Encoding"));
        }
        (true, None) if version == Version::HTTP_10 => {
            return Err(Refusal::bad("Transfer-Encoding in HTTP/1.0"));
        }
        (true, None) => Framing::Chunked,
        (false, Some(0)) => Framing::None,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    };
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || method == Method::HEAD;
    Ok(if bodiless { Framing::None } else { framing })
}
