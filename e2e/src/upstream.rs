//! An upstream that answers every request with a JSON account of what it received:
//! `{"upstream": PORT, "method", "target", "version", "headers": [[name, value], ...], "body"}`.
//! Header names keep the case and order in which they arrived.
//!
//! Segments of the path steer the answer, wherever they stand in it:
//!
//! | segment              | the answer                                                  |
//! |----------------------|-------------------------------------------------------------|
//! | `status/404`         | that status                                                 |
//! | `delay/1500`         | after that many milliseconds                                |
//! | `bytes/4096`         | a text/plain body of that many `x`                          |
//! | `chunked/3`          | three chunks `chunk 1\n`, ... with `Transfer-Encoding`      |
//! | `close`              | none: the connection is closed                              |
//! | `set/NAME/VALUE`     | with one more header (may be repeated)                      |
//! | `html`               | a small text/html body                                      |

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

/// What arrived in one request.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The request target as sent.
    pub target: String,
    /// `HTTP/1.1`.
    pub version: String,
    /// The header lines in order, read as Latin-1.
    pub headers: Vec<(String, String)>,
    /// The body, without its transfer coding.
    pub body: Vec<u8>,
}

impl Seen {
    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// A running upstream; it ends when dropped.
pub struct Upstream {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    seen: Mutex<Vec<Seen>>,
    keep: bool,
    ended: AtomicBool,
    tls: Option<Arc<ServerConfig>>,
}

impl Upstream {
    /// Starts on a free port of 127.0.0.1 and remembers what it has seen.
    pub fn start() -> Upstream {
        Upstream::listen(0, None, true).unwrap_or_else(|err| panic!("starting an upstream: {err}"))
    }

    /// Starts on a given port, with TLS if asked. Requests are remembered only if `keep`.
    pub fn listen(port: u16, tls: Option<Arc<ServerConfig>>, keep: bool) -> io::Result<Upstream> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let port = listener.local_addr()?.port();
        let seen = Mutex::default();
        let shared = Arc::new(Shared { seen, keep, ended: AtomicBool::new(false), tls });
        let of_thread = shared.clone();
        std::thread::spawn(move || accept(&listener, port, &of_thread));
        Ok(Upstream { port, shared })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has seen since the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the accepting thread
    }
}

fn accept(listener: &TcpListener, port: u16, shared: &Arc<Shared>) {
    for tcp in listener.incoming() {
        if shared.ended.load(Ordering::Relaxed) {
            return;
        }
        let Ok(tcp) = tcp else { continue };
        let shared = shared.clone();
        // A connection that breaks is the business of the other end.
        std::thread::spawn(move || {
            let _ = tcp.set_nodelay(true);
            match shared.tls.clone() {
                None => serve(&mut BufReader::new(tcp), port, &shared),
                Some(config) => {
                    let tls = ServerConnection::new(config).map_err(io::Error::other)?;
                    serve(&mut BufReader::new(StreamOwned::new(tls, tcp)), port, &shared)
                }
            }
        });
    }
}

fn serve<S: Read + Write>(io: &mut BufReader<S>, port: u16, shared: &Shared) -> io::Result<()> {
    while let Some(seen) = read_request(io)? {
        let steering = Steering::from_path(&seen.target);
        if shared.keep {
            shared.seen.lock().unwrap().push(seen.clone());
        }
        std::thread::sleep(steering.delay);
        let closes = seen.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        answer(io.get_mut(), &seen, &steering, port)?;
        if matches!(steering.kind, Kind::Close) || closes {
            break;
        }
    }
    Ok(())
}

fn read_request(io: &mut impl BufRead) -> io::Result<Option<Seen>> {
    let line = read_line(io)?;
    let mut words = line.splitn(3, ' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    let (method, target, version) = (method.into(), target.into(), version.into());
    let mut seen = Seen { method, target, version, headers: Vec::new(), body: Vec::new() };
    loop {
        let line = read_line(io)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        seen.headers.push((name.into(), value.trim().into()));
    }
    if seen.header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        read_chunks(io, &mut seen.body)?;
    } else if let Some(length) = seen.header("content-length") {
        let length = length.parse().map_err(io::Error::other)?;
        let mut body = vec![0; length];
        io.read_exact(&mut body)?;
        seen.body = body;
    }
    Ok(Some(seen))
}

