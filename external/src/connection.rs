//! Connections to plugin servers: pooled per worker and server, one event at a time on each.
//!
//! A PDK call should cost what a bare ping-pong over the socket costs: one write and one read.
//! Hence a message is assembled whole before it is written, reads go into a buffer that is reused,
//! and no timer is set per call.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};

use crate::{
    input::{Input, Part},
    msgpack::{self, Reader, Scanner},
    protobuf,
    server::{Generation, Server},
    stream::Stream,
};

/// The largest message that is read, in bytes.
pub(crate) const MAX_MESSAGE: usize = 128 << 20;
/// How long a connection may lie idle while others are in use: as in Kong.
const IDLE: Duration = Duration::from_secs(60);
/// How long the end of a supervised server may go unnoticed.
const RETURN: Duration = Duration::from_secs(1);
/// How long an answer that nobody waits for any more holds its connection open.
const LINGER: Duration = Duration::from_secs(60);
/// How much of it is read at a time.
const LINGER_SIZE: usize = 4 << 10;
/// How many connections a worker holds open for that; more are closed at once.
const MAX_LINGERING: usize = 256;
/// A buffer that grew beyond this is given back after the event.
const KEEP_BUFFER: usize = 256 << 10;

/// Why an event could not be brought to its end.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    /// Nothing was sent.
    #[error("can't connect to {path}: {error}")]
    Connect { path: String, error: io::Error },
    /// Nothing was sent.
    #[error("{0}")]
    Down(String),
    /// The instance is not known there.
    #[error("the server doesn't know the instance: {0}")]
    NoInstance(String),
    /// The server's own words.
    #[error("the server answered: {0}")]
    Server(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server was gone before the message could be written.
    #[error("the server closed the connection before the message was sent")]
    Unsent,
    #[error("the server closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    #[error("the server broke the protocol: {0}")]
    Malformed(#[from] msgpack::Malformed),
}

impl From<protobuf::Malformed> for Fault {
    fn from(fault: protobuf::Malformed) -> Fault {
        Fault::Protocol(fault.to_string())
    }
}

/// A connection that serves one event, or one order to a server, at a time.
pub(crate) struct Connection {
    stream: Stream,
    pub(crate) generation: Arc<Generation>,
    pub(crate) input: Input,
    /// What the next write sends.
    pub(crate) output: Vec<u8>,
    last_id: u32,
    timeout: Duration,
    timer: Timer,
    /// When something was last written.
    used: Instant,
    /// Whether the server owes an answer.
    awaiting: bool,
}

impl Connection {
    /// Connects to a running server.
    pub(crate) async fn open(
        generation: Arc<Generation>,
        timeout: Duration,
    ) -> Result<Connection, Fault> {
        let deadline = Instant::now() + timeout;
        loop {
            match Stream::connect(&generation.path).await {
                Ok(stream) => return Ok(Connection::new(stream, generation, timeout)),
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
            last_id: 0,
            timeout,
            timer: Timer::new(timeout),
            used: Instant::now(),
            awaiting: false,
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

    /// Writes what stands in the output.
    pub(crate) async fn send(&mut self) -> Result<(), Fault> {
        self.used = Instant::now();
        self.awaiting = true;
        let sent = match self.stream.write_now(&self.output) {
            Ok(sent) if sent == self.output.len() => Ok(()),
            // Seldom: on the heap, so that the common way is a small future.
            Ok(sent) => Box::pin(self.send_rest(sent)).await,
            Err(error) => Err(sending(error)),
        };
        self.output.clear();
        sent
    }

    /// Writes what the socket had no room for.
    async fn send_rest(&mut self, sent: usize) -> Result<(), Fault> {
        let rest = self.output.get(sent..).unwrap_or_default();
        let mut write = pin!(self.stream.write_all(rest));
        let mut wait = self.timer.wait(self.used, self.timeout);
        poll_fn(|cx| match write.as_mut().poll(cx) {
            Poll::Ready(sent) => Poll::Ready(sent.map_err(sending)),
            Poll::Pending => wait.poll(cx).map(Err),
        })
        .await
    }

    /// Reads a MessagePack value as `read` does. Nearly all come in one piece, so that reading is
    /// tried before it is known where the value ends: `read` may be called several times, and has
    /// to read all of it.
    pub(crate) async fn read_value<T>(
        &mut self,
        mut read: impl FnMut(&mut Reader<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut scanner = Scanner::default();
        loop {
            if let Some(whole) = self.input.small() {
                let mut reader = Reader::new(whole);
                if let Ok(value) = read(&mut reader) {
                    let length = reader.position();
                    self.awaiting = false;
                    self.input.skip(length);
                    return Ok(value);
                }
            }
            if let Some(length) = scanner.scan(self.input.bytes())? {
                self.awaiting = false;
                return read(&mut Reader::new(self.input.take(length)));
            }
            self.fill(scanner.least()).await?;
        }
    }

    /// Reads a frame: its length in four bytes, the least significant first, and its content.
    pub(crate) async fn read_frame(&mut self) -> Result<Part<'_>, Fault> {
        loop {
            let came = self.input.bytes();
            let length = came.first_chunk().map(|n| u32::from_le_bytes(*n) as usize);
            let least = 4 + length.unwrap_or(0);
            if let Some(length) = length
                && came.len() >= least
            {
                self.awaiting = false;
                self.input.skip(4);
                return Ok(self.input.take(length));
            }
            self.fill(least).await?;
        }
    }

    /// Reads what there is; the message needs `least` bytes.
    async fn fill(&mut self, least: usize) -> Result<(), Fault> {
        if least > MAX_MESSAGE {
            let text = format!("a message of more than {MAX_MESSAGE} bytes");
            return Err(Fault::Protocol(text));
        }
        let Connection { stream, input, timer, used, timeout, .. } = self;
        let mut wait = timer.wait(*used, *timeout);
        // All in one poll: this is where a worker is woken for each call of a plugin.
        poll_fn(|cx| match stream.poll_read(cx, input.room(least)) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(Fault::Closed)),
            Poll::Ready(Ok(came)) => {
                input.came(came);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(e)) if is_closed(&e) => Poll::Ready(Err(Fault::Closed)),
            Poll::Ready(Err(e)) => Poll::Ready(Err(Fault::Io(e))),
            Poll::Pending => wait.poll(cx).map(Err),
        })
        .await
    }
}

/// The JavaScript server dies of writing to a connection that was closed. So one that is given up
/// while the server owes an answer (the client has gone, the time is over) is closed once it came.
impl Drop for Connection {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.awaiting || LINGERING.get() >= MAX_LINGERING {
            return;
        }
        let Ok(answer) = self.stream.another() else { return };
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

/// What an error tells that came of writing.
fn sending(error: io::Error) -> Fault {
    if is_closed(&error) { Fault::Unsent } else { Fault::Io(error) }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

/// A connection's timer, which serves many waits: it is set anew only when it goes off, and looked
/// at only where it may have gone off. In a quick exchange neither ever happens.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// Whom it wakes.
    wakes: Option<Waker>,
}

impl Timer {
    fn new(timeout: Duration) -> Timer {
        Timer { sleep: Box::pin(tokio::time::sleep(timeout)), wakes: None }
    }

    /// A wait that takes no longer than the timeout from `begin`, a moment that has just been.
    fn wait(&mut self, begin: Instant, timeout: Duration) -> TimedWait<'_> {
        TimedWait { timer: self, begin, timeout, first: true }
    }

    fn is_set(&self, begin: Instant, cx: &Context<'_>) -> bool {
        let wakes_us = self.wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        wakes_us && self.sleep.deadline() > begin
    }

    fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
        self.wakes = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A wait that ends with its timeout at the latest.
struct TimedWait<'a> {
    timer: &'a mut Timer,
    begin: Instant,
    timeout: Duration,
    first: bool,
}

impl TimedWait<'_> {
    /// To be polled whenever what is waited for is not there. Ready when it has taken too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        // It goes off later and wakes this very task then.
        if std::mem::take(&mut self.first) && self.timer.is_set(self.begin, cx) {
            return Poll::Pending;
        }
        let timeout = self.timeout;
        self.timer.poll(self.begin + timeout, cx).map(|()| Fault::Timeout(timeout))
    }
}

