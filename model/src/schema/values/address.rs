//! Host names and addresses with or without a port (kong/tools/ip.lua).

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// What an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// Four numbers with dots.
    Ipv4,
    /// With at least two colons.
    Ipv6,
    /// A host name.
    Name,
}

/// A host with or without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// What the host is.
    pub kind: AddressKind,
    /// The host: IPv4 without leading zeros, IPv6 in full without brackets, a name as it is.
    pub host: String,
    /// The port, if there is one.
    pub port: Option<u16>,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The port is too great.
    #[error("invalid port number")]
    Port,
    /// It is no IPv4 address.
    #[error("invalid ipv4 address: {0}")]
    Ipv4(String),
    /// It is no IPv6 address.
    #[error("invalid ipv6 address: {0}")]
    Ipv6(String),
    /// It is no host name.
    #[error("invalid hostname: {0}")]
    Name(String),
}

/// Reads a host with or without a port.
///
/// # Errors
/// If it is none.
pub fn parse_address(text: &str) -> Result<Address, AddressError> {
    let colons = text.bytes().filter(|b| *b == b':').count();
    let without = text.bytes().filter(|b| *b != b':');
    if colons > 1 {
        ipv6(text)
    } else if text.len() > colons && without.clone().all(|b| b.is_ascii_digit() || b == b'.') {
        ipv4(text)
    } else {
        name(text)
    }
}

fn port(text: &str) -> Result<u16, AddressError> {
    text.parse().map_err(|_| AddressError::Port)
}

fn ipv4(text: &str) -> Result<Address, AddressError> {
    let wrong = || AddressError::Ipv4(text.to_owned());
    let (host, port_text) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let parts: Vec<&str> = host.split('.').collect();
    if parts.len() != 4 || port_text.is_some_and(str::is_empty) {
        return Err(wrong());
    }
    let mut numbers: Vec<String> = Vec::new();
    for part in parts {
        if part.is_empty() || part.len() > 3 {
            return Err(wrong());
        }
        numbers.push(part.parse::<u8>().map_err(|_| wrong())?.to_string());
    }
    let port = port_text.map(port).transpose()?;
    Ok(Address { kind: AddressKind::Ipv4, host: numbers.join("."), port })
}

fn ipv6(text: &str) -> Result<Address, AddressError> {
    let wrong = || AddressError::Ipv6(text.to_owned());
    let (host, rest) = match text.strip_prefix('[') {
        Some(inside) => inside.split_once(']').ok_or_else(wrong)?,
        None => (text, ""),
    };
    let port = match rest.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty() => {
            Some(port(digits)?)
        }
        None if rest.is_empty() => None,
        _ => return Err(wrong()),
    };
    let address: Ipv6Addr = host.parse().map_err(|_| wrong())?;
    if host.contains('.') {
        return Err(wrong());
    }
    let groups: Vec<String> =
        address.segments().iter().map(|group| format!("{group:04x}")).collect();
    Ok(Address { kind: AddressKind::Ipv6, host: groups.join(":"), port })
}

fn name(text: &str) -> Result<Address, AddressError> {
    let wrong = || AddressError::Name(text.to_owned());
    let is_port = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let (host, port_text) = match text.rsplit_once(':') {
        Some((host, digits)) if is_port(digits) => (host, Some(digits)),
        _ => (text, None),
    };
    let port = port_text.map(port).transpose()?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if host.is_empty() || !host.bytes().all(allowed) {
        return Err(wrong());
    }
    let labels: Vec<&str> = host.split('.').collect();
    let last = labels.len() - 1;
    let refused =
        |(i, label): (usize, &&str)| label.ends_with('-') || (label.is_empty() && i != last);
    if labels.iter().enumerate().any(refused) {
        return Err(wrong());
    }
    Ok(Address { kind: AddressKind::Name, host: host.to_owned(), port })
}

pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

pub(super) fn is_cidr(text: &str) -> bool {
    text.contains('/') && text.parse::<IpNet>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<(AddressKind, &str, Option<u16>), &str>) {
        let found = parse_address(text).map_err(|error| error.to_string());
        let expect = expect
            .map(|(kind, host, port)| Address { kind, host: host.to_owned(), port })
            .map_err(str::to_owned);
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn addresses() {
        check("010.0.0.1:80", Ok((AddressKind::Ipv4, "10.0.0.1", Some(80))));
        check("1.2.3", Err("invalid ipv4 address: 1.2.3"));
        check("1.2.3.400", Err("invalid ipv4 address: 1.2.3.400"));
        let full = "0000:0000:0000:0000:0000:0000:0000:0001";
        check("[::1]:80", Ok((AddressKind::Ipv6, full, Some(80))));
        check("::1", Ok((AddressKind::Ipv6, full, None)));
        check("some::thing", Err("invalid ipv6 address: some::thing"));
        check("a.test.", Ok((AddressKind::Name, "a.test.", None)));
        check("a.test:8080", Ok((AddressKind::Name, "a.test", Some(8080))));
        check("a-.test", Err("invalid hostname: a-.test"));
        check(".a", Err("invalid hostname: .a"));
        check("a.test:99999", Err("invalid port number"));
    }
}
