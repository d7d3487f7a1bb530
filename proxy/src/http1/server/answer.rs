//! An answer on its way to the client.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use http::{HeaderMap, Method, StatusCode, Version, header};
use http_body::Body as HttpBody;
use silverback_http1::{Date, chunk_size, headers, number, status_line};

use super::{After, DISCARD_MAX, Outbox, Shared, discard};
use crate::http1::wire::SMALL;
use crate::{
    body::{Logged, Outgoing},
    http::{self as own, Connection, Head},
};

thread_local! {
    static DATE: std::cell::RefCell<Date> = std::cell::RefCell::default();
}

/// How much memory a head takes, mostly.
const HEAD_ROOM: usize = 768;

/// How the client learns where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frames {
    /// There is no body.
    None,
    /// By this length; what is left of it.
    Length(u64),
    Chunks,
    /// By the connection's end.
    Close,
}

/// Sends the answer of a request that has been led through its phases.
pub(super) async fn send(
    connection: &Connection,
    client: &Shared,
    logged: Logged,
    persists: bool,
) -> After {
    let Some((head, outgoing)) = own::respond(logged) else { return After::Close };
    let unread = {
        let mut client = client.borrow_mut();
        // The body that it offers is not asked for any more, so it may come or not.
        client.broken |= client.expects;
        client.broken || client.body.left().is_some_and(|left| left > DISCARD_MAX)
    };
    let frames = frames(&head, &outgoing);
    let mut sending = Sending {
        persists: persists && !unread && !head.closes && frames != Frames::Close,
        out: Outbox::default(),
        frames,
        trailers: frames == Frames::Chunks && head.headers.contains_key(header::TRAILER),
        outgoing,
        ended: false,
        failed: false,
        begun: false,
    };
    sending.write_head(&head);
    connection.worker.keep_spare(head.headers);
    let tunnel = head.tunnel;
    let sent = poll_fn(|cx| sending.poll(cx, client)).await;
    let Sending { persists, outgoing, .. } = sending;
    drop(outgoing);
    match (sent, tunnel) {
        (true, Some(upstream)) => After::Tunnel(upstream),
        (true, None) if persists => {
            let read = client.borrow().body.is_ended();
            if read || discard(client).await { After::Next } else { After::Close }
        }
        (true, None) => After::Close,
        (false, _) => After::Close,
    }
}

/// How the end of the body is told.
fn frames(head: &Head, outgoing: &Outgoing) -> Frames {
    let bodiless = head.method == Method::HEAD
        || head.status.is_informational()
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless {
        return Frames::None;
    }
    let said = || head.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    let known = outgoing.size_hint().exact().filter(|_| !head.chunked);
    match (known.or_else(said), head.version) {
        (Some(length), _) => Frames::Length(length),
        (None, Version::HTTP_10) => Frames::Close,
        (None, _) => Frames::Chunks,
    }
}

struct Sending {
    persists: bool,
    out: Outbox,
    frames: Frames,
    /// Whether the head has announced trailers.
    trailers: bool,
    outgoing: Outgoing,
    ended: bool,
    failed: bool,
    /// Whether something of the answer may have been sent.
    begun: bool,
}