/// A worker's connections to one server.
struct Pool {
    #[expect(clippy::vec_box, reason = "they move from event to event, and would be copied")]
    idle: RefCell<Vec<Box<Connection>>>,
    free: Arc<Semaphore>,
    waiting: Cell<u32>,
}

thread_local! {
    /// Connections that are held open for an answer that nobody waits for.
    static LINGERING: Cell<usize> = const { Cell::new(0) };
    /// By the servers' index.
    static POOLS: RefCell<Vec<Option<Rc<Pool>>>> = const { RefCell::new(Vec::new()) };
}

impl Pool {
    /// This worker's connections to a server.
    fn of(server: &Server) -> Rc<Pool> {
        POOLS.with_borrow_mut(|pools| {
            if pools.len() <= server.index {
                pools.resize_with(server.index + 1, || None);
            }
            let make = || {
                let free = Arc::new(Semaphore::new(server.config.connections.max(1) as usize));
                Rc::new(Pool { idle: RefCell::default(), free, waiting: Cell::new(0) })
            };
            match pools.get_mut(server.index) {
                Some(pool) => Rc::clone(pool.get_or_insert_with(make)),
                None => make(),
            }
        })
    }
}

/// The right to use one connection.
pub(crate) struct Slot {
    pool: Rc<Pool>,
    _permit: OwnedSemaphorePermit,
}

