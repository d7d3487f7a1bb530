//! A connection on which lines are sent, kept for a while.

use std::{cell::RefCell, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::tls::Trust;

/// Where to, and how long to wait for what.
pub(super) struct Peer {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) timeout: Duration,
    /// How long an idle connection is kept.
    pub(super) keepalive: Duration,
    /// Whether TLS is spoken.
    pub(super) tls: bool,
    /// The name that TLS asks for; none asks for no name.
    pub(super) sni: Option<String>,
    pub(super) trust: Trust,
}

/// A connection in clear or within TLS.
pub(super) type Stream = Box<dyn ReadWrite>;

pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// An idle connection, and since when it is.
type Idle = Option<(Stream, Instant)>;

thread_local! {
    /// Of the background thread, by the address of the peer's configuration.
    static IDLE: RefCell<std::collections::HashMap<usize, Idle>> = RefCell::default();
}

impl Peer {
    /// Opens a connection.
    ///
    /// # Errors
    /// Why it can't.
    pub(super) async fn connect(&self) -> Result<Stream, String> {
        let Peer { host, port, .. } = self;
        let connecting = async {
            let stream = TcpStream::connect((host.as_str(), *port)).await;
            let stream = stream.map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            if !self.tls {
                return Ok(Box::new(stream) as Stream);
            }
            // As in Kong nobody asks who it is.
            let stream = self.trust.connect(stream, self.sni.as_deref(), false).await?;
            Ok(Box::new(stream) as Stream)
        };
        let connected = timeout(self.timeout, connecting).await;
        let connected = connected.unwrap_or_else(|_| Err("timeout".to_owned()));
        connected.map_err(|error: String| format!("failed to connect to {host}:{port}: {error}"))
    }

    /// Sends bytes, on the connection that was kept if it is still good.
    ///
    /// # Errors
    /// Why it can't.
    pub(super) async fn send(&self, bytes: &[u8]) -> Result<(), String> {
        let key = std::ptr::from_ref(self) as usize;
        let idle = IDLE.with_borrow_mut(|idle| idle.remove(&key).flatten());
        let kept = idle.filter(|(_, since)| since.elapsed() < self.keepalive);
        let mut kept = kept.map(|(stream, _)| stream);
        if let Some(stream) = &mut kept
            && !is_open(stream).await
        {
            kept = None;
        }
        let mut stream = match kept {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let writing = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        let Peer { host, port, .. } = self;
        match timeout(self.timeout, writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(format!("failed to send to {host}:{port}: {error}")),
            Err(_) => return Err(format!("failed to send to {host}:{port}: timeout")),
        }
        IDLE.with_borrow_mut(|idle| idle.insert(key, Some((stream, Instant::now()))));
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let key = std::ptr::from_ref(self) as usize;
        // Nothing is kept on other threads, nor while the thread ends.
        let _ = IDLE.try_with(|idle| idle.borrow_mut().remove(&key));
    }
}

/// Whether the other side has not closed the connection. What it says is of no interest.
async fn is_open(stream: &mut Stream) -> bool {
    use std::task::Poll;
    let mut buffer = [0; 256];
    std::future::poll_fn(|cx| {
        loop {
            let mut read = tokio::io::ReadBuf::new(&mut buffer);
            match std::pin::Pin::new(&mut *stream).poll_read(cx, &mut read) {
                Poll::Pending => return Poll::Ready(true),
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(false),
            }
        }
    })
    .await
}
