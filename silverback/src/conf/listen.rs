//! Listener settings: `proxy_listen`, `stream_listen`, `admin_listen` and their kin.
//!
//! The syntax, the flags of each kind and the error text are those of Kong
//! (kong/conf_loader/listeners.lua, kong/tools/ip.lua).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Map, Value};

/// What runs behind a listener; it decides which flags are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subsystem {
    /// HTTP and HTTPS.
    Http,
    /// TCP, TLS and UDP.
    Stream,
}

impl Subsystem {
    /// The allowed flags, as Kong's error text and its `*_listeners` values spell them.
    pub(crate) fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Http => &[
                "ssl",
                "http2",
                "proxy_protocol",
                "deferred",
                "bind",
                "reuseport",
                "backlog=%d+",
                "ipv6only=on",
                "ipv6only=off",
                "so_keepalive=on",
                "so_keepalive=off",
                "so_keepalive=%w*:%w*:%d*",
            ],
            Self::Stream => &[
                "udp",
                "ssl",
                "proxy_protocol",
                "bind",
                "reuseport",
                "backlog=%d+",
                "ipv6only=on",
                "ipv6only=off",
                "so_keepalive=on",
                "so_keepalive=off",
                "so_keepalive=%w*:%w*:%d*",
            ],
        }
    }
}

/// Where a listener binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// An address; `0.0.0.0` and `::` are all interfaces.
    Ip(IpAddr),
    /// A name, to be resolved when the listener is opened.
    Name(String),
}

/// TCP keepalive of accepted connections (`so_keepalive=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SoKeepalive {
    /// The operating system's default.
    #[default]
    Default,
    /// On, with the system's times.
    On,
    /// Off.
    Off,
    /// On, with times of its own; what is left out is the system's.
    Times {
        /// Seconds of silence before the first probe.
        idle_s: Option<u32>,
        /// Seconds between probes.
        interval_s: Option<u32>,
        /// Probes before the connection is given up.
        count: Option<u32>,
    },
}

/// One address of a listener setting, with its flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    /// Where it binds.
    pub host: Host,
    /// Its port, 0 to 65535.
    pub port: u16,
    /// TLS.
    pub ssl: bool,
    /// HTTP/2, beside HTTP/1.
    pub http2: bool,
    /// Every connection starts with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// UDP instead of TCP (stream listeners).
    pub udp: bool,
    /// Accept only once there is data (TCP_DEFER_ACCEPT).
    pub deferred: bool,
    /// A socket of its own for this address. Every listener here has one.
    pub bind: bool,
    /// SO_REUSEPORT was asked for.
    pub reuseport: bool,
    /// Length of the accept queue.
    pub backlog: Option<u32>,
    /// An IPv6 socket does not take IPv4 connections.
    pub ipv6only: Option<bool>,
    /// TCP keepalive of accepted connections.
    pub so_keepalive: SoKeepalive,
    /// The flags as written, in the order of [`Subsystem::flags`], each with the name it stands
    /// for.
    given: Vec<(&'static str, String)>,
}

impl Listener {
    /// The address to bind, if it is one and not a name.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }

    /// The entry that Kong's Admin API shows for it under `proxy_listeners` and so on.
    pub(crate) fn to_json(&self, subsystem: Subsystem) -> Map<String, Value> {
        let mut entry = Map::new();
        let mut written = String::new();
        for &flag in subsystem.flags() {
            match self.given.iter().find(|(name, _)| *name == flag) {
                Some((_, text)) => {
                    entry.insert(text.clone(), Value::Bool(true));
                    // nginx deprecates `listen ... http2`, so Kong leaves it out.
                    if flag != "http2" {
                        written.push(' ');
                        written.push_str(text);
                    }
                }
                None => {
                    entry.insert(flag.to_owned(), Value::Bool(false));
                }
            }
        }
        let host = self.kong_host();
        entry.insert("listener".to_owned(), format!("{host}:{}{written}", self.port).into());
        entry.insert("ip".to_owned(), host.into());
        entry.insert("port".to_owned(), self.port.into());
        entry
    }

    /// The host as Kong normalizes it: an IPv6 address fully expanded, in brackets.
    fn kong_host(&self) -> String {
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => ip.to_string(),
            Host::Ip(IpAddr::V6(ip)) => {
                let groups: Vec<_> = ip.segments().iter().map(|s| format!("{s:04x}")).collect();
                format!("[{}]", groups.join(":"))
            }
            Host::Name(name) => name.clone(),
        }
    }
}

