//! The upstream: a server that does as little as it can, so that its core is left to the load.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// The hidden argument that makes this program the upstream.
pub(crate) const VERB: &str = "__upstream";
/// Paths with this ending get the large body.
pub(crate) const LARGE_PATH: &str = "/64k";
const LISTENER: Token = Token(0);
/// A request longer than this is none of ours.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
}

/// Serves on the port given, until it is killed: 1 KiB, or 64 KiB under [`LARGE_PATH`].
pub(crate) fn run(mut args: impl Iterator<Item = String>) -> Result<()> {
    let port: u16 = args.next().context("a port")?.parse()?;
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let answers = [answer(1024), answer(64 * 1024)];
    let mut clients: HashMap<Token, Client> = HashMap::new();
    let mut events = Events::with_capacity(256);
    let mut next = 1;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let token = event.token();
            if token != LISTENER {
                let done = clients.get_mut(&token).is_none_or(|c| c.go_on(&answers).is_err());
                if done {
                    clients.remove(&token);
                }
                continue;
            }
            while let Ok((mut stream, _)) = listener.accept() {
                let token = Token(next);
                next += 1;
                let _ = stream.set_nodelay(true);
                let both = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, token, both)?;
                let client = Client { stream, input: Vec::new(), output: Vec::new(), sent: 0 };
                clients.insert(token, client);
            }
        }
    }
}

impl Client {
    /// Reads what is there and answers it; an error when the client is gone.
    fn go_on(&mut self, answers: &[Vec<u8>; 2]) -> std::io::Result<()> {
        self.flush()?;
        let mut chunk = [0; 16 * 1024];
        loop {
            let count = match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(err) if err.kind() == ErrorKind::Interrupted => continue,
                Err(err) => return Err(err),
            };
            self.input.extend_from_slice(chunk.get(..count).unwrap_or_default());
            while let Some(end) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                let line = self.input.split(|byte| *byte == b'\r').next().unwrap_or_default();
                let path = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
                let large = path.ends_with(LARGE_PATH.as_bytes());
                self.output.extend_from_slice(&answers[usize::from(large)]);
                self.input.drain(..end + 4);
            }
            if self.input.len() > REQUEST_BYTES_MAX {
                return Err(ErrorKind::InvalidData.into());
            }
            self.flush()?;
            // A short read has emptied the socket: the next bytes come with an event of their own.
            if count < chunk.len() {
                return Ok(());
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(err) => return Err(err),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }
}

fn answer(bytes: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n"
    );
    let mut answer = head.into_bytes();
    answer.extend(std::iter::repeat_n(b'x', bytes));
    answer
}
