//! Asking the upstream: the request as it is sent, tries and what ends them, the answer as it
//! arrives.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use silverback_pdk::{
    Answer, Body, BodyError, Exchange, LogLevel, Phase, Scheme, Source, Timeouts, Try,
};

use crate::{
    answer,
    balancer::{self, Peer},
    clock::Clock,
    forward,
    lifecycle::Work,
    pool::{ConnectError, Key, Lease, Pool, TlsKey},
};

/// How much of an answer is held for plugins that want it whole.
const ANSWER_MAX: u64 = 128 << 20;
/// How much of a request's body is read before the upstream is asked, where its length is not
/// known: upstreams then get a Content-Length, as from Kong.
const UNKNOWN_LENGTH_MAX: u64 = 1 << 20;

/// What stays the same for all tries.
struct Plan {
    timeouts: Timeouts,
    retries: u16,
    uri: Uri,
    websocket: bool,
}

/// Why a try came to nothing.
pub(crate) struct Failure {
    status: StatusCode,
    /// Whether trying again can't do what the client did not ask for.
    pub(crate) may_retry: bool,
    reason: String,
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Failure {
        let (status, reason) = match error {
            ConnectError::Timeout => (StatusCode::GATEWAY_TIMEOUT, "connect: timed out".to_owned()),
            ConnectError::Failed(reason) => (StatusCode::BAD_GATEWAY, reason),
        };
        Failure { status, may_retry: true, reason }
    }
}

/// Asks the upstream, and its next target where one fails and it is safe to ask again. On success
/// the head of the answer is in the exchange.
///
/// # Errors
/// With the answer where no upstream answered.
pub(crate) async fn ask(work: &mut Work) -> Result<(), Box<Answer>> {
    work.exchange.timing.access_ended = Some(Instant::now());
    let mut aim = balancer::aim(work)?;
    let plan = Plan::of(work)?;
    let mut peer = balancer::choose(work, &mut aim).await?;
    work.exchange.timing.balancer_ended = Some(Instant::now());
    work.proxied = true;
    // From here on errors are the web server's, not the access phase's.
    work.exchange.phase = Phase::Balancer;
    buffer_request(work).await?;
    let mut left = plan.retries;
    loop {
        let failure = match attempt(work, &plan, &peer).await {
            Ok(response) => {
                arrive(work, response);
                return Ok(());
            }
            Err(failure) => failure,
        };
        note(work, &failure);
        if !failure.may_retry || left == 0 {
            return Err(answer::error(&work.exchange, failure.status, None));
        }
        left -= 1;
        peer = balancer::choose(work, &mut aim).await?;
    }
}

/// How long to wait for an upstream, and how often to try again: as a plugin says, or the service.
pub(crate) fn patience(exchange: &Exchange) -> (Timeouts, u16) {
    let service = exchange.service();
    let time = |given: Option<u32>| Duration::from_millis(given.unwrap_or(60_000).into());
    let timeouts = exchange.upstream.timeouts.unwrap_or_else(|| Timeouts {
        connect: time(service.and_then(|s| s.connect_timeout)),
        write: time(service.and_then(|s| s.write_timeout)),
        read: time(service.and_then(|s| s.read_timeout)),
    });
    let retries = exchange.upstream.retries.or(service.and_then(|s| s.retries)).unwrap_or(5);
    (timeouts, retries)
}