impl Sending {
    fn write_head(&mut self, head: &Head) {
        let out = &mut self.out.small;
        // Small bodies are written with the head.
        let room = match self.frames {
            Frames::Length(length) => usize::try_from(length).map_or(0, |l| l.min(SMALL)),
            _ => 0,
        };
        out.reserve(HEAD_ROOM + room);
        status_line(out, head.version, head.status);
        let upgrades = head.tunnel.is_some();
        let frames = self.frames;
        let closes = !self.persists && !upgrades;
        // A 304 and an answer to HEAD may say how long the body would be.
        let says_length = frames == Frames::None
            && !head.status.is_informational()
            && head.status != StatusCode::NO_CONTENT;
        let (dated, connected) = (Cell::new(upgrades), Cell::new(false));
        headers(out, &head.headers, &head.names, |name| {
            dated.set(dated.get() || name == header::DATE);
            connected.set(connected.get() || name == header::CONNECTION);
            !(name == header::TRANSFER_ENCODING
                || (name == header::CONTENT_LENGTH && !says_length)
                || (name == header::CONNECTION && closes))
        });
        match frames {
            Frames::Length(length) => {
                out.extend_from_slice(b"Content-Length: ");
                number(out, length);
                out.extend_from_slice(b"\r\n");
            }
            Frames::Chunks => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Frames::None | Frames::Close => {}
        }
        if !dated.get() {
            out.extend_from_slice(b"Date: ");
            DATE.with_borrow_mut(|date| out.extend_from_slice(date.text(SystemTime::now())));
            out.extend_from_slice(b"\r\n");
        }
        if closes {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if head.version == Version::HTTP_10 && !connected.get() {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Ready when everything has been sent; false if it could not be.
    fn poll(&mut self, cx: &mut Context<'_>, client: &Shared) -> Poll<bool> {
        loop {
            let waits = self.fill(cx);
            if self.failed && !self.begun && self.outgoing.is_broken() {
                return Poll::Ready(false);
            }
            self.begun = true;
            let mut client = client.borrow_mut();
            if !self.out.is_empty() || !waits {
                let client = &mut *client;
                let wrote = ready!(self.out.poll_write(cx, &mut client.wire.socket));
                if wrote.is_err() {
                    return Poll::Ready(false);
                }
            }
            if self.ended {
                return Poll::Ready(!self.failed);
            }
            if waits {
                return client.poll_gone(cx).map(|()| false);
            }
        }
    }

    /// Takes what there is of the body, as far as there is room. True if more will come later.
    fn fill(&mut self, cx: &mut Context<'_>) -> bool {
        while !self.ended && self.out.has_room() {
            match Pin::new(&mut self.outgoing).poll_frame(cx) {
                Poll::Pending => return true,
                Poll::Ready(Some(Ok(frame))) => self.add(frame),
                Poll::Ready(Some(Err(_))) => (self.ended, self.failed) = (true, true),
                Poll::Ready(None) => self.end(None),
            }
            if !self.ended && self.outgoing.is_end_stream() {
                self.end(None);
            }
        }
        false
    }

    fn add(&mut self, frame: http_body::Frame<bytes::Bytes>) {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return self.end(frame.into_trailers().ok()),
        };
        match &mut self.frames {
            _ if data.is_empty() => {}
            Frames::Chunks => {
                chunk_size(&mut self.out.small, data.len());
                self.out.add(data, b"\r\n");
            }
            Frames::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    self.out.add(data, b"");
                }
                // More than was said is not the answer's.
                None => (self.ended, self.failed) = (true, true),
            },
            Frames::Close => self.out.add(data, b""),
            Frames::None => {}
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) {
        if self.ended {
            return;
        }
        self.ended = true;
        match self.frames {
            Frames::Length(left) => self.failed = left > 0,
            Frames::Chunks => {
                // There may be a large piece before it: what is added goes behind.
                let mut end = b"0\r\n".to_vec();
                if let Some(trailers) = trailers.filter(|_| self.trailers) {
                    headers(&mut end, &trailers, &Default::default(), may_trail);
                }
                end.extend_from_slice(b"\r\n");
                self.out.close(&end);
            }
            Frames::None | Frames::Close => {}
        }
    }
}

/// What may not come after a body: what frames, routes or authenticates (RFC 9110, 6.5.1).
fn may_trail(name: &http::HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "content-length"
            | "transfer-encoding"
            | "host"
            | "connection"
            | "trailer"
            | "te"
            | "upgrade"
            | "content-type"
            | "content-encoding"
            | "content-range"
            | "authorization"
            | "proxy-authorization"
            | "set-cookie"
            | "cookie"
    )
}
