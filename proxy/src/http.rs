//! Between the bytes of HTTP/1 and the exchange: hyper's requests become exchanges, exchanges
//! become hyper's responses.

use std::{
    cell::{Cell, OnceCell},
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body as _, Incoming};
use silverback_pdk::{Body, Client, Exchange, Phase, RequestId, Scheme, Tls};

use crate::{
    Config,
    body::{ClientBody, Logged, Outgoing},
    forward,
    lifecycle::{self, Work},
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
    pub(crate) requests: Cell<u64>,
    /// The port that clients see, as a header's value.
    pub(crate) port: HeaderValue,
    /// The other end's address, as a header's value, once somebody has asked for it.
    peer_text: OnceCell<HeaderValue>,
}

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

/// Serves one request of a connection.
pub(crate) async fn serve(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Outgoing>, Infallible> {
    let mut logged = Logged::new(Box::new(begin(connection, request)));
    if let Some(work) = logged.work() {
        lifecycle::lead_unharmed(work).await;
    }
    Ok(respond(logged))
}

fn begin(connection: Rc<Connection>, request: Request<Incoming>) -> Work {
    let worker = connection.worker.clone();
    let live = worker.live();
    let (mut parts, incoming) = request.into_parts();
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let refusal = refusal(&parts, &incoming, &worker.config);
    let target = match parts.uri.path_and_query() {
        Some(target) => target.as_str().to_owned(),
        None => "/".to_owned(),
    };
    if let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, host);
    }
    let limit = worker.config.node.body_max;
    let body = if incoming.is_end_stream() || refusal.is_some() {
        Body::Empty
    } else {
        let timeout = worker.config.limits.body_timeout;
        Body::Stream(Box::pin(ClientBody::new(incoming, limit, timeout)))
    };
    let request = silverback_pdk::Request {
        id: RequestId::random(),
        method: parts.method,
        version: parts.version,
        scheme: if connection.tls.is_some() { Scheme::Https } else { Scheme::Http },
        query: target.split_once('?').map(|(_, query)| query.to_owned()),
        host: host_name(&parts.headers),
        size: size_of_head(&target, &parts.headers),
        target,
        headers: parts.headers,
        body,
    };
    let client = client(&connection, Some(&request.headers));
    let exchange = Exchange::new(live.clone(), client, request);
    let request_case = parts.extensions;
    Work { refusal, upgrade, request_case, ..Work::new(exchange, connection, live) }
}

/// What is wrong with a request before anything is asked of it.
fn refusal(
    parts: &http::request::Parts,
    incoming: &Incoming,
    config: &Config,
) -> Option<StatusCode> {
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let bad_host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => true,
        (Some(host), None) => !is_host(host.as_bytes()),
        (None, None) => parts.version == Version::HTTP_11 && parts.uri.authority().is_none(),
    };
    let bad_method = parts.method.as_str().bytes().any(|b| b.is_ascii_lowercase());
    let both_lengths = parts.headers.contains_key(header::CONTENT_LENGTH)
        && parts.headers.contains_key(header::TRANSFER_ENCODING);
    let path = parts.uri.path();
    let bad_path = !path.starts_with('/') || normalize_fails(path);
    if bad_method || bad_host || both_lengths || bad_path {
        return Some(StatusCode::BAD_REQUEST);
    }
    let limit = config.node.body_max;
    (limit > 0 && incoming.size_hint().lower() > limit).then_some(StatusCode::PAYLOAD_TOO_LARGE)
}

/// Whether the web server refuses the path; one that is not UTF-8 merely has no route.
fn normalize_fails(path: &str) -> bool {
    use silverback_router::BadPath;
    matches!(
        silverback_router::normalize(path),
        Err(BadPath::Escape | BadPath::Nul | BadPath::AboveRoot)
    )
}

/// Whether a Host header holds what a host's name and port may.
fn is_host(host: &[u8]) -> bool {
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
            );
            byte += 1;
        }
        fine
    };
    !host.is_empty() && host.iter().all(|byte| FINE[usize::from(*byte)])
}

/// The name in the Host header: lower case, without port.
fn host_name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let end = match host.rfind(']') {
        Some(end) => end + 1,
        None => host.rfind(':').unwrap_or(host.len()),
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

fn respond(mut logged: Logged) -> Response<Outgoing> {
    let mut response = Response::new(()).into_parts().0;
    let mut silent = false;
    if let Some(work) = logged.work() {
        let served = work.connection.requests.get() + 1;
        work.connection.requests.set(served);
        let answer = &mut work.exchange.response;
        response.status = answer.status;
        // Handlers of the phases to come read the headers once more.
        let to_come = [Phase::BodyFilter, Phase::Log];
        response.headers = if to_come.iter().any(|p| work.live.has_handlers(&work.ran, *p)) {
            answer.headers.clone()
        } else {
            std::mem::take(&mut answer.headers)
        };
        response.extensions = std::mem::take(&mut work.response_case);
        answer.size = size_of_head("", &response.headers);
        silent = work.exchange.request.method == Method::HEAD
            || matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let worker = &work.worker;
        if worker.is_draining() || served >= worker.config.limits.requests_per_connection {
            response.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    Response::from_parts(response, Outgoing::new(logged, silent))
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
        for (host, fine) in [("a.test:80", true), ("a b", false), ("", false), ("a/b", false)] {
            assert_eq!(is_host(host.as_bytes()), fine, "{host}");
        }
    }
}