impl Plan {
    fn of(work: &Work) -> Result<Plan, Box<Answer>> {
        let exchange = &work.exchange;
        let (timeouts, retries) = patience(exchange);
        let upgrade = exchange.request.headers.get(header::UPGRADE);
        let websocket = upgrade.is_some_and(|u| u.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let query = exchange.request.query.as_deref();
        let room = exchange.upstream.path.len() + query.map_or(0, |query| query.len() + 1);
        let mut target = String::with_capacity(room);
        target.push_str(&exchange.upstream.path);
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        let uri = Uri::from_maybe_shared(Bytes::from(target)).map_err(|error| {
            let text = format!("no request can be made for the upstream's path: {error}");
            silverback_pdk::log(LogLevel::Err, "", &text);
            answer::error(exchange, StatusCode::INTERNAL_SERVER_ERROR, None)
        })?;
        Ok(Plan { timeouts, retries, uri, websocket })
    }
}

/// Reads a body of unknown length, or a small one, before the upstream is asked: then it can be
/// sent again. What is larger is streamed.
async fn buffer_request(work: &mut Work) -> Result<(), Box<Answer>> {
    let exchange = &mut work.exchange;
    if exchange.request.body.at_hand().is_some()
        || exchange.route().is_some_and(|route| !route.request_buffering)
    {
        return Ok(());
    }
    let known = exchange.request.body.size_hint().exact();
    let limit = exchange.view.node().body_buffer_max;
    let limit = if known.is_none() { limit.max(UNKNOWN_LENGTH_MAX) } else { limit };
    match exchange.request.body.read_within(limit).await {
        Ok(Some(bytes)) => {
            exchange.request.headers.remove(header::TRANSFER_ENCODING);
            let length = HeaderValue::from(bytes.len() as u64);
            exchange.request.headers.insert(header::CONTENT_LENGTH, length);
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) => Err(answer::error(exchange, status_of(&error), None)),
    }
}

/// How a body that can't be read is answered.
fn status_of(error: &BodyError) -> StatusCode {
    match error {
        BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Broken(_) => StatusCode::BAD_REQUEST,
        BodyError::Failed(_) => StatusCode::REQUEST_TIMEOUT,
    }
}

/// One try at one server.
async fn attempt(work: &mut Work, plan: &Plan, peer: &Peer) -> Result<Response<Incoming>, Failure> {
    let began = Instant::now();
    let tried = Try { address: peer.address, began, failure: None };
    work.exchange.upstream.tries.reserve_exact(1);
    work.exchange.upstream.tries.push(tried);
    let host = work.exchange.upstream.host_header.clone().unwrap_or_else(|| peer.host.clone());
    let key = Key { address: peer.address, tls: tls_key(work, &host)? };
    let pool = work.worker.pool.clone();
    let mut idle = if plan.websocket { None } else { pool.take(&key, began).await };
    loop {
        let lease = match idle.take() {
            Some(lease) => lease,
            None => connect(&pool, key.clone(), plan.timeouts.connect).await?,
        };
        let reused = lease.is_reused();
        match exchange_with(work, plan, lease, &host).await {
            // The other side had closed it before the request came: that says nothing of the
            // upstream, and does not count as a try.
            Err(failure)
                if reused && failure.may_retry && failure.status == StatusCode::BAD_GATEWAY => {}
            outcome => return outcome,
        }
    }
}

/// A fresh connection. Boxed: most requests find an idle one, and what is never used should not
/// make every request's future larger.
fn connect(
    pool: &Rc<Pool>,
    key: Key,
    limit: Duration,
) -> LocalBoxFuture<'_, Result<Lease, Failure>> {
    Box::pin(async move { pool.connect(key, limit).await.map_err(Failure::from) })
}

/// How TLS is settled with the server; none where the service speaks none.
pub(crate) fn tls_key(work: &Work, host: &HeaderValue) -> Result<Option<Rc<TlsKey>>, Failure> {
    let exchange = &work.exchange;
    if exchange.upstream.scheme == Scheme::Http {
        return Ok(None);
    }
    let snapshot = &work.live.snapshot;
    let route = exchange.matched.as_ref().map(|m| m.route);
    let service = route.and_then(|route| snapshot.route(route)?.service).unwrap_or(u32::MAX);
    let verify = exchange.upstream.tls_verify;
    let make = || {
        let config = snapshot.services.get(service as usize)?.tls.config(verify)?.clone();
        Some(TlsKey { config, name: server_name(host)? })
    };
    let key = work.live.balancers.tls_key((service, verify, host.clone()), make);
    key.map(Some).ok_or_else(|| Failure {
        status: StatusCode::BAD_GATEWAY,
        may_retry: false,
        reason: "the service does not speak TLS, or its Host is no name for it".to_owned(),
    })
}

/// The name that a certificate is asked for: the Host without its port.
fn server_name(host: &HeaderValue) -> Option<ServerName<'static>> {
    let host = host.to_str().ok()?;
    let end = match host.rfind(']') {
        Some(end) => end + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let name = host.get(..end)?.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(name.to_owned()).ok()
}

/// Sends the request on a connection and waits for the head of the answer.
async fn exchange_with(
    work: &mut Work,
    plan: &Plan,
    mut lease: Lease,
    host: &HeaderValue,
) -> Result<Response<Incoming>, Failure> {
    let body = std::mem::take(&mut work.exchange.request.body);
    let whole = body.at_hand();
    let upload = whole.is_none().then(Upload::begin);
    let body = match (&whole, &upload) {
        (Some(bytes), _) => Body::from_bytes(bytes.clone()),
        (None, Some(upload)) => Body::Stream(Box::pin(Uploading { body, upload: upload.clone() })),
        (None, None) => body,
    };
    let request = request(work, plan, host, body);
    let answer = lease.send(request);
    let answer = wait(work, plan, &mut lease.clock, upload.as_deref(), answer).await;
    if let Some(whole) = whole {
        work.exchange.request.body = Body::from_bytes(whole);
    }
    let replayable = upload.is_none();
    let safe = !matches!(work.exchange.request.method.as_str(), "POST" | "LOCK" | "PATCH");
    match answer {
        None => Err(Failure {
            status: StatusCode::GATEWAY_TIMEOUT,
            may_retry: replayable && safe,
            reason: "no answer in time".to_owned(),
        }),
        Some(Ok(response)) => {
            work.lease = Some(lease);
            Ok(response)
        }
        Some(Err(mut error)) => {
            let unsent = error.take_message();
            let mut may_retry = replayable && (safe || unsent.is_some());
            if let Some(unsent) = unsent
                && let Some(upload) = &upload
                && !upload.began.get()
            {
                work.exchange.request.body = unsent.into_body();
                may_retry = true;
            }
            let refused = upload.and_then(|upload| upload.refused.get());
            let reason = with_causes(error.error());
            let status = refused.unwrap_or(StatusCode::BAD_GATEWAY);
            Err(Failure { status, may_retry: may_retry && refused.is_none(), reason })
        }
    }
}

