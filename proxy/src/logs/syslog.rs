//! Logs by syslog, as nginx sends them: a datagram for each line (RFC 3164), to a server or a
//! socket of this machine. What can't be sent is lost, and nobody waits for it.

use std::{
    io,
    net::{ToSocketAddrs, UdpSocket},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    time::SystemTime,
};

use thiserror::Error;

/// How much of a line is sent, bytes: what one datagram surely holds.
const LINE_MAX: usize = 8 * 1024;

/// The facilities by their numbers; holes have no name.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv",
    "ftp", "ntp", "audit", "alert", "cron", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// The severities by their numbers.
const SEVERITIES: [&str; 8] =
    ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];

/// Where lines go, and what stands before each
/// (<https://nginx.org/en/docs/syslog.html>): `server=ADDRESS,facility=...,tag=...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    server: Server,
    facility: u8,
    severity: u8,
    /// `host tag`, or the tag alone.
    from: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Server {
    /// A host with its port.
    Udp(String),
    Unix(PathBuf),
}

/// What is wrong with the parameters.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SyslogError {
    /// There is no such parameter, or no such value of it.
    #[error("syslog: invalid parameter '{0}'")]
    Parameter(String),
    /// There is no server.
    #[error("syslog: it has no server=ADDRESS")]
    NoServer,
}

impl Syslog {
    /// Reads the parameters, as they stand behind `syslog:`.
    ///
    /// # Errors
    /// If one is unknown, or there is no server.
    pub fn parse(text: &str, hostname: &str) -> Result<Syslog, SyslogError> {
        let (mut server, mut facility, mut severity) = (None, 23, 6);
        let (mut tag, mut hostname) = ("nginx", Some(hostname));
        for parameter in text.split(',') {
            let wrong = || SyslogError::Parameter(parameter.to_owned());
            let number = |names: &[&str], value: &str| {
                let number = names.iter().position(|name| *name == value);
                number.and_then(|number| u8::try_from(number).ok()).ok_or_else(wrong)
            };
            match parameter.split_once('=') {
                Some(("server", address)) if !address.is_empty() => server = Some(address),
                Some(("facility", name)) => facility = number(&FACILITIES, name)?,
                Some(("severity", name)) => severity = number(&SEVERITIES, name)?,
                Some(("tag", text)) if is_tag(text) => tag = text,
                None if parameter == "nohostname" => hostname = None,
                _ => return Err(wrong()),
            }
        }
        let server = match server.ok_or(SyslogError::NoServer)? {
            address if address.starts_with("unix:") => Server::Unix(address[5..].into()),
            address if has_port(address) => Server::Udp(address.to_owned()),
            address => Server::Udp(format!("{address}:514")),
        };
        let from = match hostname {
            Some(host) => format!("{host} {tag}"),
            None => tag.to_owned(),
        };
        Ok(Syslog { server, facility, severity, from })
    }

    /// Gets ready to send. A name is resolved here, once.
    ///
    /// # Errors
    /// If it can't be resolved, or no socket be made.
    pub fn open(&self) -> io::Result<SyslogSender> {
        let socket = match &self.server {
            Server::Unix(path) => Socket::Unix(UnixDatagram::unbound()?, path.clone()),
            Server::Udp(address) => {
                let addresses: Vec<_> = address.to_socket_addrs()?.collect();
                let v6 = addresses.iter().all(|address| address.is_ipv6());
                let socket = UdpSocket::bind(if v6 { "[::]:0" } else { "0.0.0.0:0" })?;
                socket.connect(&addresses[..])?;
                Socket::Udp(socket)
            }
        };
        match &socket {
            Socket::Udp(socket) => socket.set_nonblocking(true)?,
            Socket::Unix(socket, _) => socket.set_nonblocking(true)?,
        }
        Ok(SyslogSender { settings: self.clone(), socket })
    }
}

/// Whether an address names a port: behind the brackets of an IPv6 address, too.
fn has_port(address: &str) -> bool {
    let rest = address.rfind(']').map_or(address, |end| &address[end..]);
    rest.contains(':')
}