/// Parses the entries of a listener setting. `off` as the first entry means none.
///
/// # Errors
/// Kong's text, to be put behind the key's name: the form that is allowed. What is wrong is added
/// to it, so that one need not search a long line.
pub(crate) fn parse(entries: &[String], subsystem: Subsystem) -> Result<Vec<Listener>, String> {
    match entries.first() {
        None => Err(usage(subsystem)),
        Some(first) if first == "off" => Ok(Vec::new()),
        Some(_) => entries.iter().map(|entry| parse_entry(entry, subsystem)).collect(),
    }
}

/// The text that says what is allowed.
fn usage(subsystem: Subsystem) -> String {
    let flags = subsystem.flags().join("] [");
    format!("must be of form: [off] | <ip>:<port> [{flags}], [... next entry ...]")
}

fn parse_entry(entry: &str, subsystem: Subsystem) -> Result<Listener, String> {
    let wrong = |what: &str| format!("{} ('{entry}': {what})", usage(subsystem));
    // Kong finds the address wherever it stands among the flags.
    let mut address = None;
    let mut given = Vec::new();
    for word in entry.split_whitespace() {
        match subsystem.flags().iter().find(|flag| flag_matches(flag, word)) {
            Some(&flag) => given.push((flag, word.to_owned())),
            None if address.is_none() && word.contains(':') => address = Some(word),
            None if address.is_none() && given.is_empty() => {
                return Err(wrong("no port"));
            }
            None => return Err(wrong(&format!("unknown flag '{word}'"))),
        }
    }
    let address = address.ok_or_else(|| wrong("no address"))?;
    let (host, port) = parse_address(address).ok_or_else(|| wrong("no valid address and port"))?;
    given.sort_by_key(|(flag, _)| subsystem.flags().iter().position(|f| f == flag));

    let has = |flag: &str| given.iter().any(|(name, _)| *name == flag);
    let backlog = given.iter().find_map(|(_, text)| text.strip_prefix("backlog="));
    let times = given.iter().find(|(name, _)| *name == "so_keepalive=%w*:%w*:%d*");
    Ok(Listener {
        host,
        port,
        ssl: has("ssl"),
        http2: has("http2"),
        proxy_protocol: has("proxy_protocol"),
        udp: has("udp"),
        deferred: has("deferred"),
        bind: has("bind"),
        reuseport: has("reuseport"),
        backlog: match backlog {
            Some(text) => Some(text.parse().map_err(|_| wrong("backlog is too large"))?),
            None => None,
        },
        ipv6only: match (has("ipv6only=on"), has("ipv6only=off")) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        },
        so_keepalive: match times {
            Some((_, text)) => keepalive_times(text).ok_or_else(|| wrong("bad so_keepalive"))?,
            None if has("so_keepalive=on") => SoKeepalive::On,
            None if has("so_keepalive=off") => SoKeepalive::Off,
            None => SoKeepalive::Default,
        },
        given,
    })
}

/// Whether a word is the given flag; two flags stand for a pattern.
fn flag_matches(flag: &str, word: &str) -> bool {
    match flag {
        "backlog=%d+" => word
            .strip_prefix("backlog=")
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())),
        "so_keepalive=%w*:%w*:%d*" => word.strip_prefix("so_keepalive=").is_some_and(|times| {
            let parts: Vec<_> = times.split(':').collect();
            parts.len() == 3
                && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_alphanumeric()))
        }),
        plain => plain == word,
    }
}

/// `idle:interval:count`, times in seconds or with nginx's `s` or `m`; each part may be empty.
fn keepalive_times(text: &str) -> Option<SoKeepalive> {
    let mut parts = text.strip_prefix("so_keepalive=")?.split(':');
    let seconds = |part: &str| -> Option<Option<u32>> {
        if part.is_empty() {
            return Some(None);
        }
        let (digits, factor) = match part.as_bytes().last()? {
            b'm' => (&part[..part.len() - 1], 60),
            b's' => (&part[..part.len() - 1], 1),
            _ => (part, 1),
        };
        Some(Some(digits.parse::<u32>().ok()?.checked_mul(factor)?))
    };
    Some(SoKeepalive::Times {
        idle_s: seconds(parts.next()?)?,
        interval_s: seconds(parts.next()?)?,
        count: match parts.next()? {
            "" => None,
            count => Some(count.parse().ok()?),
        },
    })
}

/// An address with its port: `1.2.3.4:80`, `[::]:80` or `name:80`.
fn parse_address(text: &str) -> Option<(Host, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok())??;
    if let Some(ip) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Some((Host::Ip(IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?)), port));
    }
    if host.is_empty() || host.contains([':', '[', ']', '/']) {
        return None;
    }
    if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Some((Host::Ip(IpAddr::V4(parse_ipv4(host)?)), port));
    }
    Some((Host::Name(host.to_owned()), port))
}

