//! A client's connection: one request after the other, until either side has enough.

mod answer;
mod idle;

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use silverback_http1::{Decoder, Framing, Piece};
use silverback_pdk::BodyError;
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    time::timeout,
};

use self::idle::{Idle, Next};
use super::{Outbox, Socket, Wire};
use crate::{
    body::Logged,
    http::{self, Connection},
    lifecycle,
};

/// How much of a body that nobody wanted is read, so that the connection can go on.
const DISCARD_MAX: u64 = 256 * 1024;
/// How long a client that is still sending may take until it notices that nobody listens. A
/// connection closed at once could take the answer with it.
const LINGER: Duration = Duration::from_secs(5);
/// What may be read ahead while a request is served.
const AHEAD_MAX: usize = 16 * 1024;

/// A connection, shared by who serves a request and the body that is read of it.
pub(super) type Shared = Rc<RefCell<Client>>;

/// A client's end of things.
pub(super) struct Client {
    wire: Wire,
    /// The body of the request that is served.
    body: Decoder,
    /// Whether the client waits for 100 before it sends the body.
    expects: bool,
    /// What says so is on its way.
    interim: Outbox,
    /// Whether no more can be read.
    broken: bool,
}

/// What becomes of a connection after an answer.
pub(super) enum After {
    /// The next request.
    Next,
    /// It closes.
    Close,
    /// Another protocol is spoken from here on.
    Tunnel(Wire),
}

/// Speaks HTTP/1 until the connection ends.
pub(crate) async fn converse(connection: Rc<Connection>, socket: Socket) {
    let client = Rc::new(RefCell::new(Client::new(socket)));
    let mut told = pin!(connection.worker.draining.notified());
    let mut idle = Idle::new(&connection.worker.config.limits);
    loop {
        let next = poll_fn(|cx| idle.poll(cx, told.as_mut(), &connection, &client)).await;
        let after = match next {
            Next::End => return,
            Next::Head(head) => serve(&connection, &client, head).await,
            Next::Refused(refusal) => {
                let work = http::refused(connection.clone(), refusal, &client.borrow().wire.read);
                client.borrow_mut().broken = true;
                lead(&connection, &client, Logged::new(work), false).await
            }
        };
        match after {
            After::Next => {}
            After::Close => return close(client).await,
            After::Tunnel(upstream) => return tunnel(client, upstream).await,
        }
    }
}

/// Serves a request of which the head is here.
async fn serve(connection: &Rc<Connection>, client: &Shared, head: Bytes) -> After {
    let worker = &connection.worker;
    let lines = worker.config.limits.head_lines;
    let request = match silverback_http1::request(&head, lines, worker.spare_headers()) {
        Ok(request) => request,
        Err(refusal) => {
            client.borrow_mut().broken = true;
            let work = http::refused(connection.clone(), refusal, &head);
            return lead(connection, client, Logged::new(work), false).await;
        }
    };
    let persists = request.persists;
    let body = client.borrow_mut().begin(&request).then(|| RequestBody(client.clone()));
    let work = http::begin(connection.clone(), request, body);
    lead(connection, client, Logged::new(work), persists).await
}

/// Leads a request through its phases and sends what comes of it, unless the client goes away.
async fn lead(
    connection: &Connection,
    client: &Shared,
    mut logged: Logged,
    persists: bool,
) -> After {
    if let Some(work) = logged.work() {
        let mut led = pin!(lifecycle::lead_unharmed(work));
        let stayed = poll_fn(|cx| match led.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => client.borrow_mut().poll_gone(cx).map(|()| false),
        });
        if !stayed.await {
            return After::Close;
        }
    }
    answer::send(connection, client, logged, persists).await
}

impl Client {
    fn new(socket: Socket) -> Client {
        Client {
            wire: Wire::new(socket),
            body: Decoder::new(Framing::None),
            expects: false,
            interim: Outbox::default(),
            broken: false,
        }
    }

    /// Whether the request has a body.
    fn begin(&mut self, request: &silverback_http1::Request) -> bool {
        self.body = Decoder::new(request.framing);
        self.expects = request.expects;
        !self.body.is_ended()
    }

