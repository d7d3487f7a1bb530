//! Connections to plugin servers: pooled per worker and server, one event at a time on each.
//!
//! A PDK call should cost what a bare ping-pong over the socket costs: one write and one read. Most
//! of what it costs beyond is instructions that are no longer in the processor's cache after these
//! two, so a call goes through little code: a message is assembled whole before it is written,
//! reads go into a buffer that is reused, no timer is set per call, and all of it is one `poll`,
//! which an event calls in a loop.

mod fault;
mod pool;
mod timer;

use std::{
    cell::Cell,
    io,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;

use self::timer::Timer;
pub(crate) use self::{fault::Fault, pool::Slot};
use crate::{
    input::{Input, Part},
    msgpack::{Reader, Scanner},
    server::{Generation, Server},
    stream::Stream,
};

/// The largest message that is read, in bytes.
pub(crate) const MAX_MESSAGE: usize = 128 << 20;
/// How long an answer that nobody waits for any more holds its connection open.
const LINGER: Duration = Duration::from_secs(60);
/// How much of it is read at a time.
const LINGER_SIZE: usize = 4 << 10;
/// How many connections a worker holds open for that; more are closed at once.
const MAX_LINGERING: usize = 256;

thread_local! {
    /// Connections that are held open for an answer that nobody waits for.
    static LINGERING: Cell<usize> = const { Cell::new(0) };
}

/// A connection that serves one event, or one order to a server, at a time.
pub(crate) struct Connection {
    stream: Stream,
    pub(crate) generation: Arc<Generation>,
    pub(crate) input: Input,
    /// What the next write sends.
    pub(crate) output: Vec<u8>,
    /// How much of it has been written, once that has begun.
    sent: Option<usize>,
    /// Finds the end of a message that came in pieces.
    scanner: Scanner,
    last_id: u32,
    timeout: Duration,
    timer: Timer,
    /// Whether what is waited for has been found missing before.
    waits: bool,
    /// When something was last written.
    used: Instant,
    /// Whether the server owes an answer.
    awaiting: bool,
    /// Notifications that came before it.
    pub(crate) notifications: usize,
}

impl Connection {
    /// Connects to a running server.
    ///
    /// # Errors
    /// [`Fault::Replaced`] if that is another process by now.
    pub(crate) async fn open(
        server: &Server,
        generation: Arc<Generation>,
        timeout: Duration,
    ) -> Result<Connection, Fault> {
        let deadline = Instant::now() + timeout;
        loop {
            match Stream::connect(&generation.path).await {
                Ok((stream, listener)) if server.leads_to(&generation, listener) => {
                    return Ok(Connection::new(stream, generation, timeout));
                }
                Ok(_) => return Err(Fault::Replaced),
                // The server's queue of connections is full: it will come to this one.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => {
                    let path = generation.path.display().to_string();
                    return Err(Fault::Connect { path, error });
                }
            }
        }
    }

    fn new(stream: Stream, generation: Arc<Generation>, timeout: Duration) -> Connection {
        Connection {
            stream,
            generation,
            input: Input::new(),
            output: Vec::with_capacity(1024),
            sent: None,
            scanner: Scanner::default(),
            last_id: 0,
            timeout,
            timer: Timer::new(timeout),
            waits: false,
            used: Instant::now(),
            awaiting: false,
            notifications: 0,
        }
    }

    /// A number for the next message.
    pub(crate) fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1) & 0x7fff_ffff;
        self.last_id
    }

    /// The number of the last message.
    pub(crate) fn last_id(&self) -> u32 {
        self.last_id
    }

    /// Whether an idle connection can be used again: nothing came in, and it was not closed. This
    /// asks what the runtime has heard already, so it makes no system call.
    fn is_usable(&self, server: &Server) -> bool {
        self.input.is_empty()
            && server.generation() == Some(self.generation.number)
            && self.stream.is_quiet()
    }

    /// Writes what stands in the output, if anything does. Ready when the socket has taken it.
    #[inline]
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.output.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.sent.is_none() {
            self.used = Instant::now();
            (self.sent, self.awaiting, self.waits) = (Some(0), true, false);
            self.notifications = 0;
        }
        loop {
            let done = self.sent.unwrap_or_default();
            let rest = self.output.get(done..).unwrap_or_default();
            let written = self.stream.write(rest).map_err(Fault::sending)?;
            if written == rest.len() {
                self.output.clear();
                self.sent = None;
                return Poll::Ready(Ok(()));
            }
            self.sent = Some(done + written);
            ready!(self.poll_room(cx))?;
        }
    }

    /// Waits until the socket has room again.
    #[cold]
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match self.stream.poll_room(cx) {
            Poll::Ready(room) => Poll::Ready(room.map_err(Fault::sending)),
            Poll::Pending => self.poll_timeout(cx).map(Err),
        }
    }

    /// Reads a MessagePack value as `read` does. Nearly all come in one piece, so that reading is
    /// tried before it is known where the value ends: `read` may be called several times, and has
    /// to read all of it.
    #[inline]
    pub(crate) fn poll_value<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&mut Reader<'_>) -> Result<T, Fault>,
    ) -> Poll<Result<T, Fault>> {
        loop {
            if let Some(whole) = self.input.small() {
                let mut reader = Reader::new(whole);
                if let Ok(value) = read(&mut reader) {
                    let length = reader.position();
                    self.took();
                    self.input.skip(length);
                    return Poll::Ready(Ok(value));
                }
            }
            if let Some(length) = self.scan()? {
                self.took();
                return Poll::Ready(read(&mut Reader::new(self.input.take(length))));
            }
            ready!(self.poll_more(cx, self.scanner.least()))?;
        }
    }

    /// The length of the value that came in, if it is whole.
    #[inline]
    fn scan(&mut self) -> Result<Option<usize>, Fault> {
        if self.input.is_empty() {
            return Ok(None);
        }
        Ok(self.scanner.scan(self.input.bytes())?)
    }

    /// A message is read, or the one that comes next is another's.
    #[inline]
    fn took(&mut self) {
        self.awaiting = false;
        self.scanner = Scanner::default();
    }

    /// Reads a frame: its length in four bytes, the least significant first, and its content. Ready
    /// when it is there: see [`Connection::frame`].
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part<'_>, Fault>> {
        let length = loop {
            let came = self.input.bytes();
            let length = came.first_chunk().map(|n| u32::from_le_bytes(*n) as usize);
            let least = 4 + length.unwrap_or(0);
            match length {
                Some(length) if came.len() >= least => break length,
                _ => ready!(self.poll_more(cx, least))?,
            }
        };
        self.awaiting = false;
        self.input.skip(4);
        Poll::Ready(Ok(self.input.take(length)))
    }

    /// Reads what there is; the message needs `least` bytes.
    #[inline]
    fn poll_more(&mut self, cx: &mut Context<'_>, least: usize) -> Poll<Result<(), Fault>> {
        if least > MAX_MESSAGE {
            return Poll::Ready(Err(too_large()));
        }
        match self.stream.poll_read(cx, self.input.room(least)) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(Fault::Closed)),
            Poll::Ready(Ok(came)) => {
                self.input.came(came);
                self.waits = false;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(Fault::reading(e))),
            Poll::Pending => {
                // The first time it is known that the timer has not gone off.
                if !self.waits && self.timer.is_set(self.used, cx) {
                    self.waits = true;
                    return Poll::Pending;
                }
                self.poll_timeout(cx).map(Err)
            }
        }
    }

    /// To be asked when what is waited for is not there. Ready when that has taken too long.
    #[cold]
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        self.waits = true;
        let timeout = self.timeout;
        self.timer.poll(self.used + timeout, cx).map(|()| Fault::Timeout(timeout))
    }
}

#[cold]
fn too_large() -> Fault {
    Fault::Protocol(format!("a message of more than {MAX_MESSAGE} bytes"))
}

/// The JavaScript server dies of writing to a connection that was closed. So one that is given up
/// while the server owes an answer (the client has gone, the time is over) is closed once it came.
impl Drop for Connection {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.awaiting || LINGERING.get() >= MAX_LINGERING {
            return;
        }
        let Ok(mut answer) = self.stream.another() else { return };
        LINGERING.set(LINGERING.get() + 1);
        runtime.spawn(async move {
            // All of it: bytes left unread would reset the connection, of which it dies as well.
            let mut room = vec![0; LINGER_SIZE];
            let all = async { while matches!(answer.read(&mut room).await, Ok(LINGER_SIZE)) {} };
            // An answer, the end, or nothing in time: all the same to us.
            let _ = tokio::time::timeout(LINGER, all).await;
            LINGERING.set(LINGERING.get().saturating_sub(1));
        });
    }
}