fn read_chunks(io: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(io)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
        (&mut *io).take(size).read_to_end(body)?;
        read_line(io)?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// A line as Latin-1, without its end.
fn read_line(io: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    io.read_until(b'\n', &mut line)?;
    let line: String = line.into_iter().map(char::from).collect();
    Ok(line.trim_end_matches(['\r', '\n']).into())
}

enum Kind {
    Json,
    Bytes(usize),
    Chunked(usize),
    Html,
    Close,
}

struct Steering {
    status: u16,
    delay: Duration,
    kind: Kind,
    headers: Vec<(String, String)>,
}

impl Steering {
    fn from_path(target: &str) -> Steering {
        let path = target.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let mut out =
            Steering { status: 200, delay: Duration::ZERO, kind: Kind::Json, headers: vec![] };
        for (i, part) in parts.iter().enumerate() {
            let next = parts.get(i + 1).copied().unwrap_or_default();
            let number = next.parse::<usize>().ok();
            match (*part, number) {
                ("status", Some(n)) if next.len() == 3 => out.status = n as u16,
                ("delay", Some(n)) => out.delay = Duration::from_millis(n as u64),
                ("bytes", Some(n)) => out.kind = Kind::Bytes(n),
                ("chunked", Some(n)) => out.kind = Kind::Chunked(n),
                ("html", _) => out.kind = Kind::Html,
                ("close", _) => out.kind = Kind::Close,
                ("set", _) => {
                    let value = parts.get(i + 2).map(|v| (next.to_string(), v.to_string()));
                    out.headers.extend(value);
                }
                _ => {}
            }
        }
        out
    }
}

fn answer(io: &mut impl Write, seen: &Seen, steering: &Steering, port: u16) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Status\r\nX-Upstream: echo\r\n", steering.status);
    for (name, value) in &steering.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let (content_type, body) = match steering.kind {
        Kind::Close => return Ok(()),
        Kind::Chunked(chunks) => return answer_chunks(io, head, chunks),
        Kind::Bytes(n) => ("text/plain", vec![b'x'; n]),
        Kind::Html => ("text/html; charset=utf-8", b"<html><body>hello</body></html>".to_vec()),
        Kind::Json => ("application/json", account(seen, port).into_bytes()),
    };
    let mut bytes = head.into_bytes();
    if matches!(steering.status, 204 | 304) {
        bytes.extend(b"\r\n");
    } else {
        let length = body.len();
        bytes.extend(
            format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n").bytes(),
        );
        if seen.method != "HEAD" {
            bytes.extend(body);
        }
    }
    io.write_all(&bytes)?;
    io.flush()
}

fn answer_chunks(io: &mut impl Write, head: String, chunks: usize) -> io::Result<()> {
    let head = head + "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    io.write_all(head.as_bytes())?;
    for i in 1..=chunks {
        let data = format!("chunk {i}\n");
        io.write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes())?;
        io.flush()?;
        std::thread::sleep(Duration::from_millis(10));
    }
    io.write_all(b"0\r\n\r\n")?;
    io.flush()
}

fn account(seen: &Seen, port: u16) -> String {
    let headers: Vec<_> = seen.headers.iter().map(|(name, value)| json!([name, value])).collect();
    let body = String::from_utf8_lossy(&seen.body);
    let account = json!({"upstream": port, "method": seen.method, "target": seen.target,
        "version": seen.version, "headers": headers, "body": body});
    account.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{NoAnswer, Request, send};

    /// Asks an upstream of its own; the answer as `STATUS TYPE LENGTH`, or why there is none.
    fn check(request: &Request, expect: &str) {
        let upstream = Upstream::start();
        let answer = match send(&format!("127.0.0.1:{}", upstream.port()), request) {
            Ok(answer) => {
                let kind = answer.header("content-type").unwrap_or("-");
                format!("{} {kind} {}", answer.status, answer.body.len())
            }
            Err(NoAnswer::Closed) => "closed".into(),
            Err(other) => other.to_string(),
        };
        assert_eq!(answer, expect);
        assert_eq!(upstream.take_seen().len(), 1);
    }

    #[test]
    fn the_path_steers_the_answer() {
        check(&Request::get("/a/status/404/bytes/5"), "404 text/plain 5");
        check(&Request::get("/chunked/3"), "200 text/plain 24");
        check(&Request::get("/status/204"), "204 - 0");
        check(&Request::new("HEAD", "/bytes/9"), "200 text/plain 0");
        check(&Request::get("/html?status/500"), "200 text/html; charset=utf-8 31");
        check(&Request::get("/close"), "closed");
    }

    #[test]
    fn it_tells_what_it_received() {
        let upstream = Upstream::start();
        let address = format!("127.0.0.1:{}", upstream.port());
        let chunked = Request::new("POST", "/set/X-A/b?q=1")
            .header("Transfer-Encoding", "chunked")
            .header("X-Name", "na\u{ef}ve")
            .body("3\r\nabc\r\n0\r\n\r\n");
        let answer = send(&address, &chunked).unwrap();
        assert_eq!(answer.header("x-a"), Some("b"));
        let json = answer.json();
        assert_eq!(json["body"], "abc");
        assert_eq!(json["target"], "/set/X-A/b?q=1");
        assert_eq!(json["headers"][2], json!(["X-Name", "na\u{ef}ve"]));
    }
}
