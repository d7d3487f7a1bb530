//! Bodies on their way through the gateway: a client's with its limits, and the answer's, on the
//! way of which plugins filter it and after the last byte of which the request is logged.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::LocalBoxFuture};
use http_body::{Body as HttpBody, Frame, SizeHint};
use silverback_pdk::{Body, BodyError, Chunk, Phase};
use tokio::time::Instant;

use crate::{
    chain,
    clock::Clock,
    http1::RequestBody,
    lifecycle::{self, Work},
};

/// A client's body: bounded in size, and in how long nothing of it comes.
pub(crate) struct ClientBody {
    incoming: RequestBody,
    /// 0: no limit.
    limit: u64,
    read: u64,
    silence: Silence,
}

impl ClientBody {
    pub(crate) fn new(incoming: RequestBody, limit: u64, timeout: Duration) -> ClientBody {
        ClientBody { incoming, limit, read: 0, silence: Silence::new(Some(timeout)) }
    }
}

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            ready!(self.silence.poll(cx));
            let text = "client sent nothing of its body for too long";
            return Poll::Ready(Some(Err(BodyError::Failed(text.to_owned()))));
        };
        self.silence.broken();
        let Some(frame) = frame.transpose()? else { return Poll::Ready(None) };
        self.read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if self.limit > 0 && self.read > self.limit {
            return Poll::Ready(Some(Err(BodyError::TooLarge { limit: self.limit })));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// How long nothing may come. It counts only while something is waited for.
struct Silence {
    limit: Option<Duration>,
    since: Option<Instant>,
    clock: Clock,
}

impl Silence {
    fn new(limit: Option<Duration>) -> Silence {
        Silence { limit, since: None, clock: Clock::default() }
    }

    /// Something came.
    fn broken(&mut self) {
        self.since = None;
    }

    /// Ready when it has lasted too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.limit else { return Poll::Pending };
        let since = *self.since.get_or_insert_with(Instant::now);
        self.clock.poll(since + limit, cx)
    }
}

/// A request that will be logged when this is dropped, at the latest.
pub(crate) struct Logged(Option<Box<Work>>);

impl Logged {
    pub(crate) fn new(work: Box<Work>) -> Logged {
        work.worker.counters.requests.up();
        work.worker.counters.writing.up();
        Logged(Some(work))
    }

    pub(crate) fn work(&mut self) -> Option<&mut Work> {
        self.0.as_deref_mut()
    }

    /// It has come to its end.
    fn end(&mut self) {
        if let Some(work) = self.0.take() {
            work.worker.counters.writing.down();
            crate::logs::end(work);
        }
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        if let Some(work) = &mut self.0
            && work.exchange.response.source.is_none()
        {
            // The client went away before there was an answer: nginx's 499.
            work.exchange.response.status =
                http::StatusCode::from_u16(499).unwrap_or(http::StatusCode::BAD_REQUEST);
        }
        self.end();
    }
}

/// The answer's body on its way to the client.
pub(crate) struct Outgoing {
    body: Body,
    logged: Logged,
    silence: Silence,
    filter: Filter,
    /// Whether a plugin failed while it filtered.
    broken: bool,
    sent: u64,
}

/// Where the body_filter phase stands.
enum Filter {
    /// No plugin wants it.
    None,
    /// It waits for the next piece.
    Idle,
    /// Plugins work on a piece.
    Runs(LocalBoxFuture<'static, (Logged, bool)>),
    /// The last piece has gone through.
    Ended,
}

impl Outgoing {
    /// The body of an answer whose head is ready. `silent` for answers that have none, HEAD's.
    pub(crate) fn new(mut logged: Logged, silent: bool) -> Outgoing {
        let (mut body, mut filters, mut timeout) = (Body::Empty, false, None);
        if let Some(work) = logged.work() {
            body = std::mem::take(&mut work.exchange.response.body);
            filters = work.live.has_handlers(&work.ran, Phase::BodyFilter);
            timeout = work.read_timeout;
        }
        let filter = if filters && !silent { Filter::Idle } else { Filter::None };
        let mut outgoing = Outgoing {
            body,
            logged,
            silence: Silence::new(timeout),
            filter,
            broken: false,
            sent: 0,
        };
        if silent || (outgoing.body.is_end_stream() && !filters) {
            outgoing.body = Body::Empty;
            outgoing.logged.end();
        }
        outgoing
    }

