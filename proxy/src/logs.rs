//! The end of a request: a line in the access log, and the log phase.

mod format;
mod syslog;

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderName, Version, header};
use silverback_pdk::{Body, Exchange, LogLevel, Phase, Session};

pub use self::{
    format::{FormatError, LogFormat},
    syslog::{Syslog, SyslogError, SyslogSender},
};
use crate::lifecycle::Work;

/// Lines that may wait for the disk.
const WAITING_MAX: usize = 16_384;
/// How long a line may wait in memory.
const FLUSH: Duration = Duration::from_secs(1);

/// Where an access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// To a file.
    File(PathBuf),
    /// By syslog.
    Syslog(Syslog),
}

impl From<PathBuf> for LogTarget {
    fn from(path: PathBuf) -> LogTarget {
        LogTarget::File(path)
    }
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogTarget::File(path) => path.display().fmt(f),
            LogTarget::Syslog(_) => f.write_str("syslog"),
        }
    }
}

/// The access log: lines go to a thread of its own, so that no worker waits for the disk.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    orders: SyncSender<Order>,
}

/// What the thread is told.
#[derive(Debug)]
enum Order {
    /// Write this line.
    Line(String),
    /// Open the file again: it was moved away.
    Reopen,
}

impl AccessLog {
    /// Opens the file, to add to it, or gets ready to send. The thread ends when the last of the
    /// log is dropped, and has then written everything.
    pub(crate) fn open(target: &LogTarget) -> io::Result<(AccessLog, JoinHandle<()>)> {
        let (orders, waiting) = sync_channel(WAITING_MAX);
        let write: Box<dyn FnOnce() + Send> = match target {
            LogTarget::File(path) => {
                let (path, file) = (path.clone(), append(path)?);
                Box::new(move || write_lines(&path, file, &waiting))
            }
            LogTarget::Syslog(syslog) => {
                let sender = syslog.open()?;
                Box::new(move || send_lines(&sender, &waiting))
            }
        };
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(write)?;
        Ok((AccessLog { orders }, thread))
    }

    /// Opens the file again, after it was moved away.
    pub(crate) fn reopen(&self) {
        // A thread that has ended has nothing to reopen.
        let _ = self.orders.send(Order::Reopen);
    }

