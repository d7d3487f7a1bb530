//! HTTP around the service: connections, limits, the headers that every answer has.

use std::{
    convert::Infallible,
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{Answer, Request, Service};

/// How long a client may take for the handshake of TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take to send the whole of a body: a large one over a slow line is in time.
const BODY_TIMEOUT: Duration = Duration::from_secs(300);

const ADMIN_LATENCY: HeaderName = HeaderName::from_static("x-kong-admin-latency");

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole Admin API.
    Admin,
    /// What `status_listen` shows: `/status` and what goes with it.
    Status,
}

/// Serves connections until the task is dropped. A body has `body_max` bytes at the most.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    scope: Scope,
    body_max: Option<u64>,
    service: Rc<Service>,
) {
    let server = Rc::new(Server { scope, body_max: body_max.map_or(usize::MAX, bounded), service });
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                wait_after(&error).await;
                continue;
            }
        };
        let (tls, server) = (tls.clone(), Rc::clone(&server));
        tokio::task::spawn_local(async move {
            // Small answers to a waiting client: nothing is gained by collecting them.
            let _ = stream.set_nodelay(true);
            match tls {
                None => connection(stream, server).await,
                // A handshake that fails is the client's affair.
                Some(tls) => {
                    let handshake = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await;
                    if let Ok(Ok(stream)) = handshake {
                        connection(stream, server).await;
                    }
                }
            }
        });
    }
}

/// Out of file descriptors, accepting again at once would only spin.
async fn wait_after(error: &io::Error) {
    silverback_pdk::log(silverback_pdk::LogLevel::Err, "", &format!("accept: {error}"));
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// What the connections of a listener share.
struct Server {
    scope: Scope,
    body_max: usize,
    service: Rc<Service>,
}

fn bounded(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, server: Rc<Server>) {
    let answer = service_fn(move |request| {
        let server = Rc::clone(&server);
        async move { Ok::<_, Infallible>(answer(request, &server).await) }
    });
    let stream = TokioIo::new(stream);
    // The client went away: there is nobody to tell.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(stream, answer).await;
}

async fn answer(request: http::Request<Incoming>, server: &Server) -> http::Response<Full<Bytes>> {
    let began = Instant::now();
    let (head, body) = request.into_parts();
    let origin = allowed(head.headers.get(header::ORIGIN), &server.service.facts.origins);
    let target = head.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let is_head = head.method == Method::HEAD;
    let body = timeout(BODY_TIMEOUT, Limited::new(body, server.body_max).collect());
    let answer = match body.await {
        Err(_) => Answer::page(StatusCode::REQUEST_TIMEOUT),
        Ok(Err(_)) => Answer::page(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Ok(body)) => {
            let body = body.to_bytes().to_vec();
            let request = Request::new(head.method, &target, head.headers, body);
            match server.scope {
                Scope::Admin => server.service.answer(&request).await,
                Scope::Status => server.service.answer_status(&request).await,
            }
        }
    };
    respond(answer, origin, is_head, began)
}

/// The origin whose scripts may read an answer: the one that asks, unless only some may.
fn allowed(origin: Option<&HeaderValue>, origins: &[String]) -> HeaderValue {
    let any = HeaderValue::from_static("*");
    let is_listed = |origin: &&HeaderValue| origins.iter().any(|one| origin == &one.as_str());
    match (origins.first(), origin) {
        (None, origin) => origin.cloned().unwrap_or(any),
        (Some(first), origin) => match origin.filter(is_listed) {
            Some(origin) => origin.clone(),
            None => HeaderValue::from_str(first).unwrap_or(any),
        },
    }
}

/// Adds what every answer has (`kong/api/api_helpers.lua`: cors_filter).
fn respond(
    answer: Answer,
    origin: HeaderValue,
    is_head: bool,
    began: Instant,
) -> http::Response<Full<Bytes>> {
    let (status, headers, bytes) = answer.into_bytes();
    let length = bytes.len();
    let mut response =
        http::Response::new(Full::new(if is_head { Bytes::new() } else { bytes.into() }));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(header::SERVER, HeaderValue::from_static(SERVER));
    headers.insert(ADMIN_LATENCY, HeaderValue::from(began.elapsed().as_millis() as u64));
    if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

const SERVER: &str = concat!("silverback/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_origins_or_any() {
        let check = |origins: &[&str], origin: Option<&'static str>, expect: &str| {
            let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
            let origin = origin.map(HeaderValue::from_static);
            assert_eq!(allowed(origin.as_ref(), &origins), expect);
        };
        check(&[], None, "*");
        check(&[], Some("http://a"), "http://a");
        check(&["http://a", "http://b:1"], Some("http://b:1"), "http://b:1");
        check(&["http://a", "http://b:1"], Some("http://c"), "http://a");
        check(&["http://a"], None, "http://a");
    }
}