/// The text of an error with those that caused it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Waits for the head of the answer; none if it took too long. The clock for it starts when the
/// request is sent whole.
async fn wait<T>(
    work: &Work,
    plan: &Plan,
    clock: &mut Clock,
    upload: Option<&Upload>,
    answer: impl Future<Output = T>,
) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let Some(upload) = upload else {
        let deadline = tokio::time::Instant::now() + plan.timeouts.read;
        return clock.within(deadline, answer).await;
    };
    // A client that is slow to send is timed where its body is read, and first.
    let slack = work.worker.config.limits.body_timeout + Duration::from_secs(1);
    let deadline = || {
        let limit = match upload.done.get() {
            true => plan.timeouts.read,
            false => plan.timeouts.write.max(slack),
        };
        upload.moved.get() + limit
    };
    loop {
        let until = deadline();
        match clock.within(until.into(), &mut answer).await {
            Some(answer) => return Some(answer),
            None if deadline() > until => {}
            None => return None,
        }
    }
}

fn request(work: &mut Work, plan: &Plan, host: &HeaderValue, body: Body) -> Request<Body> {
    let exchange = &work.exchange;
    let whole = match &body {
        Body::Empty => Some(0),
        Body::Bytes(bytes) => Some(bytes.len() as u64),
        Body::Incoming(_) | Body::Stream(_) => None,
    };
    let mut request = Request::new(body);
    *request.method_mut() = exchange.request.method.clone();
    *request.uri_mut() = plan.uri.clone();
    let mut headers = work.worker.spare_headers();
    if let Some(forwarded) = &work.forwarded {
        forwarded.write(exchange, &work.connection, host, &mut headers);
    }
    if plan.websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    // What plugins made of the body counts, not what the client said of it.
    if let Some(length) = whole
        && (length > 0 || headers.contains_key(header::CONTENT_LENGTH))
    {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *request.headers_mut() = headers;
    // Another try writes names as it sees fit: this is seldom, and a copy each time is not.
    *request.extensions_mut() = std::mem::take(&mut work.request_case);
    request
}

/// Keeps what is known of a try that failed, for the log.
pub(crate) fn note(work: &mut Work, failure: &Failure) {
    let tries = &mut work.exchange.upstream.tries;
    let number = tries.len();
    let Some(last) = tries.last_mut() else { return };
    last.failure = Some(("failed", failure.status.as_u16()));
    if let Some(chosen) = &work.chosen {
        chosen.failed(failure.status);
    }
    let address = last.address;
    let id = work.exchange.request.id;
    let reason = &failure.reason;
    let text = format!("upstream {address}, try {number}: {reason}, request_id: {}", id.as_str());
    silverback_pdk::log(LogLevel::Err, "", &text);
}

/// The head of the upstream's answer becomes the exchange's.
fn arrive(work: &mut Work, mut response: Response<Incoming>) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        tunnel(work, &mut response);
    }
    let (parts, incoming) = response.into_parts();
    if let Some(chosen) = &mut work.chosen {
        chosen.answered(parts.status);
    }
    let mut headers = parts.headers;
    if headers.keys().any(goes_no_further) {
        drop_what_goes_no_further(work, parts.status, &mut headers);
    }
    let answer = &mut work.exchange.response;
    answer.status = parts.status;
    answer.upstream_status = Some(parts.status);
    answer.source = Some(Source::Service);
    if answer.headers.is_empty() {
        answer.headers = headers;
    } else {
        join(&mut answer.headers, headers);
    }
    work.response_case = parts.extensions;
    if incoming.is_end_stream() {
        answer.body = Body::Empty;
        if let Some(lease) = work.lease.take() {
            lease.give_back();
        }
    } else {
        answer.body = Body::Incoming(incoming);
        work.read_timeout = Some(read_timeout(work));
    }
}

/// Whether this header of an answer is for the gateway alone, at least in some answers.
fn goes_no_further(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "transfer-encoding" | "upgrade" | "trailer"
    ) || FOR_NGINX.contains(&name.as_str())
}

