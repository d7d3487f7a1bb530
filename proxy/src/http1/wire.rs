//! Reading and writing a connection through buffers that are there only while they hold something:
//! an idle connection has none.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    task::coop::has_budget_remaining,
};

use super::Socket;

/// How much is read at once where nobody knows what will come.
const FIRST_READ: usize = 16 * 1024;
/// How much of a body is read at once, at most and at least.
const BODY_READ_MAX: usize = 64 * 1024;
const BODY_READ_MIN: usize = 4 * 1024;

thread_local! {
    /// Where heads are read into before there is a buffer of the right size.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; FIRST_READ].into());
}

/// A connection, with what was read of it and not used yet.
pub(crate) struct Wire {
    pub(crate) socket: Socket,
    pub(crate) read: BytesMut,
    /// Who is woken when something comes, if nothing has been read since that was asked for.
    watcher: Option<Waker>,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Wire {
        Wire { socket, read: BytesMut::new(), watcher: None }
    }

    /// Reads what there is, without keeping a buffer for it in the meantime. 0: it has ended.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.watcher = None;
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buf))?;
            self.read.extend_from_slice(buf.filled());
            Poll::Ready(Ok(buf.filled().len()))
        })
    }

    /// Likewise, for those who ask at every wake, most of which come from elsewhere: as long as
    /// nothing has come that costs next to nothing.
    #[inline]
    pub(crate) fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let watches = self.watcher.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if watches && !self.socket.may_read() {
            return Poll::Pending;
        }
        self.poll_first(cx)
    }

    #[cold]
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = self.poll_read(cx);
        // A task that has used up its budget is told to wait, too, but is not waiting then.
        if read.is_pending() && has_budget_remaining() {
            self.watcher = Some(cx.waker().clone());
        }
        read
    }

    /// Reads a piece of a body of which `wanted` bytes are to come, as far as that is known
    /// (0: not at all). 0: the connection has ended.
    pub(crate) fn poll_read_body(
        &mut self,
        cx: &mut Context<'_>,
        wanted: u64,
    ) -> Poll<io::Result<usize>> {
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        if wanted <= BODY_READ_MIN {
            return self.poll_read(cx);
        }
        self.watcher = None;
        self.read.reserve(wanted.min(BODY_READ_MAX));
        pin!(self.socket.read_buf(&mut self.read)).poll(cx)
    }

    /// Whether the other side has neither closed nor said anything that nobody asked for.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.watcher = None;
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.socket).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
        read.is_pending() && self.read.is_empty()
    }

    /// Lets go of a buffer that holds nothing.
    pub(crate) fn rest(&mut self) {
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
    }
}

/// What waits to be written: heads and small pieces together, a large piece as it is.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Written first.
    pub(crate) small: Vec<u8>,
    /// How much of it has been.
    done: usize,
    large: Bytes,
    /// Written last.
    end: Bytes,
}

/// Up to which size a piece is copied rather than written by itself.
pub(crate) const SMALL: usize = 8 * 1024;

impl Outbox {
    /// With this to begin with.
    pub(crate) fn of(small: Vec<u8>) -> Outbox {
        Outbox { small, ..Outbox::default() }
    }

    /// Whether all has been written.
    pub(crate) fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// How much is still to be written.
    pub(crate) fn left(&self) -> usize {
        self.small.len() - self.done + self.large.len() + self.end.len()
    }

    /// Whether one more piece may be added before this has been written.
    pub(crate) fn has_room(&self) -> bool {
        self.large.is_empty() && self.small.len() - self.done < SMALL
    }

    /// Adds a piece of a body, `end` behind it. There must be room for it.
    pub(crate) fn add(&mut self, piece: Bytes, end: &'static [u8]) {
        if piece.len() <= SMALL {
            self.small.extend_from_slice(&piece);
            self.small.extend_from_slice(end);
        } else {
            (self.large, self.end) = (piece, Bytes::from_static(end));
        }
    }

    /// Adds what comes last, whether or not there is room.
    pub(crate) fn close(&mut self, last: &[u8]) {
        if self.large.is_empty() && self.end.is_empty() {
            self.small.extend_from_slice(last);
        } else {
            self.end = [&self.end, last].concat().into();
        }
    }

    /// Whether any of it has been written.
    pub(crate) fn is_begun(&self) -> bool {
        self.done > 0
    }

    /// Writes everything. Afterwards it holds no memory.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let small = self.small.get(self.done..).unwrap_or_default();
            let wrote = if self.large.is_empty() && self.end.is_empty() {
                ready!(Pin::new(&mut *socket).poll_write(cx, small))?
            } else {
                let parts = [small, &self.large, &self.end].map(IoSlice::new);
                ready!(Pin::new(&mut *socket).poll_write_vectored(cx, &parts))?
            };
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(wrote);
        }
        *self = Outbox::default();
        Pin::new(socket).poll_flush(cx)
    }

    fn advance(&mut self, wrote: usize) {
        let small = wrote.min(self.small.len() - self.done);
        self.done += small;
        let large = (wrote - small).min(self.large.len());
        self.large.advance(large);
        let end = wrote - small - large;
        self.end.advance(end.min(self.end.len()));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use tokio::{io::AsyncWriteExt, net::TcpStream, task::yield_now};

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection, and its other end.
    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("a port")).await;
        let (far, _) = listener.accept().expect("a connection");
        far.set_nonblocking(true).expect("a socket");
        let far = TcpStream::from_std(far).expect("a socket");
        (Wire::new(Socket::Plain(near.expect("a connection"))), far)
    }

    /// Who watches hears of everything that comes, however often he has asked in vain and whoever
    /// has read in between.
    #[tokio::test]
    async fn whoever_watches_is_woken() {
        let (mut wire, mut far) = pair().await;
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        let mut cx = Context::from_waker(&waker);
        for round in 1..=5 {
            assert!(wire.poll_watch(&mut cx).is_pending());
            assert!(wire.poll_watch(&mut cx).is_pending());
            if round == 3 {
                // Another reader takes the waker's place, and goes.
                assert!(wire.is_quiet());
                assert!(wire.poll_watch(&mut cx).is_pending());
            }
            assert_eq!(bell.0.load(Ordering::Relaxed), round - 1);
            far.write_all(b"x").await.expect("a connection");
            while bell.0.load(Ordering::Relaxed) < round {
                yield_now().await;
            }
            // What others read is theirs.
            let read =
                if round % 2 == 0 { wire.poll_read(&mut cx) } else { wire.poll_watch(&mut cx) };
            assert!(matches!(read, Poll::Ready(Ok(1))), "{round}: {read:?}");
            wire.read.clear();
        }
        drop(far);
        while wire.poll_watch(&mut cx).is_pending() {
            yield_now().await;
        }
    }
}
