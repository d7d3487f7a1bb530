//! How names are resolved: the `dns_*` and `resolver_*` settings of kong.conf.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// How names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// In whose way names and types are gone through.
    pub client: DnsClient,
    /// The name servers; none means those of `resolv_conf`.
    pub servers: Vec<SocketAddr>,
    /// The hosts file, read again when it changes.
    pub hosts_file: Option<PathBuf>,
    /// Where name servers, search domains and their options stand, read again when it changes.
    pub resolv_conf: PathBuf,
    /// The types of records to ask for, in this order.
    pub order: Vec<DnsType>,
    /// How long answers are good, whatever they say.
    pub valid_ttl: Option<Duration>,
    /// How long answers that are past their time serve on while new ones are asked for.
    pub stale_ttl: Duration,
    /// How long it is remembered that there is no such name, or nothing of the type.
    pub not_found_ttl: Duration,
    /// How long it is remembered that a name could not be resolved.
    pub error_ttl: Duration,
    /// How many names are remembered, by each worker and by all together.
    pub names_max: usize,
    /// How many bytes may be remembered by all together; none: as many as there are names.
    pub bytes_max: Option<u64>,
    /// Whether requests that miss a name each ask for it, rather than all wait for one answer
    /// (`dns_no_sync`).
    pub no_sync: bool,
}

/// Kong has two clients, which go through names and types in ways of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsClient {
    /// Every type of `order` for every name (`kong/resty/dns/client.lua`).
    Old,
    /// SRV for names of services only (`kong/dns/client.lua`).
    New,
}

/// A type of record, or what took the place of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DnsType {
    /// The type that was found the last time.
    Last,
    /// Hosts and ports.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Other names. They are followed anyway.
    Cname,
}

impl DnsType {
    /// As DNS writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            DnsType::Last => "LAST",
            DnsType::Srv => "SRV",
            DnsType::A => "A",
            DnsType::Aaaa => "AAAA",
            DnsType::Cname => "CNAME",
        }
    }
}

impl Default for DnsSettings {
    fn default() -> DnsSettings {
        DnsSettings {
            client: DnsClient::Old,
            servers: Vec::new(),
            hosts_file: Some("/etc/hosts".into()),
            resolv_conf: "/etc/resolv.conf".into(),
            order: vec![DnsType::Last, DnsType::Srv, DnsType::A, DnsType::Cname],
            valid_ttl: None,
            stale_ttl: Duration::from_secs(3600),
            not_found_ttl: Duration::from_secs(30),
            error_ttl: Duration::from_secs(1),
            names_max: 10_000,
            bytes_max: None,
            no_sync: false,
        }
    }
}
