//! HTTP around the service: connections, limits, the headers that every answer has.

use std::{convert::Infallible, io, rc::Rc, time::Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{Answer, Request, Service};

/// How large a body may be, in bytes: a declarative file can be, and Kong takes 10 MB.
const BODY_MAX: usize = 64 << 20;

/// What the Status API has of the Admin API.
const STATUS_PATHS: [&str; 2] = ["/status", "/metrics"];

/// Upstreams can be read there, too (`kong/status/init.lua`).
fn is_status(request: &Request) -> bool {
    let reads = [Method::GET, Method::HEAD].contains(&request.method);
    let upstreams = request.path.starts_with("/upstreams/");
    STATUS_PATHS.contains(&request.path.as_str()) || (reads && upstreams)
}

const ADMIN_LATENCY: HeaderName = HeaderName::from_static("x-kong-admin-latency");

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole Admin API.
    Admin,
    /// What `status_listen` shows: `/status` and what goes with it.
    Status,
}

/// Serves connections until the task is dropped.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    scope: Scope,
    service: Rc<Service>,
) {
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                wait_after(&error).await;
                continue;
            }
        };
        let (tls, service) = (tls.clone(), Rc::clone(&service));
        tokio::task::spawn_local(async move {
            // Small answers to a waiting client: nothing is gained by collecting them.
            let _ = stream.set_nodelay(true);
            match tls {
                None => connection(stream, scope, service).await,
                // A handshake that fails is the client's affair.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(stream, scope, service).await;
                    }
                }
            }
        });
    }
}

/// Out of file descriptors, accepting again at once would only spin.
async fn wait_after(error: &io::Error) {
    silverback_pdk::log(silverback_pdk::LogLevel::Err, "", &format!("accept: {error}"));
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    scope: Scope,
    service: Rc<Service>,
) {
    let answer = service_fn(move |request| {
        let service = Rc::clone(&service);
        async move { Ok::<_, Infallible>(answer(request, scope, &service).await) }
    });
    let stream = TokioIo::new(stream);
    // The client went away: there is nobody to tell.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(stream, answer).await;
}

async fn answer(
    request: http::Request<Incoming>,
    scope: Scope,
    service: &Service,
) -> http::Response<Full<Bytes>> {
    let began = Instant::now();
    let (head, body) = request.into_parts();
    let origin = head.headers.get(header::ORIGIN).cloned();
    let target = head.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let is_head = head.method == Method::HEAD;
    let answer = match Limited::new(body, BODY_MAX).collect().await {
        Err(_) => Answer::message(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large"),
        Ok(body) => {
            let body = body.to_bytes().to_vec();
            let request = Request::new(head.method, &target, head.headers, body);
            if scope == Scope::Admin || is_status(&request) {
                service.answer(&request)
            } else {
                Answer::not_found()
            }
        }
    };
    respond(answer, origin, is_head, began)
}

/// Adds what every answer has (`kong/api/api_helpers.lua`: cors_filter).
fn respond(
    answer: Answer,
    origin: Option<HeaderValue>,
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
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        origin.unwrap_or(HeaderValue::from_static("*")),
    );
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(header::SERVER, HeaderValue::from_static(SERVER));
    headers.insert(ADMIN_LATENCY, HeaderValue::from(began.elapsed().as_millis() as u64));
    if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

const SERVER: &str = concat!("silverback/", env!("CARGO_PKG_VERSION"));
