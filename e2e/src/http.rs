//! An HTTP/1.1 client that sends exactly what it is told, however wrong, and tells how it ended.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

/// A request as text and bytes.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The method, `GET` by default of [`Request::get`].
    pub method: String,
    /// The request target, sent as it stands.
    pub target: String,
    /// Header lines in order, sent as Latin-1. `Host: example.test` is added when there is no Host.
    pub headers: Vec<(String, String)>,
    /// The body; `Content-Length` is added unless a header says how long it is.
    pub body: Option<Vec<u8>>,
}

impl Request {
    /// A GET of `target`.
    pub fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    /// A request without headers or body.
    pub fn new(method: &str, target: &str) -> Request {
        Request { method: method.into(), target: target.into(), ..Request::default() }
    }

    /// The request with one more header.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The request with a body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = Some(body.into());
        self
    }

    fn to_bytes(&self, keep: bool) -> Vec<u8> {
        let has = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !has("host") {
            head += "Host: example.test\r\n";
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let body = self.body.as_deref().unwrap_or_default();
        if self.body.is_some() && !has("content-length") && !has("transfer-encoding") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        if !keep {
            head += "Connection: close\r\n";
        }
        head += "\r\n";
        // Latin-1, as header bytes are; what does not fit goes as UTF-8.
        let mut bytes = Vec::with_capacity(head.len() + body.len());
        for c in head.chars() {
            match u8::try_from(c) {
                Ok(byte) => bytes.push(byte),
                Err(_) => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        bytes.extend(body);
        bytes
    }
}

/// An answer as it came.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header lines in order, read as Latin-1.
    pub headers: Vec<(String, String)>,
    /// The body, without its transfer coding. Short when the connection ended early.
    pub body: Vec<u8>,
    /// Whether the body ended before its announced length.
    pub truncated: bool,
}

impl Answer {
    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The body as text, what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON. Panics with the answer when it is none.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(err) => panic!("no JSON ({err}): {} {}", self.status, self.text()),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// The connection was closed before the first byte of an answer.
    Closed,
    /// The connection was reset, or could not be made.
    Broken(io::Error),
    /// Nothing came in time.
    Timeout,
    /// What came is not HTTP.
    Garbage(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::Closed => f.write_str("the connection was closed without an answer"),
            NoAnswer::Broken(err) => write!(f, "{err}"),
            NoAnswer::Timeout => f.write_str("no answer in time"),
            NoAnswer::Garbage(line) => write!(f, "not an HTTP answer: {line:?}"),
        }
    }
}

impl From<io::Error> for NoAnswer {
    fn from(err: io::Error) -> NoAnswer {
        match err.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => NoAnswer::Timeout,
            _ => NoAnswer::Broken(err),
        }
    }
}

/// Sends one request on a connection of its own, 15 s for each read.
pub fn send(address: &str, request: &Request) -> Result<Answer, NoAnswer> {
    let mut connection = Connection::open(address, Duration::from_secs(15))?;
    connection.ask(request, false)
}

/// A connection that can carry several requests, one after the other.
pub struct Connection {
    stream: BufReader<Stream>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(buf),
            Stream::Tls(tls) => match tls.read(buf) {
                // A close without close_notify is a close.
                Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
        }
    }
}

impl Connection {
    /// Connects in plain text. `timeout` holds for connecting and for each read.
    pub fn open(address: &str, timeout: Duration) -> Result<Connection, NoAnswer> {
        Ok(Connection { stream: BufReader::new(Stream::Plain(connect(address, timeout)?)) })
    }

    /// Connects with TLS, whoever the server is. Without `sni` the hello names nobody. Also gives
    /// the server's certificate (DER).
    pub fn open_tls(
        address: &str,
        sni: Option<&str>,
        timeout: Duration,
    ) -> Result<(Connection, Vec<u8>), NoAnswer> {
        let mut tcp = connect(address, timeout)?;
        // An address is never sent as SNI.
        let name = ServerName::try_from(sni.unwrap_or("127.0.0.1").to_string())
            .map_err(|err| NoAnswer::Broken(io::Error::other(err)))?;
        let broken = |err: rustls::Error| NoAnswer::Broken(io::Error::other(err));
        let mut tls = ClientConnection::new(trusting(), name).map_err(broken)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        let certificates = tls.peer_certificates().unwrap_or_default();
        let certificate = certificates.first().map(|c| c.to_vec()).unwrap_or_default();
        let stream = Stream::Tls(Box::new(StreamOwned::new(tls, tcp)));
        Ok((Connection { stream: BufReader::new(stream) }, certificate))
    }

