//! A client that asks at a steady pace, whatever the answers do: what it sees of a change.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::stats::part;

/// Requests a second.
pub(crate) const RATE: u64 = 500;
/// Over so many connections, in turns: an answer that is late holds up few others.
const CONNECTIONS: u64 = 10;

/// The client at work.
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Waits>>>,
}

/// When each request was due, and after how many milliseconds it was answered.
type Waits = Vec<(Instant, f64)>;

/// What it saw.
pub(crate) struct Seen(Waits);

impl Steady {
    /// Begins to ask a port for a path.
    pub(crate) fn start(port: u16, path: &str) -> Steady {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |number: u64| {
            let (path, stop) = (path.to_owned(), Arc::clone(&stop));
            std::thread::spawn(move || run(port, &path, number, &stop))
        };
        let threads = (0..CONNECTIONS).map(start).collect();
        Steady { stop, threads }
    }

    /// Ends it. That a request failed is an error.
    pub(crate) fn stop(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let mut seen = Vec::new();
        for thread in self.threads {
            seen.extend(thread.join().map_err(|_| anyhow!("a client failed"))??);
        }
        Ok(Seen(seen))
    }
}

impl Seen {
    /// The p99 and the longest wait of those due in a time, in milliseconds.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> (f64, f64) {
        self.within(&[(from, to)])
    }

    /// The same of several times together.
    pub(crate) fn within(&self, times: &[(Instant, Instant)]) -> (f64, f64) {
        let is_within = |due| times.iter().any(|(from, to)| (*from..*to).contains(due));
        let within = self.0.iter().filter(|(due, _)| is_within(due));
        let waits: Vec<f64> = within.map(|(_, wait)| *wait).collect();
        let longest = waits.iter().copied().fold(0.0, f64::max);
        (part(waits, 0.99), longest)
    }
}

fn run(port: u16, path: &str, number: u64, stop: &AtomicBool) -> Result<Waits> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench.test\r\n\r\n");
    let begin = Instant::now();
    let pace = Duration::from_micros(1_000_000 * CONNECTIONS / RATE);
    let mut due = begin + pace * u32::try_from(number)? / u32::try_from(CONNECTIONS)?;
    let mut seen = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(request.as_bytes())?;
        read_answer(&mut stream, &mut buffer)?;
        seen.push((due, due.elapsed().as_secs_f64() * 1000.0));
        due += pace;
    }
    Ok(seen)
}

/// Reads one answer with a length.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
    let mut length = 0;
    loop {
        match stream.read(buffer.get_mut(length..).unwrap_or_default()) {
            Ok(0) => bail!("the connection was closed"),
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        let text = buffer.get(..length).unwrap_or_default();
        let Some(head) = text.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let head_text = String::from_utf8_lossy(text.get(..head).unwrap_or_default());
        if !head_text.starts_with("HTTP/1.1 200") {
            bail!("not 200: {head_text}");
        }
        let body = head_text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let body: usize = body.ok_or_else(|| anyhow!("no length: {head_text}"))?;
        if length >= head + 4 + body {
            return Ok(());
        }
    }
}
