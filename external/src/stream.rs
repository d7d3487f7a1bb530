//! A Unix socket that wakes its task for incoming bytes only.
//!
//! The runtime's own stream is woken for room to write as well: each time the server takes a
//! message off the socket there is more of it, so that every call would wake the worker twice, once
//! for nothing. Writes here are tried at once, and only where the socket is full is room waited
//! for.

use std::{
    future::poll_fn,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    task::{Context, Poll, ready},
};

use tokio::io::{Interest, unix::AsyncFd};

use crate::system;

/// A connected socket.
pub(crate) struct Stream {
    socket: AsyncFd<UnixStream>,
    /// A registration for writing, which lasts as long as room is waited for.
    full: Option<AsyncFd<UnixStream>>,
}

impl Stream {
    /// Connects to the socket at this path; also gives the pid of who listens there, which is 0
    /// where the system does not tell it: across namespaces.
    pub(crate) async fn connect(path: &Path) -> io::Result<(Stream, u32)> {
        let socket = tokio::net::UnixStream::connect(path).await?;
        let listener = socket.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok());
        let socket = system::watch(socket.into_std()?, Interest::READABLE)?;
        Ok((Stream { socket, full: None }, listener.unwrap_or(0)))
    }

    /// The same connection once more, with a registration of its own.
    pub(crate) fn another(&self) -> io::Result<Stream> {
        let socket = self.socket.get_ref().try_clone()?;
        Ok(Stream { socket: system::watch(socket, Interest::READABLE)?, full: None })
    }

    /// Writes as much as there is room for now; how much that was.
    #[inline]
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.get_ref().write(bytes) {
                Ok(0) if !bytes.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                written => return written,
            }
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
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.get_ref().read(room) {
                Ok(read) => {
                    // Less than there was room for: nothing is left, and asking would tell no more.
                    if 0 < read && read < room.len() {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(read));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Likewise, waiting for it.
    pub(crate) async fn read(&self, room: &mut [u8]) -> io::Result<usize> {
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
    use std::{os::unix::net::UnixListener, time::Duration};

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
