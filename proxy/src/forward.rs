//! Headers at the border: what upstreams are told of the client, and what belongs to one
//! connection only and goes no further (RFC 9110, 7.6.1; kong/runloop/handler.lua).

use std::{cell::Cell, net::IpAddr};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use silverback_http1::Names;
use silverback_pdk::Exchange;

use crate::{Config, http::Connection};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PATH: HeaderName = HeaderName::from_static("x-forwarded-path");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The name of the header that carries the request's id, both ways.
pub(crate) const X_KONG_REQUEST_ID: HeaderName = HeaderName::from_static("x-kong-request-id");

/// What upstreams are told of the client, as it was when the route was found.
pub(crate) struct Forwarded {
    /// What a trusted peer has said. For anybody else there is none of it.
    said: Option<Box<Said>>,
    for_: HeaderValue,
    via: HeaderValue,
}

/// What a peer says of its own client; none is what is seen here.
struct Said {
    proto: Option<HeaderValue>,
    host: Option<HeaderValue>,
    port: Option<HeaderValue>,
    path: Option<HeaderValue>,
    prefix: Option<HeaderValue>,
}

impl Said {
    fn of(headers: &HeaderMap) -> Said {
        let said = |name: HeaderName| headers.get(name).filter(|value| !value.is_empty()).cloned();
        Said {
            proto: said(X_FORWARDED_PROTO),
            host: said(X_FORWARDED_HOST),
            port: said(X_FORWARDED_PORT),
            path: said(X_FORWARDED_PATH),
            prefix: said(X_FORWARDED_PREFIX),
        }
    }
}

impl Forwarded {
    /// What a trusted peer says counts, else what is seen here.
    pub(crate) fn of(exchange: &Exchange, connection: &Connection) -> Forwarded {
        let headers = &exchange.request.headers;
        let client = &exchange.client;
        let via = &connection.worker.signs;
        Forwarded {
            said: client.trusted.then(|| Box::new(Said::of(headers))),
            for_: match headers.get(X_FORWARDED_FOR) {
                Some(before) => joined(before, client.peer.ip()),
                None => connection.address_of(client.forwarded_ip),
            },
            via: via.via(headers.get(header::VIA), exchange.request.version),
        }
    }

    fn said(&self, which: fn(&Said) -> &Option<HeaderValue>) -> Option<&[u8]> {
        self.said.as_deref().and_then(|said| which(said).as_ref()).map(HeaderValue::as_bytes)
    }

    /// X-Forwarded-Proto.
    pub(crate) fn proto<'a>(&'a self, exchange: &'a Exchange) -> &'a [u8] {
        self.said(|said| &said.proto).unwrap_or(exchange.request.scheme.as_str().as_bytes())
    }

    /// X-Forwarded-Host.
    pub(crate) fn host<'a>(&'a self, exchange: &'a Exchange) -> &'a [u8] {
        self.said(|said| &said.host).unwrap_or(exchange.request.host.as_bytes())
    }

    /// Writes the upstream's copy of the request's headers, but for those that frame its body.
    /// True if the request says how long that is.
    pub(crate) fn write(
        &self,
        exchange: &Exchange,
        connection: &Connection,
        names: &Names,
        host: &HeaderValue,
        out: &mut Vec<u8>,
    ) -> bool {
        let given = &exchange.request.headers;
        line(out, b"Host: ", host.as_bytes());
        let (te, length) = (Cell::new(false), Cell::new(false));
        silverback_http1::headers(out, given, names, |name| {
            te.set(te.get() || name == header::TE);
            length.set(length.get() || name == header::CONTENT_LENGTH);
            !stays_behind(name)
        });
        if te.get() && wants_trailers(given) {
            line(out, b"TE: ", b"trailers");
        }
        let told = &exchange.upstream.told;
        tell(out, told, "x-forwarded-for", b"X-Forwarded-For: ", self.for_.as_bytes());
        tell(out, told, "x-forwarded-proto", b"X-Forwarded-Proto: ", self.proto(exchange));
        tell(out, told, "x-forwarded-host", b"X-Forwarded-Host: ", self.host(exchange));
        let port = self.said(|said| &said.port).unwrap_or(connection.port.as_bytes());
        tell(out, told, "x-forwarded-port", b"X-Forwarded-Port: ", port);
        let path = self.said(|said| &said.path);
        let path = path.unwrap_or_else(|| exchange.request.raw_path().as_bytes());
        tell(out, told, "x-forwarded-path", b"X-Forwarded-Path: ", path);
        let prefix = exchange.matched.as_ref().and_then(|matched| matched.prefix.as_deref());
        let prefix = self.said(|said| &said.prefix).or(prefix.map(str::as_bytes));
        let prefix = prefix.unwrap_or_default();
        tell(out, told, "x-forwarded-prefix", b"X-Forwarded-Prefix: ", prefix);
        let client = connection.address_of(exchange.client.forwarded_ip);
        line(out, b"X-Real-IP: ", client.as_bytes());
        tell(out, told, "via", b"Via: ", self.via.as_bytes());
        if connection.worker.config.request_id_upstream {
            line(out, b"X-Kong-Request-Id: ", exchange.request.id.as_bytes());
        }
        length.get()
    }
}

