//! The two halves of a connection: reading with a buffer, and writing.

use std::{
    fmt,
    io::{self, ErrorKind},
    mem::MaybeUninit,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::client::TlsStream;

/// How much is read at once, bytes.
const PIECE: usize = 16 << 10;
/// The longest line and the most that is gathered for one call, bytes.
const GATHERED_MAX: usize = 256 << 20;

/// Any connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// The socket beneath it.
    fn socket(&self) -> SockRef<'_>;
}

impl Stream for TcpStream {
    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}

impl Stream for UnixStream {
    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}

impl Stream for TlsStream<Any> {
    fn socket(&self) -> SockRef<'_> {
        self.get_ref().0.socket()
    }
}

pub(super) type Any = Box<dyn Stream>;

/// Where to.
pub(super) enum Peer {
    /// A host, by name or address, and a port.
    Tcp(String, u16),
    /// A path.
    Unix(PathBuf),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(host, port) => write!(f, "{host}:{port}"),
            Peer::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why something failed, in OpenResty's words, and what had come until then.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) text: String,
    pub(super) partial: Vec<u8>,
    /// Whether the connection is lost by it.
    pub(super) fatal: bool,
}

impl Fault {
    /// One that changes nothing about the connection.
    pub(super) fn text(text: &str) -> Fault {
        Fault { text: text.to_owned(), partial: Vec::new(), fatal: false }
    }

    /// What the system says.
    pub(super) fn io(error: &io::Error) -> Fault {
        let text = match error.kind() {
            ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
            ErrorKind::BrokenPipe => "broken pipe".to_owned(),
            ErrorKind::NotFound => "no such file or directory".to_owned(),
            ErrorKind::PermissionDenied => "permission denied".to_owned(),
            ErrorKind::TimedOut => "timeout".to_owned(),
            ErrorKind::UnexpectedEof => "closed".to_owned(),
            _ => error.to_string(),
        };
        Fault { text, partial: Vec::new(), fatal: true }
    }

    fn with(mut self, partial: Vec<u8>) -> Fault {
        self.partial = partial;
        self
    }
}

/// Whether the other side has neither closed a connection nor said anything that nobody has read.
/// The system is asked: what has come since the worker last looked at its sockets counts.
pub(super) fn is_quiet(stream: &Any) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let peeked = stream.socket().peek(&mut byte);
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// The reading half.
pub(super) struct Reader {
    half: ReadHalf<Any>,
    buffer: BytesMut,
}

/// The writing half.
pub(super) struct Writer(WriteHalf<Any>);

/// Halves of a connection.
pub(super) fn split(stream: Any) -> (Reader, Writer) {
    let (reader, writer) = tokio::io::split(stream);
    (Reader { half: reader, buffer: BytesMut::new() }, Writer(writer))
}

/// Connects.
///
/// # Errors
/// What came in the way.
pub(super) async fn connect(peer: &Peer, limit: Duration) -> Result<(Reader, Writer), Fault> {
    let opened = timeout(limit, open(peer)).await;
    opened.map_err(|_| Fault::text("timeout"))?.map(split)
}

async fn open(peer: &Peer) -> Result<Any, Fault> {
    match peer {
        Peer::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(Fault::io(&error)),
        },
        Peer::Tcp(host, port) => {
            let mut last = None;
            for address in resolve(host, *port).await? {
                match TcpStream::connect(address).await {
                    Ok(stream) => {
                        // Without it small writes wait; a socket that refuses works too.
                        let _ = stream.set_nodelay(true);
                        return Ok(Box::new(stream));
                    }
                    Err(error) => last = Some(error),
                }
            }
            Err(last.as_ref().map_or_else(|| unknown(host), Fault::io))
        }
    }
}

/// The addresses of a host.
///
/// # Errors
/// If it has none.
pub(super) async fn resolve(host: &str, port: u16) -> Result<Vec<std::net::SocketAddr>, Fault> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let found = tokio::net::lookup_host((bare, port)).await;
    found.map(Iterator::collect).map_err(|_| unknown(host))
}

fn unknown(host: &str) -> Fault {
    Fault::text(&format!("{host} could not be resolved (3: Host not found)"))
}

impl Writer {
    /// Sends all of a text.
    ///
    /// # Errors
    /// "timeout", "closed", or what the system says.
    pub(super) async fn send(&mut self, text: &[u8], limit: Duration) -> Result<(), Fault> {
        let work = async {
            self.0.write_all(text).await?;
            self.0.flush().await
        };
        match timeout(limit, work).await {
            Ok(result) => result.map_err(|error| Fault::io(&error)),
            Err(_) => Err(Fault::text("timeout")),
        }
    }
}

