//! What is known of a name.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::settings::DnsType;

/// What is known of a name, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) outcome: Result<Records, Failure>,
    /// When it was asked for.
    pub(crate) asked: Instant,
    /// When it is to be asked for again.
    pub(crate) until: Instant,
    /// When it serves no longer.
    pub(crate) stale_until: Instant,
    /// Whether the name server says that it is never to be remembered.
    pub(crate) never_fresh: bool,
}

/// What a name stands for. There is at least one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Records {
    /// Addresses, of one family.
    Addresses(Box<[IpAddr]>),
    /// Hosts and ports, of the lowest priority there is.
    Services(Box<[Service]>),
}

/// A host and port that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    /// A name or an address, without a dot at its end.
    pub(crate) host: Box<str>,
    /// 0 is the port that was asked for.
    pub(crate) port: u16,
    pub(crate) weight: u16,
}

/// Why a name stands for nothing, in Kong's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) kind: FailureKind,
}

/// What kind of failure that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// There is no such name.
    NoName,
    /// There is, but without records of the types that are asked for.
    NoRecords,
    /// A name server could not say.
    Error,
    /// No name server has answered.
    Silence,
}

impl Failure {
    /// What a response code stands for, in the words of lua-resty-dns.
    pub(crate) fn of_code(code: u8) -> Failure {
        let text = match code {
            1 => "format error",
            2 => "server failure",
            3 => "name error",
            4 => "not implemented",
            5 => "refused",
            _ => "unknown",
        };
        let kind = if code == 3 { FailureKind::NoName } else { FailureKind::Error };
        Failure { text: format!("dns server error: {code} {text}"), kind }
    }

    pub(crate) fn empty() -> Failure {
        let text = "dns client error: 101 empty record received".to_owned();
        Failure { text, kind: FailureKind::NoRecords }
    }

    pub(crate) fn error(text: String) -> Failure {
        Failure { text, kind: FailureKind::Error }
    }

    pub(crate) fn silence(text: String) -> Failure {
        Failure { text, kind: FailureKind::Silence }
    }

    /// Whether no name server has said anything.
    pub(crate) fn is_silence(&self) -> bool {
        self.kind == FailureKind::Silence
    }

    /// Whether it says of the name, not of name servers.
    pub(crate) fn is_of_name(&self) -> bool {
        matches!(self.kind, FailureKind::NoName | FailureKind::NoRecords)
    }
}

impl Answer {
    pub(crate) fn new(outcome: Result<Records, Failure>, ttl: Duration, stale: Duration) -> Answer {
        let now = Instant::now();
        let until = now + ttl;
        let stale_until = if outcome.is_ok() { until + stale } else { until };
        Answer { outcome, asked: now, until, stale_until, never_fresh: ttl.is_zero() }
    }

    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now < self.until
    }

    pub(crate) fn serves(&self, now: Instant) -> bool {
        now < self.stale_until
    }

    /// The type of records it is made of; none where there are none.
    pub(crate) fn kind(&self) -> Option<DnsType> {
        self.outcome.as_ref().ok().map(Records::kind)
    }

    /// About how much memory it takes, its name left out.
    pub(crate) fn size(&self) -> usize {
        let records = match &self.outcome {
            Ok(Records::Addresses(ips)) => size_of_val(&**ips),
            Ok(Records::Services(all)) => {
                all.iter().map(|service| size_of_val(service) + service.host.len()).sum()
            }
            Err(failure) => failure.text.len(),
        };
        size_of::<Answer>() + records
    }
}

impl Records {
    pub(crate) fn kind(&self) -> DnsType {
        match self {
            Records::Services(_) => DnsType::Srv,
            Records::Addresses(ips) if ips.first().is_some_and(IpAddr::is_ipv6) => DnsType::Aaaa,
            Records::Addresses(_) => DnsType::A,
        }
    }
}
