//! A host and a port, as services and plugins name them.

use std::{cell::OnceCell, net::IpAddr};

use http::HeaderValue;
use silverback_pdk::Scheme;

use crate::forward;

/// A host and a port, as far as they are known before the name is resolved.
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) ip: Option<IpAddr>,
    header: HostHeader,
}

impl Place {
    pub(crate) fn new(host: &str, port: u16) -> Place {
        Place { host: host.to_owned(), port, ip: literal(host), header: HostHeader::default() }
    }

    /// The Host header for `port`, which is the place's own unless DNS says otherwise.
    pub(crate) fn header(&self, scheme: Scheme, port: u16) -> HeaderValue {
        let write = || match self.ip {
            Some(IpAddr::V6(ip)) => host_header(&format!("[{ip}]"), port, scheme),
            _ => host_header(&self.host, port, scheme),
        };
        if port == self.port { self.header.get(scheme, write) } else { write() }
    }
}

/// An address where a name could stand; IPv6 with its brackets or without.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// `host:port` for either scheme, written when it is first needed.
#[derive(Default)]
pub(crate) struct HostHeader([OnceCell<HeaderValue>; 2]);

impl HostHeader {
    pub(crate) fn get(&self, scheme: Scheme, write: impl FnOnce() -> HeaderValue) -> HeaderValue {
        let [http, https] = &self.0;
        let cell = match scheme {
            Scheme::Http => http,
            Scheme::Https => https,
        };
        cell.get_or_init(write).clone()
    }
}

/// The port is left out where the scheme says it (kong/runloop/balancer/init.lua,
/// `set_host_header`).
pub(crate) fn host_header(host: &str, port: u16, scheme: Scheme) -> HeaderValue {
    if port == scheme.default_port() {
        forward::value(host.as_bytes())
    } else {
        forward::value(format!("{host}:{port}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_goes_without_saying() {
        let check = |host: &str, port, scheme, expect: &str| {
            assert_eq!(Place::new(host, port).header(scheme, port), expect);
        };
        check("a.test", 80, Scheme::Http, "a.test");
        check("a.test", 80, Scheme::Https, "a.test:80");
        check("a.test", 443, Scheme::Https, "a.test");
        check("::1", 9800, Scheme::Http, "[::1]:9800");
    }

    #[test]
    fn a_port_of_dns_is_written_for_its_request_alone() {
        let place = Place::new("a.test", 80);
        assert_eq!(place.header(Scheme::Http, 81), "a.test:81");
        assert_eq!(place.header(Scheme::Http, 80), "a.test");
    }
}
