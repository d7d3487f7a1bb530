//! Name resolution: the `dns_*` settings and the `resolver_*` ones.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::conf::Dns;
use crate::conf::settings::{Findings, Settings};

/// Both families are checked, as in Kong; the one that `new_dns_client` chooses counts.
pub(super) fn dns(s: &Settings, findings: &mut Findings) -> Dns {
    let seconds = |key| s.seconds(key).unwrap_or_default();
    let old = Dns {
        new_client: false,
        servers: servers(s, "dns_resolver", findings),
        hosts_file: hosts_file(s, "dns_hostsfile", findings),
        order: record_types(s, "dns_order", &["LAST", "A", "AAAA", "CNAME", "SRV"], findings),
        valid_ttl: s.seconds("dns_valid_ttl"),
        stale_ttl: seconds("dns_stale_ttl"),
        not_found_ttl: seconds("dns_not_found_ttl"),
        error_ttl: seconds("dns_error_ttl"),
        cache_size: s.count("dns_cache_size"),
        memory: None,
        no_sync: s.is_on("dns_no_sync"),
    };
    let new = Dns {
        new_client: true,
        servers: servers(s, "resolver_address", findings),
        hosts_file: hosts_file(s, "resolver_hosts_file", findings),
        order: record_types(s, "resolver_family", &["A", "AAAA", "SRV"], findings),
        valid_ttl: s.seconds("resolver_valid_ttl"),
        stale_ttl: seconds("resolver_stale_ttl"),
        not_found_ttl: seconds("resolver_error_ttl"),
        error_ttl: seconds("resolver_error_ttl"),
        cache_size: s.count("resolver_lru_cache_size"),
        memory: s.size("resolver_mem_cache_size"),
        no_sync: false,
    };
    if s.is_on("new_dns_client") { new } else { old }
}

fn servers(s: &Settings, key: &str, findings: &mut Findings) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for text in s.list(key) {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let without_port = || bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
        match text.parse().ok().or_else(without_port) {
            Some(server) => servers.push(server),
            None => {
                let message = format!(
                    "{key} must be a comma separated list in the form of IPv4/6 or IPv4/6:port, \
                     got '{text}'"
                );
                findings.error(s, key, message);
            }
        }
    }
    servers
}

/// A hosts file that was asked for must exist; the usual one need not.
fn hosts_file(s: &Settings, key: &str, findings: &mut Findings) -> Option<PathBuf> {
    let path = s.text(key)?;
    if !Path::new(path).is_file() {
        if path != "/etc/hosts" {
            findings.error(s, key, format!("{key}: file does not exist: '{path}'"));
        }
        return None;
    }
    Some(path.into())
}

fn record_types(s: &Settings, key: &str, allowed: &[&str], findings: &mut Findings) -> Vec<String> {
    let mut types = Vec::new();
    for entry in s.list(key) {
        let upper = entry.to_ascii_uppercase();
        if allowed.contains(&upper.as_str()) {
            types.push(upper);
        } else {
            let allowed = allowed.join(", ");
            findings.error(s, key, format!("{key}: invalid entry '{entry}' ({allowed})"));
        }
    }
    types
}