/// nginx's rule: up to 32 letters, digits and underscores.
fn is_tag(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 32
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Sends lines.
#[derive(Debug)]
pub struct SyslogSender {
    settings: Syslog,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    /// With the path: who listens there may come later, or anew.
    Unix(UnixDatagram, PathBuf),
}

impl SyslogSender {
    /// Sends a line, with this severity (0 to 7) or the one of the settings.
    ///
    /// # Errors
    /// If the system takes it not. It is lost then.
    pub fn send(&self, severity: Option<u8>, line: &str) -> io::Result<()> {
        let Syslog { facility, from, .. } = &self.settings;
        let priority = facility * 8 + severity.unwrap_or(self.settings.severity).min(7);
        let line = line.trim_end_matches('\n');
        let end = (0..=LINE_MAX.min(line.len())).rev().find(|end| line.is_char_boundary(*end));
        let line = line.get(..end.unwrap_or(0)).unwrap_or(line);
        let text = format!("<{priority}>{} {from}: {line}", stamp(SystemTime::now()));
        match &self.socket {
            Socket::Udp(socket) => socket.send(text.as_bytes()),
            Socket::Unix(socket, path) => socket.send_to(text.as_bytes(), path),
        }
        .map(|_| ())
    }
}

/// `Nov  1 22:14:03`.
fn stamp(time: SystemTime) -> String {
    // Of `01/Nov/2026:22:14:03 +0000`.
    let full = super::local_time(time);
    let part = |range| full.get(range).unwrap_or_default();
    let day = part(0..2).trim_start_matches('0');
    format!("{} {day:>2} {}", part(3..6), part(12..20))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn parameters_are_nginxs() {
        let check = |text: &str, expect: Result<(&str, u8, u8, &str), &str>| {
            let read = Syslog::parse(text, "here");
            let shown = read.as_ref().map(|syslog| {
                let server = match &syslog.server {
                    Server::Udp(address) => address.clone(),
                    Server::Unix(path) => path.display().to_string(),
                };
                (server, syslog.facility, syslog.severity, syslog.from.clone())
            });
            let expect = expect.map(|(s, f, v, from)| (s.to_owned(), f, v, from.to_owned()));
            assert_eq!(shown.map_err(ToString::to_string), expect.map_err(str::to_owned), "{text}");
        };
        check("server=10.0.0.1", Ok(("10.0.0.1:514", 23, 6, "here nginx")));
        check("server=[::1]", Ok(("[::1]:514", 23, 6, "here nginx")));
        check("server=[::1]:99", Ok(("[::1]:99", 23, 6, "here nginx")));
        check(
            "server=unix:/dev/log,facility=local0,tag=kong,severity=error,nohostname",
            Ok(("/dev/log", 16, 3, "kong")),
        );
        check("facility=user", Err("syslog: it has no server=ADDRESS"));
        check("server=a,facility=x", Err("syslog: invalid parameter 'facility=x'"));
        check("server=a,tag=a-b", Err("syslog: invalid parameter 'tag=a-b'"));
        check("server=a,x", Err("syslog: invalid parameter 'x'"));
    }

    #[test]
    fn lines_have_a_priority_a_time_and_a_sender() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        server.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
        let address = server.local_addr().expect("an address");
        let text = format!("server={address},facility=local1,tag=k");
        let sender = Syslog::parse(&text, "here").expect("parameters").open().expect("a sender");
        let mut buffer = [0; 20_000];
        let mut check = |severity, line: &str, start: &str, end: &str| {
            sender.send(severity, line).expect("it is taken");
            let size = server.recv(&mut buffer).expect("a datagram");
            let got = String::from_utf8_lossy(buffer.get(..size).unwrap_or_default());
            assert!(got.starts_with(start) && got.ends_with(end), "{got}");
        };
        check(None, "one line\n", "<142>", " here k: one line");
        check(Some(3), "another", "<139>", " here k: another");
        check(None, &"é".repeat(LINE_MAX), "<142>", "éé");
    }

    #[test]
    fn times_have_no_zeroes_before_the_day() {
        let at = |seconds| stamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "Jan  1 00:00:00");
        assert_eq!(at(784_111_777 + 86_400 * 9), "Nov 15 08:49:37");
    }
}