/// What an upstream says to nginx.
const FOR_NGINX: [&str; 5] = [
    "x-accel-redirect",
    "x-accel-expires",
    "x-accel-buffering",
    "x-accel-charset",
    "x-accel-limit-rate",
];

fn drop_what_goes_no_further(work: &Work, status: StatusCode, headers: &mut HeaderMap) {
    if status != StatusCode::SWITCHING_PROTOCOLS {
        forward::drop_of_connection(headers);
        headers.remove(header::UPGRADE);
    }
    if !work.exchange.request.headers.contains_key(header::TE) {
        headers.remove(header::TRAILER);
    }
    for name in FOR_NGINX {
        headers.remove(name);
    }
}

fn read_timeout(work: &Work) -> Duration {
    let exchange = &work.exchange;
    let of_service = exchange.service().and_then(|service| service.read_timeout);
    let of_service = Duration::from_millis(of_service.unwrap_or(60_000).into());
    exchange.upstream.timeouts.map_or(of_service, |timeouts| timeouts.read)
}

/// The upstream's headers join those that plugins have set before; of what there is only one, the
/// upstream's counts.
fn join(headers: &mut HeaderMap, upstream: HeaderMap) {
    const SINGLE: [HeaderName; 7] = [
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::SERVER,
        header::DATE,
        header::LAST_MODIFIED,
        header::ETAG,
    ];
    let mut last = None;
    for (name, value) in upstream {
        let fresh = name.is_some();
        last = name.or(last);
        let Some(name) = &last else { continue };
        if fresh && SINGLE.contains(name) {
            headers.insert(name.clone(), value);
        } else {
            headers.append(name.clone(), value);
        }
    }
}

/// Both sides have agreed on another protocol: bytes pass through from here on.
fn tunnel(work: &mut Work, response: &mut Response<Incoming>) {
    let upstream = hyper::upgrade::on(response);
    work.lease = None;
    let Some(client) = work.upgrade.take() else { return };
    tokio::task::spawn_local(async move {
        let (Ok(upstream), Ok(client)) = (upstream.await, client.await) else { return };
        let (mut upstream, mut client) = (TokioIo::new(upstream), TokioIo::new(client));
        // Either side ends it as it likes.
        let _ = tokio::io::copy_bidirectional(&mut upstream, &mut client).await;
    });
}

/// Reads the answer whole, for plugins that want it so.
///
/// # Errors
/// With the answer where the upstream's breaks off.
pub(crate) async fn read_answer(work: &mut Work) -> Result<(), Box<Answer>> {
    let silence = work.read_timeout.unwrap_or(Duration::from_secs(60));
    let body = &mut work.exchange.response.body;
    if let Body::Incoming(_) = body {
        let incoming = std::mem::take(body);
        *body = Body::Stream(Box::pin(crate::body::Timed::new(incoming, silence)));
    }
    match body.read(ANSWER_MAX).await {
        Ok(bytes) => {
            if let Some(lease) = work.lease.take() {
                lease.give_back();
            }
            let silent = work.exchange.request.method == Method::HEAD;
            if !silent && work.exchange.response.headers.contains_key(header::CONTENT_LENGTH) {
                let length = HeaderValue::from(bytes.len() as u64);
                work.exchange.response.headers.insert(header::CONTENT_LENGTH, length);
            }
            work.exchange.response.buffered = Some(bytes);
            Ok(())
        }
        Err(error) => {
            work.lease = None;
            work.exchange.response.body = Body::Empty;
            let text = format!("the upstream's answer broke off: {error}");
            silverback_pdk::log(LogLevel::Err, "", &text);
            Err(answer::error(&work.exchange, StatusCode::BAD_GATEWAY, None))
        }
    }
}

/// What is known of a body that is passed on as it comes.
struct Upload {
    /// When something of it was last passed on.
    moved: Cell<Instant>,
    began: Cell<bool>,
    done: Cell<bool>,
    /// How the request is answered where its body can't be read.
    refused: Cell<Option<StatusCode>>,
}

impl Upload {
    fn begin() -> Rc<Upload> {
        Rc::new(Upload {
            moved: Cell::new(Instant::now()),
            began: Cell::new(false),
            done: Cell::new(false),
            refused: Cell::new(None),
        })
    }
}

/// A body that is passed on as it comes.
struct Uploading {
    body: Body,
    upload: Rc<Upload>,
}

impl HttpBody for Uploading {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.upload.began.set(true);
        if let Poll::Ready(frame) = &polled {
            self.upload.moved.set(Instant::now());
            match frame {
                Some(Ok(_)) => self.upload.done.set(self.body.is_end_stream()),
                Some(Err(error)) => self.upload.refused.set(Some(status_of(error))),
                None => self.upload.done.set(true),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