/// Writes what is seen here, or what a plugin has it told in its place; "" is not sent.
fn tell(
    out: &mut Vec<u8>,
    told: &[(&'static str, HeaderValue)],
    header: &str,
    name: &[u8],
    seen: &[u8],
) {
    let told = told.iter().find(|(told, _)| *told == header);
    let value = told.map_or(seen, |(_, value)| value.as_bytes());
    if !value.is_empty() {
        line(out, name, value);
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether a header of the request is not passed on as it came: it is the connection's, or the
/// gateway writes it anew.
fn stays_behind(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "connection"
            | "keep-alive"
            | "transfer-encoding"
            | "expect"
            | "proxy"
            | "proxy-connection"
            | "upgrade"
            | "te"
            | "x-forwarded-for"
            | "x-forwarded-proto"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-path"
            | "x-forwarded-prefix"
            | "x-real-ip"
            | "via"
            | "x-kong-request-id"
    )
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    let te = headers.get(header::TE).map_or(&[][..], HeaderValue::as_bytes);
    te.split(|&b| b == b',').any(|one| one.trim_ascii() == b"trailers")
}

/// Drops the headers of a request that its Connection names, before anybody sees it. Kong does so
/// last, so that a client could have dropped what plugins say of it (X-Consumer-Id and the like).
/// What the gateway writes anew it still reads.
pub(crate) fn drop_what_client_names(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    for name in of_connection(headers).iter().filter(|name| !stays_behind(name)) {
        headers.remove(name);
    }
}

/// Drops what belongs to one connection: the headers that Connection names, itself, Keep-Alive and
/// Transfer-Encoding.
pub(crate) fn drop_of_connection(headers: &mut HeaderMap) {
    for name in of_connection(headers) {
        headers.remove(name);
    }
    for name in [header::CONNECTION, KEEP_ALIVE, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

/// The headers that Connection names.
fn of_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    let names = lines.flat_map(|line| line.split(|&b| b == b',')).map(<[u8]>::trim_ascii);
    // The usual ones name no header, or one that is dropped anyway.
    let names = names.filter(|name| {
        !name.eq_ignore_ascii_case(b"keep-alive") && !name.eq_ignore_ascii_case(b"close")
    });
    // What frames or addresses the message is not the connection's to drop.
    let names = names.filter_map(|name| HeaderName::from_bytes(name).ok());
    names
        .filter(|name| ![header::HOST, header::CONTENT_LENGTH, header::TE].contains(name))
        .collect()
}

/// What a worker signs messages with. Each has values of its own: a count shared by all workers
/// would be fought over.
pub(crate) struct Signs {
    /// Server.
    pub(crate) server: HeaderValue,
    /// Via of a message of HTTP/1.1 that came straight here.
    via: HeaderValue,
}

impl Signs {
    pub(crate) fn of(config: &Config) -> Signs {
        let server = value(config.server.as_bytes());
        let via = shared([b"1.1 ", server.as_bytes()].concat().into());
        Signs { server, via }
    }

    /// Via with this gateway at its end: the version is that of the message as it was received.
    pub(crate) fn via(&self, before: Option<&HeaderValue>, version: Version) -> HeaderValue {
        let number: &[u8] = match (before, version) {
            (None, Version::HTTP_11) => return self.via.clone(),
            (_, Version::HTTP_10) => b"1.0 ",
            (_, Version::HTTP_2) => b"2 ",
            _ => b"1.1 ",
        };
        let mut text = BytesMut::with_capacity(64);
        if let Some(before) = before {
            text.put_slice(before.as_bytes());
            text.put_slice(b", ");
        }
        text.put_slice(number);
        text.put_slice(self.server.as_bytes());
        shared(text.freeze())
    }
}

/// A number as a header's value. Small ones and the commonest status take no memory.
pub(crate) fn number(number: u64) -> HeaderValue {
    const SMALL: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let small = usize::try_from(number).ok().and_then(|number| SMALL.get(number));
    match (small, number) {
        (Some(digit), _) => HeaderValue::from_static(digit),
        (None, 200) => HeaderValue::from_static("200"),
        (None, _) => HeaderValue::from(number),
    }
}

fn joined(before: &HeaderValue, peer: IpAddr) -> HeaderValue {
    let mut text = BytesMut::with_capacity(before.len() + 2 + 39);
    text.put_slice(before.as_bytes());
    text.put_slice(b", ");
    text.put_slice(address(peer).as_bytes());
    shared(text.freeze())
}

/// An address as a header's value.
pub(crate) fn address(ip: IpAddr) -> HeaderValue {
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
    fn what_the_gateway_writes_anew_is_not_the_clients_to_drop() {
        let mut headers = HeaderMap::new();
        let names = "x-drop, x-forwarded-for, host, upgrade, Via, content-length";
        headers.insert("connection", HeaderValue::from_static(names));
        for name in ["x-drop", "x-forwarded-for", "host", "upgrade", "via", "content-length"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        drop_what_client_names(&mut headers);
        assert_eq!((headers.len(), headers.contains_key("x-drop")), (6, false));
    }

    #[test]
    fn addresses_are_written_as_usual() {
        assert_eq!(address([127, 0, 0, 1].into()), "127.0.0.1");
        assert_eq!(address("2001:db8::1".parse().expect("an address")), "2001:db8::1");
    }
}
