//! The head of a request.

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use memchr::{memchr, memchr_iter};

use crate::{
    Framing, Lines, Names, Refusal,
    scan::{Facts, fields, line},
};

/// The head of a request.
#[derive(Debug)]
pub struct Request {
    /// The method, in the case in which it came.
    pub method: Method,
    /// What is asked for.
    pub target: Target,
    /// 1.0 or 1.1.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// How their names were written.
    pub names: Names,
    /// How its body ends.
    pub framing: Framing,
    /// Whether the client waits for 100 before it sends the body.
    pub expects: bool,
    /// Whether the connection can go on afterwards, as far as the client is concerned.
    pub persists: bool,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Path and query, mostly. `*` and the authority of CONNECT stand here, too. There are no
    /// blanks and no control characters in it; what is no ASCII passes, and may be no UTF-8.
    pub path: Bytes,
    /// The host and port of an absolute URI: it counts, not the Host header (RFC 9112, 3.2.2).
    pub authority: Option<Bytes>,
}

/// Reads a head, as [`Scan::take`](crate::Scan::take) gives it, into `headers`, which is empty.
///
/// # Errors
/// Where it is malformed, or could be understood in two ways.
pub fn request(head: &Bytes, lines_max: usize, headers: HeaderMap) -> Result<Request, Refusal> {
    let mut headers = headers;
    let (end, next) = line(head, 0, Lines::Strict)?;
    let (method, target, version) = request_line(head, end)?;
    let mut names = Names::new(head.clone());
    let facts = fields(head, next, Lines::Strict, lines_max, &mut headers, &mut names)?;
    let framing = framing(&facts, version)?;
    let persists = facts.persists(version);
    let expects = facts.expects && version == Version::HTTP_11 && framing != Framing::None;
    Ok(Request { method, target, version, headers, names, framing, expects, persists })
}

/// Whether what has come so far can become a request: who speaks something else, TLS for one, need
/// not be waited for.
///
/// # Errors
/// If it can't.
pub fn begins_well(start: &[u8]) -> Result<(), Refusal> {
    let method = start.split(|&byte| byte == b' ').next().unwrap_or_default();
    match start == b"\r" || Method::from_bytes(method).is_ok() {
        true => Ok(()),
        false => Err(Refusal::bad("invalid method")),
    }
}

/// What a head that is refused says it asks for, as far as it can be read: the method, and the
/// target if its line is whole. It is for the log alone.
pub fn asks_for(start: &[u8]) -> (Option<Method>, Option<&[u8]>) {
    let end = memchr(b'\n', start);
    let mut words =
        start.get(..end.unwrap_or(start.len())).unwrap_or_default().split(|b| *b == b' ');
    let method = words.next().and_then(|method| Method::from_bytes(method).ok());
    let target = words.next().filter(|target| end.is_some() && target.starts_with(b"/"));
    (method, target)
}

fn request_line(head: &Bytes, end: usize) -> Result<(Method, Target, Version), Refusal> {
    let text = head.get(..end).unwrap_or_default();
    let mut blanks = memchr_iter(b' ', text);
    let (Some(first), Some(second), None) = (blanks.next(), blanks.next(), blanks.next()) else {
        return Err(Refusal::bad("invalid request line"));
    };
    let method = text.get(..first).and_then(|method| Method::from_bytes(method).ok());
    let method = method.ok_or(Refusal::bad("invalid method"))?;
    let version = version(text.get(second + 1..).unwrap_or_default())?;
    let target = head.slice(first + 1..second);
    if target.is_empty() || target.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
        return Err(Refusal::bad("invalid request target"));
    }
    Ok((method, split(&target)?, version))
}

pub(crate) fn version(text: &[u8]) -> Result<Version, Refusal> {
    match text {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Refusal::new(505, "unknown version of HTTP"))
        }
        _ => Err(Refusal::bad("invalid version of HTTP")),
    }
}

/// Takes an absolute URI apart, and drops a fragment, which no target has.
fn split(target: &Bytes) -> Result<Target, Refusal> {
    let end = memchr(b'#', target).unwrap_or(target.len());
    let target = target.slice(..end);
    if target.is_empty() {
        return Err(Refusal::bad("invalid request target"));
    }
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let Some(scheme) = scheme else { return Ok(Target { path: target, authority: None }) };
    let rest = target.slice(scheme.len()..);
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = (rest.slice(..end), rest.slice(end..));
    if authority.is_empty() {
        return Err(Refusal::bad("absolute target without a host"));
    }
    let path = match path.first() {
        Some(b'/') => path,
        Some(_) => [b"/", &path[..]].concat().into(),
        None => Bytes::from_static(b"/"),
    };
    Ok(Target { path, authority: Some(authority) })
}

/// How the body ends (RFC 9112, 6.3). nginx, too, refuses both lengths, and chunks from HTTP/1.0.
fn framing(facts: &Facts, version: Version) -> Result<Framing, Refusal> {
    match (facts.chunked, facts.length) {
        (true, Some(_)) => Err(Refusal::bad("both Content-Length and Transfer-Encoding")),
        (true, None) if version == Version::HTTP_10 => {
            Err(Refusal::bad("Transfer-Encoding in HTTP/1.0"))
        }
        (true, None) => Ok(Framing::Chunked),
        (false, Some(0) | None) => Ok(Framing::None),
        (false, Some(length)) => Ok(Framing::Length(length)),
    }
}