/// Four decimal parts; leading zeros are allowed and decimal, as in Kong.
fn parse_ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<_> = text.split('.').collect();
    let [a, b, c, d] = parts.as_slice() else { return None };
    let part = |s: &str| if s.len() <= 3 { s.parse::<u8>().ok() } else { None };
    Some(Ipv4Addr::new(part(a)?, part(b)?, part(c)?, part(d)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<String> {
        text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
    }

    #[track_caller]
    fn one(text: &str, subsystem: Subsystem) -> Listener {
        let mut all = parse(&entries(text), subsystem).expect("a valid listener");
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[track_caller]
    fn check_shown(text: &str, subsystem: Subsystem, listener: &str, on: &[&str]) {
        let shown = one(text, subsystem).to_json(subsystem);
        assert_eq!(shown["listener"], listener);
        let set: Vec<_> =
            shown.iter().filter(|(_, v)| **v == Value::Bool(true)).map(|(k, _)| k).collect();
        assert_eq!(set, on);
    }

    #[test]
    fn shown_as_kong_shows_them() {
        use Subsystem::{Http, Stream};
        check_shown("0.0.0.0:8005", Http, "0.0.0.0:8005", &[]);
        check_shown(
            "0.0.0.0:8443 http2 ssl reuseport backlog=16384",
            Http,
            "0.0.0.0:8443 ssl reuseport backlog=16384",
            &["ssl", "http2", "reuseport", "backlog=16384"],
        );
        check_shown(
            "[::1]:80 ipv6only=off",
            Http,
            "[0000:0000:0000:0000:0000:0000:0000:0001]:80 ipv6only=off",
            &["ipv6only=off"],
        );
        check_shown("ssl.myname.test:80", Http, "ssl.myname.test:80", &[]);
        check_shown("ssl 010.0.0.1:80", Http, "10.0.0.1:80 ssl", &["ssl"]);
        check_shown("0.0.0.0:53 udp", Stream, "0.0.0.0:53 udp", &["udp"]);
    }

    #[test]
    fn flags() {
        let listener =
            one("0.0.0.0:1 deferred bind proxy_protocol so_keepalive=5m::8", Subsystem::Http);
        assert!(listener.deferred && listener.bind && listener.proxy_protocol && !listener.ssl);
        let times = SoKeepalive::Times { idle_s: Some(300), interval_s: None, count: Some(8) };
        assert_eq!(listener.so_keepalive, times);
        assert_eq!(one("a:1 so_keepalive=on", Subsystem::Stream).so_keepalive, SoKeepalive::On);
        assert_eq!(one("a:1 backlog=7", Subsystem::Http).backlog, Some(7));
        assert_eq!(one("[::]:1 ipv6only=on", Subsystem::Http).ipv6only, Some(true));
        assert_eq!(one("[::]:1", Subsystem::Http).address(), Some("[::]:1".parse().unwrap()));
        assert_eq!(one("localhost:1", Subsystem::Http).address(), None);
    }

    #[test]
    fn off() {
        assert_eq!(parse(&entries("off"), Subsystem::Http), Ok(vec![]));
        assert_eq!(parse(&entries("off, 0.0.0.0:9000"), Subsystem::Http), Ok(vec![]));
    }

    #[track_caller]
    fn check_error(text: &str, subsystem: Subsystem, added: &str) {
        let error = parse(&entries(text), subsystem).unwrap_err();
        assert_eq!(error, format!("{}{added}", usage(subsystem)));
    }

    #[test]
    fn errors() {
        assert_eq!(
            usage(Subsystem::Http),
            "must be of form: [off] | <ip>:<port> [ssl] [http2] [proxy_protocol] [deferred] \
             [bind] [reuseport] [backlog=%d+] [ipv6only=on] [ipv6only=off] [so_keepalive=on] \
             [so_keepalive=off] [so_keepalive=%w*:%w*:%d*], [... next entry ...]"
        );
        use Subsystem::{Http, Stream};
        check_error("", Http, "");
        check_error("127.0.0.1", Http, " ('127.0.0.1': no port)");
        check_error("0.0.0.0:80 udp", Http, " ('0.0.0.0:80 udp': unknown flag 'udp')");
        check_error("0.0.0.0:80 http2", Stream, " ('0.0.0.0:80 http2': unknown flag 'http2')");
        check_error("ssl", Http, " ('ssl': no address)");
        check_error("::1:80", Http, " ('::1:80': no valid address and port)");
        check_error("1.2.3.400:80", Http, " ('1.2.3.400:80': no valid address and port)");
        check_error("1.2.3.4:65536", Http, " ('1.2.3.4:65536': no valid address and port)");
        check_error("1.2.3.4:", Http, " ('1.2.3.4:': no valid address and port)");
    }
}
