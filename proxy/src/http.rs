//! Between the messages of HTTP/1 and the exchange: requests become exchanges, exchanges answers.

use std::{
    cell::{Cell, OnceCell},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use silverback_http1::{Framing, Names, Refusal, Request};
use silverback_pdk::{Body, Client, Exchange, LogLevel, Phase, RequestId, Scheme, Tls};

use crate::{
    Config,
    body::{ClientBody, Logged, Outgoing},
    forward,
    http1::{RequestBody, Wire},
    lifecycle::Work,
    tls,
    worker::Worker,
};

/// A client's connection.
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    /// The other end, as the PROXY header has it where there is one.
    pub(crate) peer: SocketAddr,
    /// This end.
    pub(crate) local: SocketAddr,
    /// Who connected, where a PROXY header stands for somebody else.
    pub(crate) proxied_by: Option<SocketAddr>,
    pub(crate) tls: Option<Rc<Tls>>,
    /// Whether it is a stream rather than HTTP.
    pub(crate) stream: bool,
    /// How many requests have been answered.
    pub(crate) requests: Cell<u64>,
    /// A number that no other connection of this process has.
    pub(crate) number: u64,
    /// The port that clients see, as a header's value.
    pub(crate) port: HeaderValue,
    /// The other end's address, as a header's value, once somebody has asked for it.
    peer_text: OnceCell<HeaderValue>,
}

static LAST_NUMBER: AtomicU64 = AtomicU64::new(1);

impl Connection {
    pub(crate) fn new(worker: Rc<Worker>, peer: SocketAddr, local: SocketAddr) -> Connection {
        let mut connection = Connection {
            worker,
            peer,
            local,
            proxied_by: None,
            tls: None,
            stream: false,
            requests: Cell::new(0),
            number: LAST_NUMBER.fetch_add(1, Ordering::Relaxed),
            port: HeaderValue::from_static(""),
            peer_text: OnceCell::new(),
        };
        connection.set_ends(peer, local);
        connection
    }

    /// The PROXY header stands for somebody else.
    pub(crate) fn stand_for(&mut self, source: SocketAddr, destination: SocketAddr) {
        self.proxied_by = Some(self.peer);
        self.set_ends(source, destination);
    }

    fn set_ends(&mut self, peer: SocketAddr, local: SocketAddr) {
        (self.peer, self.local) = (peer, local);
        self.port = HeaderValue::from(self.worker.config.outer_port(local.port()));
    }

    /// An address as a header's value: mostly the peer's, which is written once.
    pub(crate) fn address_of(&self, ip: IpAddr) -> HeaderValue {
        match ip == self.peer.ip() {
            true => self.peer_text.get_or_init(|| forward::address(ip)).clone(),
            false => forward::address(ip),
        }
    }
}

/// A request that has just begun. `body` is none where it has none.
pub(crate) fn begin(
    connection: Rc<Connection>,
    request: Request,
    body: Option<RequestBody>,
) -> Box<Work> {
    let worker = connection.worker.clone();
    let live = worker.live();
    let Request { method, target, version, mut headers, names, framing, .. } = request;
    let mut host = host_fault(&headers, version);
    if let Some(authority) = target.authority
        && let Ok(authority) = HeaderValue::from_maybe_shared(authority)
    {
        headers.insert(header::HOST, authority);
        host = host.or_else(|| host_fault(&headers, version));
    }
    let (target, odd_query) = text(&target.path);
    let mark = memchr::memchr(b'?', target.as_bytes());
    let path = mark.and_then(|mark| target.get(..mark)).unwrap_or(&target);
    let refusal = host.or_else(|| refusal(&method, path, framing, &worker.config));
    let limit = worker.config.node.body_max;
    let body = match body {
        Some(body) if refusal.is_none() => {
            let timeout = worker.config.limits.body_timeout;
            Body::Stream(Box::pin(ClientBody::new(body, limit, timeout)))
        }
        _ => Body::Empty,
    };
    let mut request = silverback_pdk::Request {
        id: RequestId::random(),
        method,
        version,
        scheme: if connection.tls.is_some() { Scheme::Https } else { Scheme::Http },
        query: mark.and_then(|mark| target.get(mark + 1..)).map(str::to_owned),
        host: host_name(&headers),
        size: size_of_head(&target, &headers),
        target,
        headers,
        body,
    };
    let client = client(&connection, Some(&request.headers));
    forward::drop_what_client_names(&mut request.headers);
    let exchange = Exchange::new(live.clone(), client, request);
    let mut work = Work::boxed(exchange, connection, live);
    (work.refusal, work.request_names, work.odd_query) = (refusal, names, odd_query);
    work
}