    /// Whether there was room for the line.
    fn write(&self, line: String) -> bool {
        self.orders.try_send(Order::Line(line)).is_ok()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write_lines(path: &Path, file: File, orders: &Receiver<Order>) {
    let mut file = BufWriter::with_capacity(64 * 1024, file);
    let mut failed = false;
    loop {
        let written = match orders.recv_timeout(FLUSH) {
            Ok(Order::Line(line)) => file.write_all(line.as_bytes()),
            Ok(Order::Reopen) => file.flush().and_then(|()| append(path)).map(|fresh| {
                file = BufWriter::with_capacity(64 * 1024, fresh);
            }),
            Err(RecvTimeoutError::Timeout) => file.flush(),
            Err(RecvTimeoutError::Disconnected) => {
                // The gateway ends: what can't be written now never will be.
                let _ = file.flush();
                return;
            }
        };
        if let Err(error) = &written
            && !failed
        {
            silverback_pdk::log(LogLevel::Err, "", &format!("access log: {error}"));
        }
        failed = written.is_err();
    }
}

fn send_lines(sender: &SyslogSender, orders: &Receiver<Order>) {
    let mut failed = false;
    for order in orders {
        let Order::Line(line) = order else { continue };
        let sent = sender.send(None, &line);
        if let Err(error) = &sent
            && !failed
        {
            silverback_pdk::log(LogLevel::Err, "", &format!("access log: syslog: {error}"));
        }
        failed = sent.is_err();
    }
}

/// A request or a stream has come to its end: its last byte was sent, or the client went away.
pub(crate) fn end(mut work: Box<Work>) {
    work.exchange.timing.ended = Some(Instant::now());
    // What was not read of the client's body, or not used of the upstream's connection, must not
    // wait for the log phase.
    if work.exchange.request.body.at_hand().is_none() {
        work.exchange.request.body = Body::Empty;
    }
    if work.exchange.response.body.at_hand().is_none() {
        work.exchange.response.body = Body::Empty;
    }
    let worker = work.worker.clone();
    let (exchange, config) = (&work.exchange, &worker.config);
    let (log, line): (_, &dyn Fn() -> String) = match &exchange.session {
        None => (&worker.access_log, &|| match &config.access_log_format {
            Some(format) => format.line(exchange, work.sent),
            None => line(exchange, work.sent),
        }),
        Some(session) => (&worker.stream_access_log, &|| match &config.stream_access_log_format {
            Some(format) => format.line(exchange, session.sent),
            None => stream_line(exchange, session),
        }),
    };
    if let Some(log) = log
        && !log.write(line())
    {
        worker.counters.log_lines_dropped.up();
    }
    if work.live.has_handlers(&work.ran, Phase::Log) {
        worker.log_later(work);
    } else {
        worker.keep_spare(std::mem::take(&mut work.exchange.request.headers));
    }
}

/// A line in the format of Kong's default (kong/templates/nginx_kong.lua, `kong_log_format`).
fn line(exchange: &Exchange, sent: u64) -> String {
    use std::fmt::Write as _;
    let request = &exchange.request;
    let text = |name: HeaderName| match request.headers.get(name) {
        Some(value) if !value.is_empty() => escaped(value.as_bytes()),
        _ => "-".to_owned(),
    };
    let version = match request.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    };
    let mut line = String::with_capacity(256);
    // Writing to a String can't fail.
    let _ = writeln!(
        line,
        "{} - {} [{}] \"{} {} {version}\" {} {} \"{}\" \"{}\" kong_request_id: \"{}\"",
        exchange.client.forwarded_ip,
        user(exchange),
        local_time(exchange.timing.began),
        request.method,
        escaped(request.target.as_bytes()),
        exchange.response.status.as_u16(),
        sent,
        text(header::REFERER),
        text(header::USER_AGENT),
        request.id.as_str(),
    );
    line
}

/// A line for a stream: address, time, protocol, status, bytes sent and received, seconds (Kong's
/// format `basic`, kong/templates/nginx_kong_stream.lua).
fn stream_line(exchange: &Exchange, session: &Session) -> String {
    let timing = &exchange.timing;
    let took = timing.ended.unwrap_or(timing.start).saturating_duration_since(timing.start);
    format!(
        "{} [{}] TCP {:03} {} {} {}.{:03}\n",
        exchange.client.forwarded_ip,
        local_time(timing.began),
        session.status,
        session.sent,
        session.received,
        took.as_secs(),
        took.subsec_millis(),
    )
}

/// The name that Basic authentication gives, whether or not it holds.
fn user(exchange: &Exchange) -> String {
    let given = exchange.request.headers.get(header::AUTHORIZATION);
    let name = given.and_then(|given| {
        let code = given.to_str().ok()?.strip_prefix("Basic ")?;
        let text = decode_base64(code.trim())?;
        Some(escaped(text.split(|&b| b == b':').next()?))
    });
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "-".to_owned())
}

fn decode_base64(code: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(code).ok()
}

fn escaped(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    escape(text, &mut out);
    out
}

/// Quotes, backslashes and what is not printable as nginx writes them in its logs.
fn escape(text: &[u8], out: &mut String) {
    for &byte in text {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                use std::fmt::Write as _;
                // Writing to a String can't fail.
                let _ = write!(out, "\\x{byte:02X}");
            }
            _ => out.push(char::from(byte)),
        }
    }
}

/// "21/Nov/2026:02:30:40 +0000".
fn local_time(time: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (since / 86_400, since % 86_400);
    // Days since 0000-03-01, in eras of 400 years: Howard Hinnant's civil_from_days.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let name = usize::try_from(month - 1).ok().and_then(|m| MONTHS.get(m)).copied();
    format!(
        "{day:02}/{}/{year}:{:02}:{:02}:{:02} +0000",
        name.unwrap_or_default(),
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_nginx_does() {
        let check = |seconds, expect: &str| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(local_time(time), expect);
        };
        check(0, "01/Jan/1970:00:00:00 +0000");
        check(951_826_155, "29/Feb/2000:12:09:15 +0000");
        check(1_795_228_240, "21/Nov/2026:02:30:40 +0000");
    }

    #[test]
    fn lines_hold_no_control_characters() {
        assert_eq!(escaped(b"a\"b\n"), "a\\x22b\\x0A");
    }

    #[test]
    fn a_rotated_file_is_opened_again_and_no_line_is_lost() {
        let folder = std::env::temp_dir().join(format!("silverback-log-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, moved) = (folder.join("access.log"), folder.join("access.log.1"));
        let _ = std::fs::remove_file(&path);
        let (log, thread) = AccessLog::open(&path.clone().into()).unwrap();
        assert!(log.write("before\n".to_owned()));
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        assert!(log.write("after\n".to_owned()));
        drop(log);
        thread.join().unwrap();
        assert_eq!(std::fs::read_to_string(moved).unwrap(), "before\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "after\n");
    }
}
