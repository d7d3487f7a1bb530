//! An upstream's connection: a request on its way out, and its answer on the way back. Both go on
//! at the same time, since an upstream may answer before it has been sent everything.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use silverback_http1::{Decoder, Piece, Response, Scan, chunk_size};
use silverback_pdk::{Body, BodyError};

use super::{Outbox, Wire};
use crate::pool::Lease;

/// How large the head of an answer may be.
const HEAD_MAX: usize = 128 * 1024;
/// How many headers it may have.
const HEAD_LINES_MAX: usize = 1000;
/// How many interim answers (1xx) may come before the answer.
const INTERIM_MAX: u32 = 16;

/// A request on its way to an upstream.
pub(crate) struct Asked {
    out: Outbox,
    body: Body,
    frames: Frames,
    /// Whether any byte of it was taken.
    sent: bool,
    /// Whether the connection takes no more of it. It may have been answered all the same.
    broken: Option<String>,
    /// Whether any time has passed since it was begun.
    waited: bool,
    progress: Progress,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// When something of it was last passed on.
    pub(crate) moved: Instant,
    /// Whether its body has been asked for anything.
    pub(crate) began: bool,
    /// Whether all of it has been sent.
    pub(crate) done: bool,
    /// Whether the upstream has to take something before there can be more.
    pub(crate) blocked: bool,
}

/// How the upstream learns where a body ends that is passed on as it comes.
#[derive(Debug, Clone, Copy)]
enum Frames {
    /// All there is has been written.
    Whole,
    /// This much is to come.
    Length(u64),
    Chunks,
}

/// Why there is no answer.
pub(crate) enum Stuck {
    /// The upstream refuses, closes or does not speak HTTP. Whether it was sent anything.
    Upstream(String, bool),
    /// The request's body can't be read.
    Body(BodyError),
}

impl Asked {
    /// A request of which everything is in `text`.
    pub(crate) fn whole(now: Instant, text: Vec<u8>, body: Bytes) -> Asked {
        let mut asked = Asked::new(now, text, Body::Empty, Frames::Whole);
        asked.out.add(body, b"");
        asked
    }

    /// A request with the head `text`, of which the body is passed on as it comes: `length` bytes,
    /// or in chunks.
    pub(crate) fn streamed(now: Instant, text: Vec<u8>, body: Body, length: Option<u64>) -> Asked {
        Asked::new(now, text, body, length.map_or(Frames::Chunks, Frames::Length))
    }

    fn new(now: Instant, text: Vec<u8>, body: Body, frames: Frames) -> Asked {
        let progress = Progress { moved: now, began: false, done: false, blocked: false };
        let out = Outbox::of(text);
        Asked { out, body, frames, sent: false, broken: None, waited: false, progress }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress
    }

    /// The body, if nothing of it has been asked for.
    pub(crate) fn untouched_body(self) -> Option<Body> {
        (!self.progress.began).then_some(self.body)
    }

    /// Passes on what there is. Ready when everything has been sent, or nothing more can be.
    fn poll(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Poll<Result<(), BodyError>> {
        while !self.progress.done && self.broken.is_none() {
            // The head goes first: a connection that takes not even that has cost no body.
            let waits = self.sent && self.out.is_empty() && !self.fill(cx)?;
            if !self.out.is_empty() || !waits {
                let before = self.out.left();
                let wrote = self.out.poll_write(cx, &mut wire.socket);
                self.sent |= self.out.is_begun() || matches!(wrote, Poll::Ready(Ok(())));
                self.note(wrote.is_pending(), self.out.left() < before);
                if let Err(error) = ready!(wrote) {
                    self.broken = Some(error.to_string());
                }
                let whole = matches!(self.frames, Frames::Whole);
                self.progress.done = whole && self.broken.is_none();
            } else {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps when something was last taken, or when it began that nothing is. Mostly all is taken
    /// at once, and nobody has to ask what time it is.
    fn note(&mut self, blocked: bool, took: bool) {
        let begins = blocked && !self.progress.blocked;
        if begins || (took && (blocked || self.waited)) {
            self.progress.moved = Instant::now();
        }
        self.progress.blocked = blocked;
    }

    /// Takes the next pieces of the body. False if it has to be waited for.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, BodyError> {
        self.progress.began = true;
        while !matches!(self.frames, Frames::Whole) && self.out.has_room() {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(!self.out.is_empty()),
                Poll::Ready(frame) => frame.transpose()?,
            };
            // Trailers are for who sent chunks; what the gateway passes on has none.
            match frame.map(Frame::into_data) {
                Some(Ok(data)) => self.add(data)?,
                Some(Err(_)) => {}
                None => self.end()?,
            }
        }
        Ok(true)
    }

    fn add(&mut self, data: Bytes) -> Result<(), BodyError> {
        match &mut self.frames {
            _ if data.is_empty() => {}
            Frames::Whole => {}
            Frames::Length(left) => {
                let rest = left.checked_sub(data.len() as u64);
                *left = rest.ok_or_else(|| broken("it is longer than was said"))?;
                self.out.add(data, b"");
                if *left == 0 {
                    self.frames = Frames::Whole;
                }
            }
            Frames::Chunks => {
                chunk_size(&mut self.out.small, data.len());
                self.out.add(data, b"\r\n");
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), BodyError> {
        match self.frames {
            Frames::Length(1..) => return Err(broken("it is shorter than was said")),
            Frames::Chunks => self.out.close(b"0\r\n\r\n"),
            Frames::Length(0) | Frames::Whole => {}
        }
        self.frames = Frames::Whole;
        Ok(())
    }
}

fn broken(reason: &str) -> BodyError {
    BodyError::Broken(reason.to_owned())
}

/// Reads the head of the answer, while the request is sent.
pub(crate) struct Asking<'a> {
    pub(crate) wire: &'a mut Wire,
    pub(crate) asked: &'a mut Asked,
    pub(crate) method: &'a Method,
    /// An empty map for the headers.
    pub(crate) headers: HeaderMap,
    scan: Scan,
    interim: u32,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(
        wire: &'a mut Wire,
        asked: &'a mut Asked,
        method: &'a Method,
        headers: HeaderMap,
    ) -> Asking<'a> {
        Asking { wire, asked, method, headers, scan: Scan::default(), interim: 0 }
    }

    /// Ready when the answer's head is there, or will never be.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response, Stuck>> {
        if let Poll::Ready(Err(error)) = self.asked.poll(cx, self.wire) {
            return Poll::Ready(Err(Stuck::Body(error)));
        }
        let mut read = false;
        loop {
            match self.scan.take(&mut self.wire.read, HEAD_MAX) {
                Ok(Some(head)) => match self.read(&head).transpose() {
                    Some(reply) => return Poll::Ready(reply),
                    None => continue,
                },
                Ok(None) => {}
                Err(refusal) => return Poll::Ready(Err(self.stuck(refusal.reason))),
            }
            let Poll::Ready(outcome) = self.wire.poll_read(cx) else {
                if read {
                    self.asked.progress.moved = Instant::now();
                }
                self.asked.waited = true;
                return Poll::Pending;
            };
            match outcome {
                Ok(0) => return Poll::Ready(Err(self.closed())),
                Ok(_) => read = true,
                Err(error) => return Poll::Ready(Err(self.stuck(&error.to_string()))),
            }
        }
    }

    /// The answer, or none for an interim one.
    fn read(&mut self, head: &Bytes) -> Result<Option<Response>, Stuck> {
        let headers = std::mem::take(&mut self.headers);
        let read = silverback_http1::response(head, self.method, HEAD_LINES_MAX, headers);
        let head = read.map_err(|refusal| self.stuck(refusal.reason))?;
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            self.interim += 1;
            return match self.interim > INTERIM_MAX {
                true => Err(self.stuck("too many interim answers")),
                false => Ok(None),
            };
        }
        Ok(Some(head))
    }

