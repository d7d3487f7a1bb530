//! Hosts: the patterns of routes, and the Host header of a request.

/// A host name and the port named with it, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host<'a> {
    pub(crate) name: &'a str,
    pub(crate) port: Option<u64>,
}

impl<'a> Host<'a> {
    /// Splits off a port. What follows the first colon must be a number, or else all is name
    /// (kong/router/transform.lua, `split_host_port`).
    pub(crate) fn parse(text: &'a str) -> Host<'a> {
        text.split_once(':')
            .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|(name, port)| Some(Host { name, port: Some(port.parse().ok()?) }))
            .unwrap_or(Host { name: text, port: None })
    }
}

/// Whether a host names a port.
pub(crate) fn has_port(host: &str) -> bool {
    Host::parse(host).port.is_some()
}

/// A host of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPattern {
    pub(crate) name: NamePattern,
    port: Option<u64>,
}

impl HostPattern {
    pub(crate) fn parse(text: &str) -> HostPattern {
        let host = Host::parse(text);
        HostPattern { name: NamePattern::parse(host.name), port: host.port }
    }

    /// Whether a bucket of the index stands for all of this pattern.
    pub(crate) fn is_indexed(&self) -> bool {
        self.port.is_none() && self.name.is_indexed()
    }

    /// Whether it matches a host that came in at a port, where that is known.
    pub(crate) fn matches(&self, name: &str, port: Option<u64>) -> bool {
        self.name.matches(name) && self.port.is_none_or(|own| Some(own) == port)
    }

    /// Whether the port must be written in the request rather than go without saying, in the
    /// flavour `traditional` (kong/router/traditional.lua, the matcher of hosts).
    pub(crate) fn wants_explicit_port(&self) -> bool {
        matches!(self.name, NamePattern::Exact(_))
    }
}

/// A name with `*` at one end, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamePattern {
    /// The name itself.
    Exact(Box<str>),
    /// `*.example.com`, without the `*`.
    Suffix(Box<str>),
    /// `example.*`, without the `*`.
    Prefix(Box<str>),
}

impl NamePattern {
    pub(crate) fn parse(name: &str) -> NamePattern {
        match (name.strip_prefix('*'), name.strip_suffix('*')) {
            (Some(suffix), _) => NamePattern::Suffix(suffix.into()),
            (None, Some(prefix)) => NamePattern::Prefix(prefix.into()),
            (None, None) => NamePattern::Exact(name.into()),
        }
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            NamePattern::Exact(own) => **own == *name,
            NamePattern::Suffix(suffix) => name.ends_with(&**suffix),
            NamePattern::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }

    /// Whether the index can find it: wildcards stand for whole labels.
    fn is_indexed(&self) -> bool {
        match self {
            NamePattern::Exact(_) => true,
            NamePattern::Suffix(suffix) => suffix.starts_with('.'),
            NamePattern::Prefix(prefix) => prefix.ends_with('.'),
        }
    }

    /// The bucket of the index that it belongs to.
    pub(crate) fn bucket(&self) -> Bucket<'_> {
        match self {
            _ if !self.is_indexed() => Bucket::Any,
            NamePattern::Exact(name) => Bucket::Exact(name),
            NamePattern::Suffix(suffix) => Bucket::Suffix(suffix),
            NamePattern::Prefix(prefix) => Bucket::Prefix(prefix),
        }
    }
}

/// Where the index keeps routes of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bucket<'a> {
    /// Of this name.
    Exact(&'a str),
    /// Of names that end so.
    Suffix(&'a str),
    /// Of names that start so.
    Prefix(&'a str),
    /// Of any name.
    Any,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_split_off() {
        let check = |text, name, port| assert_eq!(Host::parse(text), Host { name, port }, "{text}");
        check("a.test", "a.test", None);
        check("a.test:80", "a.test", Some(80));
        check("a.test:", "a.test:", None);
        check("a.test:8x", "a.test:8x", None);
        check("[::1]:80", "[::1]:80", None);
        check("", "", None);
    }

    #[test]
    fn patterns_match() {
        let check = |pattern: &str, host: &str, expect| {
            let host = Host::parse(host);
            let matches = HostPattern::parse(pattern).matches(host.name, host.port);
            assert_eq!(matches, expect, "{pattern} {host:?}");
        };
        check("a.test", "a.test", true);
        check("a.test", "a.test:80", true);
        check("a.test:80", "a.test", false);
        check("a.test:80", "a.test:81", false);
        check("a.test", "A.test", false);
        check("*.a.test", "b.a.test", true);
        check("*.a.test", "c.b.a.test:1", true);
        check("*.a.test", "a.test", false);
        check("*.a.test:80", "b.a.test:80", true);
        check("*.a.test:80", "b.a.test:81", false);
        check("a.*", "a.test", true);
        check("a.*", "ba.test", false);
        check("a.*:80", "a.b.test:80", true);
    }
}