    /// Sends a request and reads its answer. Without `keep` it asks for the connection's end.
    pub fn ask(&mut self, request: &Request, keep: bool) -> Result<Answer, NoAnswer> {
        let bytes = request.to_bytes(keep);
        // A server may answer and close before it has read everything: the answer counts.
        let sent = match self.stream.get_mut() {
            Stream::Plain(tcp) => tcp.write_all(&bytes),
            Stream::Tls(tls) => tls.write_all(&bytes).and_then(|()| tls.flush()),
        };
        match (sent, self.read_answer(&request.method)) {
            (Err(err), Err(_)) => Err(err.into()),
            (_, answer) => answer,
        }
    }

    fn read_answer(&mut self, method: &str) -> Result<Answer, NoAnswer> {
        let mut answer = self.read_head()?;
        while answer.status / 100 == 1 && answer.status != 101 {
            answer = self.read_head()?;
        }
        if method == "HEAD" || matches!(answer.status, 101 | 204 | 304) {
            return Ok(answer);
        }
        let chunked = answer.header("transfer-encoding").is_some_and(|v| v.contains("chunked"));
        let length = answer.header("content-length").and_then(|v| v.parse::<u64>().ok());
        if chunked {
            answer.truncated = !self.read_chunks(&mut answer.body)?;
        } else if let Some(length) = length {
            (&mut self.stream).take(length).read_to_end(&mut answer.body)?;
            answer.truncated = (answer.body.len() as u64) < length;
        } else {
            self.stream.read_to_end(&mut answer.body)?;
        }
        Ok(answer)
    }

    fn read_head(&mut self) -> Result<Answer, NoAnswer> {
        let line = self.read_line()?;
        if line.is_empty() {
            return Err(NoAnswer::Closed);
        }
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        let Some(status) = status else { return Err(NoAnswer::Garbage(line)) };
        let mut answer = Answer { status, ..Answer::default() };
        loop {
            let line = self.read_line()?;
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                return Ok(answer);
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            answer.headers.push((name.into(), value.trim().into()));
        }
    }

    /// Whether the last chunk was there.
    fn read_chunks(&mut self, body: &mut Vec<u8>) -> Result<bool, NoAnswer> {
        loop {
            let line = self.read_line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let Ok(size) = u64::from_str_radix(size, 16) else { return Ok(false) };
            let before = body.len() as u64;
            (&mut self.stream).take(size).read_to_end(body)?;
            if (body.len() as u64) < before + size {
                return Ok(false);
            }
            let mut rest = self.read_line()?;
            if size == 0 {
                while !rest.trim().is_empty() {
                    rest = self.read_line()?; // trailers
                }
                return Ok(true);
            }
        }
    }

    fn read_line(&mut self) -> Result<String, NoAnswer> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        Ok(line.into_iter().map(char::from).collect())
    }
}

fn connect(address: &str, timeout: Duration) -> Result<TcpStream, NoAnswer> {
    let address = address.parse().map_err(|err| {
        NoAnswer::Broken(io::Error::other(format!("{address} is no address: {err}")))
    })?;
    let tcp = TcpStream::connect_timeout(&address, timeout)?;
    tcp.set_read_timeout(Some(timeout))?;
    tcp.set_write_timeout(Some(timeout))?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// A TLS client that takes any certificate: the tests look at it themselves.
fn trusting() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let verifier = Arc::new(Trusting(provider));
    let dangerous = builder.dangerous().with_custom_certificate_verifier(verifier);
    Arc::new(dangerous.with_no_client_auth())
}

#[derive(Debug)]
struct Trusting(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