    /// Whether a plugin failed while it filtered the body.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            ready!(self.silence.poll(cx));
            let text = "upstream sent nothing of its body for too long";
            return Poll::Ready(Some(Err(BodyError::Failed(text.to_owned()))));
        };
        self.silence.broken();
        if frame.is_none() {
            self.body = Body::Empty;
        }
        Poll::Ready(frame)
    }

    /// Sends the next piece as it came.
    fn poll_plain(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.poll_source(cx));
        if let Some(Ok(frame)) = &frame {
            self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        if self.body.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            self.end();
        }
        Poll::Ready(frame)
    }

    /// Sends the next piece as plugins leave it.
    fn poll_filtered(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match &mut self.filter {
                Filter::Runs(run) => {
                    let (mut logged, fine) = ready!(run.poll_unpin(cx));
                    let chunk = logged.work().map(|w| std::mem::take(&mut w.exchange.chunk));
                    self.logged = logged;
                    let Some(chunk) = chunk.filter(|_| fine) else {
                        (self.filter, self.broken) = (Filter::Ended, true);
                        self.end();
                        let text = "a plugin failed while it filtered the body".to_owned();
                        return Poll::Ready(Some(Err(BodyError::Failed(text))));
                    };
                    self.filter = if chunk.last { Filter::Ended } else { Filter::Idle };
                    self.sent += chunk.data.len() as u64;
                    if chunk.last {
                        self.end();
                    }
                    if !chunk.data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(chunk.data))));
                    }
                }
                Filter::Idle => match ready!(self.poll_source(cx)) {
                    Some(Ok(frame)) => {
                        // Trailers end where plugins may change what they stand for.
                        let Ok(data) = frame.into_data() else { continue };
                        let last = self.body.is_end_stream();
                        self.run_filters(Chunk { data, last });
                    }
                    Some(Err(error)) => {
                        self.filter = Filter::Ended;
                        self.end();
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => self.run_filters(Chunk { data: Bytes::new(), last: true }),
                },
                Filter::Ended | Filter::None => return Poll::Ready(None),
            }
        }
    }

    fn run_filters(&mut self, chunk: Chunk) {
        let mut logged = std::mem::replace(&mut self.logged, Logged(None));
        self.filter = Filter::Runs(Box::pin(async move {
            let mut fine = false;
            if let Some(work) = logged.work() {
                work.exchange.chunk = chunk;
                let run = std::panic::AssertUnwindSafe(chain::body_filter(work)).catch_unwind();
                fine = match run.await {
                    Ok(fine) => fine,
                    Err(_) => {
                        lifecycle::note_panic(work);
                        false
                    }
                };
            }
            (logged, fine)
        }));
    }

    fn end(&mut self) {
        if let Some(work) = self.logged.work() {
            work.sent = self.sent;
            work.exchange.response.size += self.sent;
        }
        self.logged.end();
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.filter {
            Filter::None => self.poll_plain(cx),
            _ => self.poll_filtered(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.filter {
            Filter::None => self.body.is_end_stream(),
            Filter::Ended => true,
            Filter::Idle | Filter::Runs(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.filter {
            Filter::None => self.body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.end();
    }
}

/// An upstream's body that is read whole: bounded in how long nothing of it comes.
pub(crate) struct Timed {
    body: Body,
    silence: Silence,
}

impl Timed {
    pub(crate) fn new(body: Body, silence: Duration) -> Timed {
        Timed { body, silence: Silence::new(Some(silence)) }
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.silence.broken();
            return Poll::Ready(frame);
        }
        ready!(self.silence.poll(cx));
        let text = "upstream sent nothing of its body for too long";
        Poll::Ready(Some(Err(BodyError::Failed(text.to_owned()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