/// Too many events wait for a connection already.
pub(crate) struct Busy;

/// Counts a waiting event for as long as it waits, even if it is given up.
struct Waiting<'a>(&'a Cell<u32>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Slot {
    /// Takes a slot; waits in line where none is free.
    pub(crate) async fn take(server: &Server) -> Result<Slot, Busy> {
        let pool = Pool::of(server);
        let free = Arc::clone(&pool.free);
        if let Ok(permit) = Arc::clone(&free).try_acquire_owned() {
            return Ok(Slot { pool, _permit: permit });
        }
        if pool.waiting.get() >= server.config.queue {
            server.counts.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Busy);
        }
        pool.waiting.set(pool.waiting.get() + 1);
        let waiting = Waiting(&pool.waiting);
        let permit = free.acquire_owned().await;
        drop(waiting);
        permit.map(|permit| Slot { pool, _permit: permit }).map_err(|_| Busy)
    }

    /// A connection: one that lies idle, else a new one.
    pub(crate) async fn connection(&self, server: &Server) -> Result<Box<Connection>, Fault> {
        loop {
            let Some(idle) = self.pool.idle.borrow_mut().pop() else { break };
            if idle.is_usable(server) {
                return Ok(idle);
            }
            // Where one is stale, others are: after a restart all of them.
            self.pool.idle.borrow_mut().retain(|idle| idle.is_usable(server));
        }
        let patience = Instant::now() + RETURN;
        loop {
            let generation = server.ready().await.map_err(Fault::Down)?;
            match Connection::open(generation, server.config.timeout).await {
                // It has just died, and its supervisor will know in a moment.
                Err(Fault::Connect { .. })
                    if server.config.start_cmd.is_some() && Instant::now() < patience =>
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                opened => return opened.map(Box::new),
            }
        }
    }

    /// Gives a connection back on which nothing is outstanding.
    pub(crate) fn give_back(&self, mut connection: Box<Connection>) {
        if connection.output.capacity() > KEEP_BUFFER {
            connection.output = Vec::new();
        }
        connection.input.shrink();
        let mut idle = self.pool.idle.borrow_mut();
        // The last one given back is the first one taken, so the first of the list is idle longest.
        if let Some(oldest) = idle.first()
            && connection.used.saturating_duration_since(oldest.used) > IDLE
        {
            idle.remove(0);
        }
        idle.push(connection);
    }
}
