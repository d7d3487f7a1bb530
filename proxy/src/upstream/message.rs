//! The request as upstreams get it.

use std::{borrow::Cow, time::Instant};

use http::HeaderValue;
use http_body::Body as HttpBody;
use silverback_http1::{number, request_line};
use silverback_pdk::Body;

use super::Plan;
use crate::{http1::Asked, lifecycle::Work};

/// Writes the request: its head, and its body if it is at hand.
pub(super) fn write(work: &Work, plan: &Plan, host: &HeaderValue, body: Body) -> Asked {
    let exchange = &work.exchange;
    let began = exchange.upstream.tries.last().map_or_else(Instant::now, |tried| tried.began);
    let whole = body.at_hand();
    let length = match &whole {
        Some(bytes) => Some(bytes.len() as u64),
        None => body.size_hint().exact(),
    };
    let mut out = Vec::with_capacity(1024);
    let path = escaped(exchange.upstream.path.as_bytes(), in_path);
    let query = query(work);
    let mark: &[u8] = if query.is_some() { b"?" } else { b"" };
    let target = [&path[..], mark, query.as_deref().unwrap_or_default()];
    request_line(&mut out, &exchange.request.method, &target);
    let mut names = Cow::Borrowed(&work.request_names);
    if !exchange.request_spelling.is_empty() {
        names.to_mut().respell(exchange.request_spelling.iter());
    }
    let says_length = work.forwarded.as_ref().is_some_and(|forwarded| {
        forwarded.write(exchange, &work.connection, &names, host, &mut out)
    });
    if plan.websocket {
        out.extend_from_slice(b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n");
    }
    // What plugins made of the body counts, not what the client said of it.
    match length {
        Some(0) if !says_length => {}
        Some(length) => {
            out.extend_from_slice(b"Content-Length: ");
            number(&mut out, length);
            out.extend_from_slice(b"\r\n");
        }
        None => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
    match whole {
        Some(bytes) => Asked::whole(began, out, bytes),
        None => Asked::streamed(began, out, body, length),
    }
}

/// The query as it came where no plugin has changed it, even if it is no text.
fn query(work: &Work) -> Option<std::borrow::Cow<'_, [u8]>> {
    let query = work.exchange.request.query.as_deref()?;
    match work.odd_query.as_deref() {
        Some((shown, came)) if shown == query => Some(came[..].into()),
        _ => Some(escaped(query.as_bytes(), in_query)),
    }
}

/// What stands in a path as it is (kong/tools/uri.lua, `escape`).
fn in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&'()*+,/:;=?@[]-_.~%".contains(&byte)
}

/// A query passes as it is, but for what would end it.
fn in_query(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

/// The text with what may not stand in it as escapes.
fn escaped(text: &[u8], fine: fn(u8) -> bool) -> std::borrow::Cow<'_, [u8]> {
    if text.iter().all(|&byte| fine(byte)) {
        return text.into();
    }
    let digit = |nibble: u8| b"0123456789ABCDEF".get(usize::from(nibble)).copied().unwrap_or(b'0');
    let mut out = Vec::with_capacity(text.len() + 16);
    for &byte in text {
        match fine(byte) {
            true => out.push(byte),
            false => out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 0xf)]),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_the_request_line_is_escaped() {
        let check = |text: &str, path: &str, query: &str| {
            assert_eq!(*escaped(text.as_bytes(), in_path), *path.as_bytes());
            assert_eq!(*escaped(text.as_bytes(), in_query), *query.as_bytes());
        };
        check("/a%2F-b", "/a%2F-b", "/a%2F-b");
        check("a b\r\n", "a%20b%0D%0A", "a%20b%0D%0A");
        check("{\"x\"}|^`", "%7B%22x%22%7D%7C%5E%60", "{\"x\"}|^`");
        check("\u{e9}", "%C3%A9", "\u{e9}");
    }
}