/// What stands for a request that could not be read: it is answered and logged like others, with
/// what of `head` could be.
pub(crate) fn refused(connection: Rc<Connection>, refusal: Refusal, head: &[u8]) -> Box<Work> {
    let live = connection.worker.live();
    let scheme = if connection.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let client = client(&connection, None);
    let mut request = tls::empty_request(scheme);
    let (method, target) = silverback_http1::asks_for(head);
    request.method = method.unwrap_or(request.method);
    if let Some(target) = target {
        request.target = text(&Bytes::copy_from_slice(target)).0;
        request.query = request.target.split_once('?').map(|(_, query)| query.to_owned());
    }
    let exchange = Exchange::new(live.clone(), client, request);
    let (peer, id) = (connection.peer, exchange.request.id);
    let reason = refusal.reason;
    let text =
        format!("client {peer} sent what is no request: {reason}, request_id: {}", id.as_str());
    silverback_pdk::log(LogLevel::Info, "", &text);
    let mut work = Work::boxed(exchange, connection, live);
    work.refusal = Some(refusal.status());
    work
}

/// The target as text. What is no UTF-8 is shown as escapes, of which the path keeps its meaning:
/// no route matches it. The query is then kept as it came, too.
fn text(target: &Bytes) -> (String, Option<Box<(String, Bytes)>>) {
    if let Ok(text) = std::str::from_utf8(target) {
        return (text.to_owned(), None);
    }
    let mut text = String::with_capacity(target.len() + 16);
    for chunk in target.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    let query = memchr::memchr(b'?', target).map(|at| target.slice(at + 1..));
    let shown = text.split_once('?').map(|(_, shown)| shown.to_owned());
    (text, shown.zip(query).map(Box::new))
}

/// Whether an answer says that the connection closes: a plugin may have put that there.
fn closes(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    lines.any(|line| {
        line.split(|&b| b == b',').any(|w| w.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}

/// What is wrong with the Host header (RFC 9112, 3.2).
fn host_fault(headers: &HeaderMap, version: Version) -> Option<StatusCode> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let bad = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => true,
        (Some(host), None) => !is_host(host.as_bytes()),
        (None, None) => version != Version::HTTP_10,
    };
    bad.then_some(StatusCode::BAD_REQUEST)
}

/// What is wrong with a request before anything is asked of it.
fn refusal(method: &Method, path: &str, framing: Framing, config: &Config) -> Option<StatusCode> {
    if method == Method::CONNECT || method == Method::TRACE {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let bad_method = method.as_str().bytes().any(|b| b.is_ascii_lowercase());
    if bad_method || !path.starts_with('/') || normalize_fails(path) {
        return Some(StatusCode::BAD_REQUEST);
    }
    let limit = config.node.body_max;
    let too_large = matches!(framing, Framing::Length(length) if limit > 0 && length > limit);
    too_large.then_some(StatusCode::PAYLOAD_TOO_LARGE)
}

/// Whether the web server refuses the path; one that is not UTF-8 merely has no route.
fn normalize_fails(path: &str) -> bool {
    use silverback_router::BadPath;
    matches!(
        silverback_router::normalize(path),
        Err(BadPath::Escape | BadPath::Nul | BadPath::AboveRoot)
    )
}

/// Whether a Host header holds a host's name or address, and behind a colon digits only: what
/// else there is, two parsers could part in two ways (RFC 9110, 7.2; RFC 3986, 3.2.2).
fn is_host(host: &[u8]) -> bool {
    let end = match host {
        [b'[', ..] => host.iter().position(|&byte| byte == b']').map_or(0, |end| end + 1),
        _ => host.iter().position(|&byte| byte == b':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let fine = match name {
        [b'[', address @ .., b']'] => {
            !address.is_empty() && address.iter().all(|&b| is_of_name(b) || b == b':')
        }
        name => !name.is_empty() && name.iter().all(|&byte| is_of_name(byte)),
    };
    fine && match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Whether a byte may stand in a host's name.
fn is_of_name(byte: u8) -> bool {
    const FINE: [bool; 256] = {
        let mut fine = [false; 256];
        let mut byte = b'!';
        while byte < 0x7f {
            fine[byte as usize] = !matches!(
                byte,
                b'/' | b'\\'
                    | b'?'
                    | b'#'
                    | b'@'
                    | b'"'
                    | b'<'
                    | b'>'
                    | b'^'
                    | b'`'
                    | b'{'
                    | b'|'
                    | b'}'
                    | b'%'
                    | b':'
                    | b'['
                    | b']'
            );
            byte += 1;
        }
        fine
    };
    FINE[usize::from(byte)]
}

/// The name in the Host header: lower case, without port.
fn host_name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let colon = memchr::memrchr(b':', host.as_bytes()).unwrap_or(host.len());
    let end = match host.starts_with('[') {
        true => host.rfind(']').map_or(colon, |end| end + 1),
        false => colon,
    };
    host.get(..end).unwrap_or(host).to_ascii_lowercase()
}

fn size_of_head(target: &str, headers: &HeaderMap) -> u64 {
    let lines: usize = headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
    (target.len() + lines + 16) as u64
}

/// Who asks. A stream has no headers to say so: what counts there is the PROXY header.
pub(crate) fn client(connection: &Connection, headers: Option<&HeaderMap>) -> Client {
    let config = &connection.worker.config;
    let peer = connection.peer;
    let nearest = connection.proxied_by.unwrap_or(peer);
    let trusted = !config.node.trusted_ips.is_empty() && config.node.trusts(nearest.ip());
    let behind = match (&config.real_ip.header, headers) {
        _ if !trusted => None,
        (Some(name), Some(headers)) => real_ip(headers, name, config),
        _ => connection.proxied_by.map(|_| (peer.ip(), Some(peer.port()))),
    };
    let (forwarded_ip, forwarded_port) = match behind {
        Some((ip, port)) => (ip, port.unwrap_or(0)),
        None => (nearest.ip(), nearest.port()),
    };
    Client {
        peer: nearest,
        local: connection.local,
        forwarded_ip,
        forwarded_port,
        trusted,
        tls: connection.tls.clone(),
        consumer: None,
        credential: None,
        connection: connection.number,
        requests: connection.requests.get() + 1,
        consumer_groups: None,
    }
}

/// The address that a header names: the last, or with `real_ip_recursive` the last that is not
/// trusted (nginx's ngx_http_realip_module).
fn real_ip(
    headers: &HeaderMap,
    name: &http::HeaderName,
    config: &Config,
) -> Option<(IpAddr, Option<u16>)> {
    let mut found = None;
    let lines: Vec<_> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
    for one in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let one = one.trim();
        let one = match one.parse::<IpAddr>() {
            Ok(ip) => (ip, None),
            Err(_) => match one.parse::<SocketAddr>() {
                Ok(address) => (address.ip(), Some(address.port())),
                Err(_) => break,
            },
        };
        found = Some(one);
        if !config.real_ip.recursive || !config.node.trusts(one.0) {
            break;
        }
    }
    found
}

/// The head of an answer, as it is written.
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) names: Names,
    /// Whether the body is sent in chunks although its length is known.
    pub(crate) chunked: bool,
    /// Whether the connection ends with this answer, as far as the gateway is concerned.
    pub(crate) closes: bool,
    /// The upstream's connection, where it has agreed on another protocol.
    pub(crate) tunnel: Option<Wire>,
}

