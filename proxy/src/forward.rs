//! Headers at the border: what upstreams are told of the client, and what belongs to one
//! connection only and goes no further (RFC 9110, 7.6.1; kong/runloop/handler.lua).

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use silverback_pdk::Exchange;

use crate::Config;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PATH: HeaderName = HeaderName::from_static("x-forwarded-path");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY: HeaderName = HeaderName::from_static("proxy");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The name of the header that carries the request's id, both ways.
pub(crate) const X_KONG_REQUEST_ID: HeaderName = HeaderName::from_static("x-kong-request-id");

/// What upstreams are told of the client, as it was when the route was found.
pub(crate) struct Forwarded {
    pub(crate) proto: HeaderValue,
    pub(crate) host: HeaderValue,
    port: HeaderValue,
    path: HeaderValue,
    prefix: Option<HeaderValue>,
    for_: HeaderValue,
    via: HeaderValue,
}

impl Forwarded {
    /// What a trusted peer says counts, else what is seen here.
    pub(crate) fn of(exchange: &Exchange, config: &Config) -> Forwarded {
        let headers = &exchange.request.headers;
        let client = &exchange.client;
        let said = |name: HeaderName| {
            let said = headers.get(name).filter(|_| client.trusted);
            said.filter(|value| !value.is_empty()).cloned()
        };
        let scheme = HeaderValue::from_static(exchange.request.scheme.as_str());
        let prefix = exchange.matched.as_ref().and_then(|m| m.prefix.as_deref());
        Forwarded {
            proto: said(X_FORWARDED_PROTO).unwrap_or(scheme),
            host: said(X_FORWARDED_HOST).unwrap_or_else(|| value(exchange.request.host.as_bytes())),
            port: said(X_FORWARDED_PORT).unwrap_or_else(|| {
                let port = client.local.port();
                let mapped = config.port_maps.iter().find(|(inner, _)| *inner == port);
                HeaderValue::from(mapped.map_or(port, |(_, outer)| *outer))
            }),
            path: said(X_FORWARDED_PATH)
                .unwrap_or_else(|| value(exchange.request.raw_path().as_bytes())),
            prefix: said(X_FORWARDED_PREFIX).or_else(|| prefix.map(|p| value(p.as_bytes()))),
            for_: match headers.get(X_FORWARDED_FOR) {
                Some(before) => joined(before, client.peer.ip()),
                None => address(client.forwarded_ip),
            },
            via: via(headers.get(header::VIA), exchange.request.version, config),
        }
    }

    /// Writes the upstream's copy of the request's headers.
    pub(crate) fn write(&self, exchange: &Exchange, config: &Config, headers: &mut HeaderMap) {
        drop_of_connection(headers);
        for name in [header::EXPECT, PROXY, PROXY_CONNECTION, header::UPGRADE] {
            headers.remove(name);
        }
        if let Some(te) = headers.remove(header::TE)
            && te.as_bytes().split(|&b| b == b',').any(|one| one.trim_ascii() == b"trailers")
        {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        headers.insert(X_FORWARDED_FOR, self.for_.clone());
        headers.insert(X_FORWARDED_PROTO, self.proto.clone());
        headers.insert(X_FORWARDED_HOST, self.host.clone());
        headers.insert(X_FORWARDED_PORT, self.port.clone());
        headers.insert(X_FORWARDED_PATH, self.path.clone());
        match &self.prefix {
            Some(prefix) => drop(headers.insert(X_FORWARDED_PREFIX, prefix.clone())),
            None => drop(headers.remove(X_FORWARDED_PREFIX)),
        }
        headers.insert(X_REAL_IP, address(exchange.client.forwarded_ip));
        headers.insert(header::VIA, self.via.clone());
        if config.request_id_upstream {
            headers.insert(X_KONG_REQUEST_ID, value(exchange.request.id.as_str().as_bytes()));
        } else {
            headers.remove(X_KONG_REQUEST_ID);
        }
    }
}

/// Drops what belongs to one connection: the headers that Connection names, itself, Keep-Alive and
/// Transfer-Encoding.
pub(crate) fn drop_of_connection(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let lines: Vec<_> = headers.get_all(header::CONNECTION).iter().cloned().collect();
        headers.remove(header::CONNECTION);
        for name in lines.iter().flat_map(|line| line.as_bytes().split(|&b| b == b',')) {
            // What frames or addresses the message is not the connection's to drop.
            if let Ok(name) = HeaderName::from_bytes(name.trim_ascii())
                && ![header::HOST, header::CONTENT_LENGTH, header::TE].contains(&name)
            {
                headers.remove(name);
            }
        }
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(header::TRANSFER_ENCODING);
}

/// Via with this gateway at its end: the version is that of the message as it was received.
pub(crate) fn via(before: Option<&HeaderValue>, version: Version, config: &Config) -> HeaderValue {
    let number: &[u8] = match version {
        Version::HTTP_10 => b"1.0 ",
        Version::HTTP_2 => b"2 ",
        _ => b"1.1 ",
    };
    let mut text = BytesMut::with_capacity(64);
    if let Some(before) = before {
        text.put_slice(before.as_bytes());
        text.put_slice(b", ");
    }
    text.put_slice(number);
    text.put_slice(config.server.as_bytes());
    shared(text.freeze())
}

fn joined(before: &HeaderValue, peer: IpAddr) -> HeaderValue {
    let mut text = BytesMut::with_capacity(before.len() + 2 + 39);
    text.put_slice(before.as_bytes());
    text.put_slice(b", ");
    text.put_slice(address(peer).as_bytes());
    shared(text.freeze())
}

/// An address as a header's value.
fn address(ip: IpAddr) -> HeaderValue {
    use std::io::Write;
    let mut text = [0_u8; 48];
    let mut rest = &mut text[..];
    // 48 bytes hold any address.
    let _ = write!(rest, "{ip}");
    let free = rest.len();
    value(text.get(..text.len() - free).unwrap_or_default())
}

/// Text as a header's value; empty if it holds what no header may.
pub(crate) fn value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn shared(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[(&'static str, &'static str)], left: &[&str]) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        drop_of_connection(&mut headers);
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, left);
    }

    #[test]
    fn what_connection_names_goes_no_further() {
        check(&[("connection", "close, X-Drop"), ("x-drop", "1"), ("x-keep", "1")], &["x-keep"]);
        check(&[("keep-alive", "timeout=5"), ("x-keep", "1")], &["x-keep"]);
        check(&[("connection", "content-length, host"), ("host", "a")], &["host"]);
        check(&[("transfer-encoding", "chunked")], &[]);
    }

    #[test]
    fn addresses_are_written_as_usual() {
        assert_eq!(address([127, 0, 0, 1].into()), "127.0.0.1");
        assert_eq!(address("2001:db8::1".parse().expect("an address")), "2001:db8::1");
    }
}