    fn stuck(&self, reason: &str) -> Stuck {
        // Where the connection broke when it was written to, that is what happened first.
        let reason = self.asked.broken.as_deref().unwrap_or(reason);
        Stuck::Upstream(reason.to_owned(), self.asked.sent || !self.wire.read.is_empty())
    }

    fn closed(&self) -> Stuck {
        let reason = match self.wire.read.is_empty() {
            true => "connection closed before an answer came",
            false => "connection closed within the head of the answer",
        };
        self.stuck(reason)
    }
}

/// What comes after an answer's head.
pub(crate) struct AnswerBody {
    /// The connection, until it is of no more use here.
    lease: Option<Lease>,
    decoder: Decoder,
    /// The rest of a request that was answered before it was sent.
    asked: Option<Asked>,
    persists: bool,
}

impl AnswerBody {
    /// The body of an answer, or none if it has none. The connection is given back at its end.
    pub(crate) fn of(head: &Response, lease: Lease, asked: Asked) -> Option<AnswerBody> {
        let asked = (!asked.progress.done).then_some(asked);
        let mut body = AnswerBody {
            lease: Some(lease),
            decoder: Decoder::new(head.framing),
            asked,
            persists: head.persists,
        };
        body.finish();
        body.lease.is_some().then_some(body)
    }

    /// Gives the connection back if the body has come to its end.
    fn finish(&mut self) {
        if !self.decoder.is_ended() {
            return;
        }
        let whole = self.persists && self.asked.is_none();
        if let Some(lease) = self.lease.take()
            && whole
            && lease.wire.read.is_empty()
        {
            lease.give_back();
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyError>> {
        let Some(lease) = &mut self.lease else { return Poll::Ready(Ok(Piece::End)) };
        if let Some(asked) = &mut self.asked {
            match asked.poll(cx, &mut lease.wire) {
                Poll::Ready(Ok(())) if asked.progress.done => self.asked = None,
                // The answer goes on; the connection will not serve again.
                Poll::Ready(_) => self.persists = false,
                Poll::Pending => {}
            }
        }
        loop {
            match self.decoder.take(&mut lease.wire.read) {
                Ok(Piece::More) => {}
                Ok(piece) => return Poll::Ready(Ok(piece)),
                Err(reason) => return Poll::Ready(Err(broken(reason.0))),
            }
            let wanted = self.decoder.wanted();
            match ready!(lease.wire.poll_read_body(cx, wanted)) {
                Ok(0) => self.decoder.close().map_err(|reason| broken(reason.0))?,
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(broken(&error.to_string()))),
            }
        }
    }

    /// The whole body, if it has been read already.
    pub(crate) fn at_once(&mut self) -> Option<Bytes> {
        let read = &mut self.lease.as_mut()?.wire.read;
        if self.asked.is_some() || self.decoder.left()? > read.len() as u64 {
            return None;
        }
        let Ok(Piece::Data(data)) = self.decoder.take(read) else { return None };
        self.finish();
        Some(data)
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let piece = ready!(self.poll_piece(cx));
        self.finish();
        Poll::Ready(match piece {
            Ok(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Piece::End | Piece::More) => None,
            Err(error) => {
                self.lease = None;
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_ended()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
