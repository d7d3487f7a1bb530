//! The hosts file and resolv.conf, read again when they change.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use super::settings::DnsSettings;

/// How often it is looked whether a file has changed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What resolv.conf says (resolv.conf(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    /// Names with fewer dots are searched for.
    pub(super) ndots: usize,
    pub(super) timeout: Duration,
    pub(super) attempts: usize,
    /// Whether another server is asked first each time.
    pub(super) rotate: bool,
}

/// The addresses of names: the first of each family.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<String, (Option<Ipv4Addr>, Option<Ipv6Addr>)>);

/// The two files as they are now.
pub(super) struct Files {
    looked: Instant,
    resolv_changed: Option<SystemTime>,
    hosts_changed: Option<SystemTime>,
    pub(super) resolv: Rc<ResolvConf>,
    pub(super) hosts: Rc<Hosts>,
}

impl Files {
    pub(super) fn read(settings: &DnsSettings) -> Files {
        let mut files = Files {
            looked: Instant::now(),
            resolv_changed: None,
            hosts_changed: None,
            resolv: Rc::new(ResolvConf::parse("", &settings.servers)),
            hosts: Rc::new(Hosts::parse("")),
        };
        files.look(settings);
        files
    }

    /// Reads what has changed, once in a while.
    pub(super) fn refresh(&mut self, settings: &DnsSettings) {
        if self.looked.elapsed() >= LOOK_AGAIN {
            self.looked = Instant::now();
            self.look(settings);
        }
    }

    fn look(&mut self, settings: &DnsSettings) {
        if let Some(text) = read_if_changed(&settings.resolv_conf, &mut self.resolv_changed) {
            self.resolv = Rc::new(ResolvConf::parse(&text, &settings.servers));
        }
        if let Some(path) = &settings.hosts_file
            && let Some(text) = read_if_changed(path, &mut self.hosts_changed)
        {
            self.hosts = Rc::new(Hosts::parse(&text));
        }
    }
}

/// The text of a file that has changed. One that can't be read is as it was.
fn read_if_changed(path: &Path, changed: &mut Option<SystemTime>) -> Option<String> {
    let now = fs::metadata(path).and_then(|data| data.modified()).ok()?;
    if *changed == Some(now) {
        return None;
    }
    let text = fs::read(path).ok()?;
    *changed = Some(now);
    Some(String::from_utf8_lossy(&text).into_owned())
}

impl ResolvConf {
    /// `servers` take the place of those in the file.
    fn parse(text: &str, servers: &[SocketAddr]) -> ResolvConf {
        let mut conf = ResolvConf {
            servers: servers.to_vec(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(2),
            attempts: 5,
            rotate: false,
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if servers.is_empty() => {
                    conf.servers.extend(words.next().and_then(server));
                }
                Some("domain" | "search") => {
                    let names = words.map(|name| name.trim_end_matches('.').to_lowercase());
                    conf.search = names.filter(|name| !name.is_empty()).collect();
                }
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        conf
    }

    fn option(&mut self, word: &str) {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        let number = value.parse::<u32>().ok().filter(|number| *number > 0);
        match (name, number) {
            ("rotate", _) => self.rotate = true,
            ("ndots", _) => self.ndots = value.parse().unwrap_or(1),
            ("timeout", Some(seconds)) => self.timeout = Duration::from_secs(seconds.into()),
            ("attempts", Some(number)) => self.attempts = number as usize,
            _ => {}
        }
    }

    /// The names to try for a name: where it has few dots, below the search domains first.
    pub(super) fn names(&self, name: &str, bare_first: bool) -> Vec<String> {
        let bare = name.trim_end_matches('.').to_owned();
        if name.ends_with('.') || self.search.is_empty() {
            return vec![bare];
        }
        let mut names: Vec<String> = self.search.iter().map(|s| format!("{bare}.{s}")).collect();
        if bare_first {
            names.insert(0, bare);
        } else {
            names.push(bare);
        }
        names
    }

    /// Whether a name has as many dots as one that is complete.
    pub(super) fn is_dotted(&self, name: &str) -> bool {
        name.bytes().filter(|&b| b == b'.').count() >= self.ndots
    }
}

/// An address with a port or port 53; those with a scope are left out, as by Kong.
fn server(text: &str) -> Option<SocketAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let without_port = || bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
    text.parse().ok().or_else(without_port)
}

impl Hosts {
    fn parse(text: &str) -> Hosts {
        let mut hosts = Hosts::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(ip) = words.next().and_then(|ip| ip.parse::<IpAddr>().ok()) else { continue };
            for name in words {
                let (v4, v6) = hosts.0.entry(name.to_lowercase()).or_default();
                match ip {
                    IpAddr::V4(ip) => *v4 = v4.or(Some(ip)),
                    IpAddr::V6(ip) => *v6 = v6.or(Some(ip)),
                }
            }
        }
        // RFC 6761, 6.3.
        let localhost = (Some(Ipv4Addr::LOCALHOST), Some(Ipv6Addr::LOCALHOST));
        hosts.0.entry("localhost".to_owned()).or_insert(localhost);
        hosts
    }

    /// The address of a name, of the family that is preferred if it has both.
    pub(super) fn find(&self, name: &str, v6_first: bool) -> Option<IpAddr> {
        let (v4, v6) = self.0.get(name.trim_end_matches('.'))?;
        let (v4, v6) = (v4.map(IpAddr::V4), v6.map(IpAddr::V6));
        if v6_first { v6.or(v4) } else { v4.or(v6) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf() {
        let text = "# c\nnameserver 10.0.0.1\nnameserver ::1\nnameserver fe80::1%eth0\n\
                    search a.test. B.test .\noptions ndots:2 timeout:0 attempts:3 rotate\n";
        let conf = ResolvConf::parse(text, &[]);
        let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[::1]:53"]);
        assert_eq!(conf.search, ["a.test", "b.test"]);
        assert_eq!((conf.ndots, conf.attempts, conf.rotate), (2, 3, true));
        assert_eq!(conf.timeout, Duration::from_secs(2));
        let given = ([127, 0, 0, 1], 5353).into();
        assert_eq!(ResolvConf::parse(text, &[given]).servers, [given]);
    }

    #[test]
    fn short_names_are_searched_for() {
        let conf = ResolvConf::parse("search a.test b.test", &[]);
        let check = |name: &str, bare_first, expect: &[&str]| {
            assert_eq!(conf.names(name, bare_first), expect, "{name}");
        };
        check("x", false, &["x.a.test", "x.b.test", "x"]);
        check("x.y", true, &["x.y", "x.y.a.test", "x.y.b.test"]);
        check("x.", false, &["x"]);
        assert!(conf.is_dotted("x.y") && !conf.is_dotted("x"));
    }

    #[test]
    fn hosts() {
        let hosts = Hosts::parse("10.0.0.1 A.test a # x\n10.0.0.2 a\n::2 a.test six\nname x y\n");
        let check = |name: &str, v6, expect: Option<&str>| {
            let found = hosts.find(name, v6).map(|ip| ip.to_string());
            assert_eq!(found.as_deref(), expect, "{name}");
        };
        check("a", false, Some("10.0.0.1"));
        check("a.test.", false, Some("10.0.0.1"));
        check("a.test", true, Some("::2"));
        check("six", false, Some("::2"));
        check("localhost", false, Some("127.0.0.1"));
        check("y", false, None);
    }
}