/// The answer that a request has led to. None if it has none, or has been logged already.
pub(crate) fn respond(mut logged: Logged) -> Option<(Head, Outgoing)> {
    let work = logged.work().filter(|work| !work.broken)?;
    let served = work.connection.requests.get() + 1;
    work.connection.requests.set(served);
    // Handlers of the phases to come read the headers once more.
    let read_again =
        [Phase::BodyFilter, Phase::Log].iter().any(|p| work.live.has_handlers(&work.ran, *p));
    let answer = &mut work.exchange.response;
    let headers = match read_again {
        true => answer.headers.clone(),
        false => std::mem::take(&mut answer.headers),
    };
    answer.size = size_of_head("", &headers);
    let status = answer.status;
    let worker = &work.worker;
    let limits = &worker.config.limits;
    let enough = served >= limits.requests_per_connection || limits.idle_timeout.is_zero();
    let mut names = std::mem::take(&mut work.response_names);
    names.respell(work.exchange.response_spelling.iter());
    let head = Head {
        method: work.exchange.request.method.clone(),
        version: work.exchange.request.version,
        status,
        // What follows a request that was refused is not worth the trust.
        closes: worker.is_draining() || enough || work.refusal.is_some() || closes(&headers),
        headers,
        names,
        chunked: answer.chunked,
        // A plugin may have put another answer in its place.
        tunnel: work.tunnel.take().filter(|_| status == StatusCode::SWITCHING_PROTOCOLS),
    };
    let silent = head.method == Method::HEAD
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Some((head, Outgoing::new(logged, silent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_a_name_without_port() {
        let check = |given: &'static str, expect: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(given));
            assert_eq!(host_name(&headers), expect);
        };
        check("Shop.Test:8080", "shop.test");
        check("[::1]:80", "[::1]");
        check("[::1]", "[::1]");
        check("a.test", "a.test");
    }

    #[test]
    fn hosts_hold_no_odd_characters() {
        for fine in ["a.test:80", "a.test", "a_b.test", "a.test:", "[::1]", "[::1]:80", "1.2.3.4"] {
            assert!(is_host(fine.as_bytes()), "{fine}");
        }
        for odd in [
            "", ":80", "a b", "a/b", "a\\b", "u@a", "a:80:90", "a:8x", "a:-1", "::1", "[::1", "[]",
            "[::1]a", "[::1]80", "a[b]", "a%2eb", "a\"", "\u{e9}",
        ] {
            assert!(!is_host(odd.as_bytes()), "{odd}");
        }
    }
}
