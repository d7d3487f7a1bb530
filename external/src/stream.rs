//! A Unix socket that wakes its task for incoming bytes only.
//!
//! The runtime's own stream is woken for room to write as well: each time the server takes a
//! message off the socket there is more of it, so that every call would wake the worker twice, once
//! for nothing. Writes here are tried at once, and only where the socket is full is room waited
//! for. System calls are made without the C library, whose own are points at which a thread can be
//! cancelled: it notes before and after each that it may be.

use std::{
    future::poll_fn,
    io::{self, Read},
    os::unix::net::UnixStream,
    path::Path,
    task::{Context, Poll},
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{RecvFlags, SendFlags, recv, send},
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::system;

/// A connected socket.
pub(crate) struct Stream {
    socket: AsyncFd<UnixStream>,
    /// A registration for writing, which lasts as long as room is waited for.
    full: Option<AsyncFd<UnixStream>>,
    /// Whether a read begins by asking the runtime. One that has waited is tried at once: it is
    /// nearly always this socket that the task was woken for.
    asks: bool,
}

impl Stream {
    /// Connects to the socket at this path; also gives the pid of who listens there, which is 0
    /// where the system does not tell it: across namespaces.
    pub(crate) async fn connect(path: &Path) -> io::Result<(Stream, u32)> {
        let socket = tokio::net::UnixStream::connect(path).await?;
        let listener = socket.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok());
        let socket = system::watch(socket.into_std()?, Interest::READABLE)?;
        Ok((Stream { socket, full: None, asks: true }, listener.unwrap_or(0)))
    }

    /// The same connection once more, with a registration of its own.
    pub(crate) fn another(&self) -> io::Result<Stream> {
        let socket = self.socket.get_ref().try_clone()?;
        let socket = system::watch(socket, Interest::READABLE)?;
        Ok(Stream { socket, full: None, asks: true })
    }

    /// Writes as much as there is room for now; how much that was.
    #[inline]
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let socket = self.socket.get_ref();
        match retry_on_intr(|| send(socket, bytes, SendFlags::NOSIGNAL)) {
            Ok(0) if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            Err(Errno::AGAIN) => Ok(0),
            written => Ok(written?),
        }
    }

    /// Ready when more can be written, after a write that could not be brought to its end.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let full = match self.full.take() {
            Some(full) => full,
            None => system::watch(self.socket.get_ref().try_clone()?, Interest::WRITABLE)?,
        };
        match full.poll_write_ready(cx) {
            Poll::Ready(room) => Poll::Ready(room.map(drop)),
            Poll::Pending => {
                self.full = Some(full);
                Poll::Pending
            }
        }
    }

    /// Reads what there is; 0 at the end. One task may read at a time.
    #[inline]
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.asks {
                // Also sees to it that who sends without an end takes turns with others.
                let Poll::Ready(ready) = self.socket.poll_read_ready(cx) else {
                    self.asks = false;
                    return Poll::Pending;
                };
                ready?.retain_ready();
            }
            self.asks = true;
            if let Some(read) = self.read_now(room) {
                return Poll::Ready(read);
            }
        }
    }

    /// Reads, if the runtime has heard of something to read and it is still there.
    #[inline]
    fn read_now(&self, room: &mut [u8]) -> Option<io::Result<usize>> {
        let mut came = None;
        let _ = self.socket.try_io(Interest::READABLE, |socket| {
            let read = retry_on_intr(|| recv(socket, &mut *room, RecvFlags::empty()));
            let read = read.map(|(read, _)| read);
            if read == Err(Errno::AGAIN) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            came = Some(read.map_err(io::Error::from));
            match read {
                // Less than there was room for: nothing is left, and asking would tell no more.
                Ok(read @ 1..) if read < room.len() => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        });
        came
    }

    /// Likewise, waiting for it.
    pub(crate) async fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, room)).await
    }

    /// Whether nothing has come in and the other side is still there, as far as the runtime has
    /// heard: unless it has, this makes no system call.
    pub(crate) fn is_quiet(&self) -> bool {
        let read = self.socket.try_io(Interest::READABLE, |mut socket| socket.read(&mut [0; 1]));
        matches!(read, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixListener, time::Duration};

    use super::*;

    /// Writes all of it, waiting for room; how often that was.
    async fn write_all(stream: &mut Stream, bytes: &[u8]) -> usize {
        let (mut done, mut waits) = (0, 0);
        loop {
            done += stream.write(&bytes[done..]).expect("a connection");
            if done == bytes.len() {
                return waits;
            }
            waits += 1;
            poll_fn(|cx| stream.poll_room(cx)).await.expect("a connection");
        }
    }

    #[tokio::test]
    async fn more_than_the_socket_holds_is_written_and_read() {
        let path = std::env::temp_dir().join(format!("sbx-stream-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a listener");
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            std::thread::sleep(Duration::from_millis(50));
            let mut all = vec![0; 4 << 20];
            stream.read_exact(&mut all).expect("all of it");
            stream.write_all(&all).expect("room");
        });
        let (mut stream, listener) = Stream::connect(&path).await.expect("a stream");
        assert_eq!(listener, std::process::id());
        assert!(stream.is_quiet());
        let sent: Vec<u8> = (0..4 << 20).map(|i: u32| (i % 251) as u8).collect();
        assert!(write_all(&mut stream, &sent).await > 0);
        let (mut got, mut room) = (Vec::new(), vec![0; 5000]);
        loop {
            let read = stream.read(&mut room).await.expect("bytes");
            if read == 0 {
                break;
            }
            got.extend_from_slice(&room[..read]);
        }
        assert!(got == sent);
        assert!(!stream.is_quiet());
        echo.join().expect("an end");
        let _ = std::fs::remove_file(&path);
    }
}