    /// Ready when the client has closed its connection. What it sends ahead is kept, up to a
    /// point; where its body is still to be read, who reads that will notice.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.broken && self.body.is_ended() && self.wire.read.len() < AHEAD_MAX {
            match ready!(self.wire.poll_watch(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// The next piece of the body.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, String>> {
        if self.broken {
            return Poll::Ready(Err("it was broken before".to_owned()));
        }
        if self.expects {
            self.expects = false;
            self.interim.small.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if !self.interim.is_empty() {
            let wrote = ready!(self.interim.poll_write(cx, &mut self.wire.socket));
            wrote.map_err(|error| self.breaks(&error.to_string()))?;
        }
        loop {
            match self.body.take(&mut self.wire.read) {
                Ok(Piece::More) => {}
                Ok(piece) => return Poll::Ready(Ok(piece)),
                Err(broken) => return Poll::Ready(Err(self.breaks(broken.0))),
            }
            let wanted = self.body.wanted();
            match ready!(self.wire.poll_read_body(cx, wanted)) {
                Ok(0) => return Poll::Ready(Err(self.breaks("client closed the connection"))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(self.breaks(&error.to_string()))),
            }
        }
    }

    fn breaks(&mut self, reason: &str) -> String {
        self.broken = true;
        reason.to_owned()
    }
}

/// The body of a request, read as it is asked for.
pub(crate) struct RequestBody(Shared);

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let piece = ready!(self.0.borrow_mut().poll_piece(cx));
        Poll::Ready(match piece {
            Ok(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Piece::End | Piece::More) => None,
            Err(reason) => Some(Err(BodyError::Broken(reason))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.borrow().body.is_ended()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.borrow().body.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Reads what is left of a body that nobody wanted. False if the connection can't go on.
async fn discard(client: &Shared) -> bool {
    let mut left = DISCARD_MAX;
    let reading = poll_fn(|cx| {
        let mut client = client.borrow_mut();
        loop {
            match ready!(client.poll_piece(cx)) {
                Ok(Piece::Data(data)) if data.len() as u64 <= left => left -= data.len() as u64,
                Ok(Piece::End | Piece::Trailers(_)) => return Poll::Ready(true),
                Ok(_) | Err(_) => return Poll::Ready(false),
            }
        }
    });
    timeout(LINGER, reading).await.unwrap_or(false)
}

/// Closes a connection: the client may still be sending, and gets its answer all the same.
async fn close(client: Shared) {
    let sending = {
        let client = client.borrow();
        client.broken || !client.body.is_ended() || !client.wire.read.is_empty()
    };
    let shut = poll_fn(|cx| {
        Pin::new(&mut client.borrow_mut().wire.socket as &mut (dyn tokio::io::AsyncWrite + Unpin))
            .poll_shutdown(cx)
    });
    if !matches!(timeout(LINGER, shut).await, Ok(Ok(()))) || !sending {
        return;
    }
    let reading = poll_fn(|cx| {
        let mut client = client.borrow_mut();
        loop {
            client.wire.read.clear();
            if let Ok(0) | Err(_) = ready!(client.wire.poll_read(cx)) {
                return Poll::Ready(());
            }
        }
    });
    // Who goes on sending is cut off.
    let _ = timeout(LINGER, reading).await;
}

/// Both sides have agreed on another protocol: bytes pass through from here on.
async fn tunnel(client: Shared, upstream: Wire) {
    // A request with a body of its own that is still held somewhere has nothing to agree on.
    let Ok(client) = Rc::try_unwrap(client) else { return };
    let Wire { socket: mut client, read: from_client, .. } = client.into_inner().wire;
    let Wire { socket: mut upstream, read: from_upstream, .. } = upstream;
    let ahead = async {
        client.write_all(&from_upstream).await?;
        client.flush().await?;
        upstream.write_all(&from_client).await?;
        upstream.flush().await
    };
    if ahead.await.is_ok() {
        // Either side ends it as it likes.
        let _ = copy_bidirectional(&mut client, &mut upstream).await;
    }
}
