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
}

impl Stream {
    /// Connects to the socket at this path.
    pub(crate) async fn connect(path: &Path) -> io::Result<Stream> {
        let socket = tokio::net::UnixStream::connect(path).await?.into_std()?;
        Ok(Stream { socket: system::watch(socket, Interest::READABLE)? })
    }

    /// The same connection once more, with a registration of its own.
    pub(crate) fn another(&self) -> io::Result<Stream> {
        let socket = self.socket.get_ref().try_clone()?;
        Ok(Stream { socket: system::watch(socket, Interest::READABLE)? })
    }

    /// Writes as much as there is room for now; how much that was.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match self.socket.get_ref().write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Writes all of it, waiting for room.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            bytes = bytes.get(self.write_now(bytes)?..).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            self.room().await?;
        }
    }

    /// Waits until more can be written: by a registration of its own, which ends with the wait.
    async fn room(&self) -> io::Result<()> {
        let socket = self.socket.get_ref().try_clone()?;
        let waiting = system::watch(socket, Interest::WRITABLE)?;
        waiting.writable().await?.retain_ready();
        Ok(())
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
        let stream = Stream::connect(&path).await.expect("a stream");
        assert!(stream.is_quiet());
        let sent: Vec<u8> = (0..4 << 20).map(|i: u32| (i % 251) as u8).collect();
        stream.write_all(&sent).await.expect("room");
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