impl Reader {
    /// Whether nothing waits that was read already.
    pub(super) fn is_drained(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The whole connection again.
    pub(super) fn reunite(self, writer: Writer) -> Any {
        self.half.unsplit(writer.0)
    }

    /// Whether the other side has said or closed something; for connections that wait for use.
    pub(super) fn poll_noise(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        Pin::new(&mut self.half).poll_read(cx, &mut buffer).map(|_| ())
    }

    /// The same at once.
    pub(super) fn is_noisy(&mut self) -> bool {
        self.poll_noise(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Reads some more; whether there was more.
    async fn more(&mut self, limit: Duration) -> Result<bool, Fault> {
        if self.buffer.len() > GATHERED_MAX {
            return Err(Fault { fatal: true, ..Fault::text("too much data") });
        }
        self.buffer.reserve(PIECE);
        match timeout(limit, self.half.read_buf(&mut self.buffer)).await {
            Ok(Ok(count)) => Ok(count > 0),
            Ok(Err(error)) => match Fault::io(&error) {
                // A peer that ends TLS without a word has closed.
                fault if fault.text == "closed" => Ok(false),
                fault => Err(fault),
            },
            Err(_) => Err(Fault::text("timeout")),
        }
    }

    /// The same, with what has come until then in the error.
    async fn must_more(&mut self, limit: Duration) -> Result<(), Fault> {
        let fault = match self.more(limit).await {
            Ok(true) => return Ok(()),
            Ok(false) => Fault { fatal: true, ..Fault::text("closed") },
            Err(fault) => fault,
        };
        Err(fault.with(self.take_all()))
    }

    fn take_all(&mut self) -> Vec<u8> {
        self.buffer.split().to_vec()
    }

    /// So many bytes.
    ///
    /// # Errors
    /// "timeout", "closed" or what the system says, with what has come.
    pub(super) async fn exact(&mut self, size: usize, limit: Duration) -> Result<Vec<u8>, Fault> {
        while self.buffer.len() < size {
            self.must_more(limit).await?;
        }
        Ok(self.buffer.split_to(size).to_vec())
    }

    /// A line, without its end.
    ///
    /// # Errors
    /// As [`Reader::exact`].
    pub(super) async fn line(&mut self, limit: Duration) -> Result<Vec<u8>, Fault> {
        let mut seen = 0;
        loop {
            let unseen = self.buffer.get(seen..).unwrap_or_default();
            if let Some(place) = unseen.iter().position(|&byte| byte == b'\n') {
                let mut line = self.buffer.split_to(seen + place).to_vec();
                self.buffer.advance(1);
                line.retain(|&byte| byte != b'\r');
                return Ok(line);
            }
            seen = self.buffer.len();
            self.must_more(limit).await?;
        }
    }

    /// Everything until the other side closes.
    ///
    /// # Errors
    /// As [`Reader::exact`].
    pub(super) async fn all(&mut self, limit: Duration) -> Result<Vec<u8>, Fault> {
        loop {
            match self.more(limit).await {
                Ok(true) => {}
                Ok(false) => return Ok(self.take_all()),
                Err(fault) => return Err(fault.with(self.take_all())),
            }
        }
    }

    /// What is there, at most so many bytes.
    ///
    /// # Errors
    /// As [`Reader::exact`].
    pub(super) async fn any(&mut self, max: usize, limit: Duration) -> Result<Vec<u8>, Fault> {
        if self.buffer.is_empty() {
            self.must_more(limit).await?;
        }
        let size = max.min(self.buffer.len());
        Ok(self.buffer.split_to(size).to_vec())
    }

    /// What stands before a text; with a size, at most so many bytes of it, and nothing once the
    /// text has come, which is taken off then.
    ///
    /// # Errors
    /// As [`Reader::exact`].
    pub(super) async fn until(
        &mut self,
        stop: &[u8],
        inclusive: bool,
        max: Option<usize>,
        limit: Duration,
    ) -> Result<Vec<u8>, Fault> {
        let mut seen = 0;
        loop {
            let unseen = self.buffer.get(seen..).unwrap_or_default();
            let found = unseen.windows(stop.len()).position(|window| window == stop);
            if let Some(place) = found.map(|place| seen + place) {
                let whole = if inclusive { place + stop.len() } else { place };
                if let Some(max) = max.filter(|max| *max > 0 && *max < whole) {
                    return Ok(self.buffer.split_to(max).to_vec());
                }
                if max.is_some() && whole > 0 && !inclusive {
                    return Ok(self.buffer.split_to(whole).to_vec());
                }
                let taken = self.buffer.split_to(whole).to_vec();
                self.buffer.advance(place + stop.len() - whole);
                return Ok(taken);
            }
            // The end of what is there may be the beginning of the text.
            seen = (self.buffer.len() + 1).saturating_sub(stop.len());
            if let Some(max) = max.filter(|max| *max > 0 && *max <= seen) {
                return Ok(self.buffer.split_to(max).to_vec());
            }
            self.must_more(limit).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn reader(text: &'static [u8]) -> Reader {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        // A few bytes at a time.
        tokio::spawn(async move {
            for piece in text.chunks(4) {
                let _ = far.write_all(piece).await;
                tokio::task::yield_now().await;
            }
        });
        split(Box::new(near)).0
    }

    fn shown(read: Result<Vec<u8>, Fault>) -> String {
        match read {
            Ok(data) => String::from_utf8_lossy(&data).into_owned(),
            Err(fault) => format!("{} {}", fault.text, String::from_utf8_lossy(&fault.partial)),
        }
    }

    #[tokio::test]
    async fn data_is_read_in_pieces_of_all_kinds() {
        let mut reader = reader(b"one\r\ntwo\nexactly10.rest");
        assert_eq!(shown(reader.line(SOON).await), "one");
        assert_eq!(shown(reader.line(SOON).await), "two");
        assert_eq!(shown(reader.exact(10, SOON).await), "exactly10.");
        assert_eq!(shown(reader.exact(10, SOON).await), "closed rest");
        assert_eq!(shown(reader.any(10, SOON).await), "closed ");
    }

    #[tokio::test]
    async fn a_text_ends_what_is_read() {
        let mut reader = reader(b"abc--def--ghi--j-kl");
        assert_eq!(shown(reader.until(b"--", false, None, SOON).await), "abc");
        assert_eq!(shown(reader.until(b"--", true, None, SOON).await), "def--");
        for expect in ["gh", "i", ""] {
            assert_eq!(shown(reader.until(b"--", false, Some(2), SOON).await), expect);
        }
        assert_eq!(shown(reader.until(b"--", false, None, SOON).await), "closed j-kl");
    }
}
