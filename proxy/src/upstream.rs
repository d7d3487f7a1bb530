//! Asking the upstream: the request as it is sent, tries and what ends them, the answer as it
//! arrives.

mod message;
mod reply;

use std::{
    future::poll_fn,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::future::LocalBoxFuture;
use http::{HeaderValue, StatusCode, header};
use http_body::Body as _;
use rustls::pki_types::ServerName;
use silverback_http1::Response;
use silverback_pdk::{Answer, Body, BodyError, Exchange, LogLevel, Phase, Scheme, Timeouts, Try};

pub(crate) use self::reply::read_answer;
use crate::{
    answer,
    balancer::{self, Peer},
    http1::{Asked, Asking, Stuck},
    lifecycle::Work,
    pool::{ConnectError, Key, Lease, Pool, TlsKey},
};

/// How much of a request's body is read before the upstream is asked, where its length is not
/// known: upstreams then get a Content-Length, as from Kong.
const UNKNOWN_LENGTH_MAX: u64 = 1 << 20;

/// What stays the same for all tries.
struct Plan {
    timeouts: Timeouts,
    retries: u16,
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
    let plan = Plan::of(&work.exchange);
    let mut peer = balancer::choose(work, &mut aim).await?;
    let mut began = Instant::now();
    work.exchange.timing.balancer_ended = Some(began);
    work.proxied = true;
    // From here on errors are the web server's, not the access phase's.
    work.exchange.phase = Phase::Balancer;
    buffer_request(work).await?;
    let mut left = plan.retries;
    loop {
        let failure = match attempt(work, &plan, &peer, began).await {
            Ok(arrived) => {
                reply::arrive(work, arrived);
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
        began = Instant::now();
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
    fn of(exchange: &Exchange) -> Plan {
        let (timeouts, retries) = patience(exchange);
        let upgrade = exchange.request.headers.get(header::UPGRADE);
        let websocket = upgrade.is_some_and(|u| u.as_bytes().eq_ignore_ascii_case(b"websocket"));
        Plan { timeouts, retries, websocket }
    }
}

/// The head of an answer, the connection on which it came, and what was asked there.
struct Arrived {
    head: Response,
    lease: Lease,
    asked: Asked,
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
async fn attempt(
    work: &mut Work,
    plan: &Plan,
    peer: &Peer,
    began: Instant,
) -> Result<Arrived, Failure> {
    let tried = Try { address: peer.address, began, failure: None };
    work.exchange.upstream.tries.reserve_exact(1);
    work.exchange.upstream.tries.push(tried);
    let host = work.exchange.upstream.host_header.clone().unwrap_or_else(|| peer.host.clone());
    let key = Key { address: peer.address, tls: tls_key(work, &host)? };
    let pool = work.worker.pool.clone();
    let mut idle = if plan.websocket { None } else { pool.take(&key, began) };
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

/// How TLS is settled with the server; none where none is spoken.
pub(crate) fn tls_key(work: &Work, host: &HeaderValue) -> Result<Option<Rc<TlsKey>>, Failure> {
    let exchange = &work.exchange;
    if exchange.upstream.scheme == Scheme::Http {
        return Ok(None);
    }
    let snapshot = &work.live.snapshot;
    let route = exchange.matched.as_ref().map(|m| m.route);
    let service = route.and_then(|route| snapshot.route(route)?.service).unwrap_or(u32::MAX);
    let (verify, depth) = (exchange.upstream.tls_verify, exchange.upstream.tls_verify_depth);
    let make = || {
        let config = snapshot.services.get(service)?.tls.config(verify, depth)?;
        Some(TlsKey { config, name: server_name(host)? })
    };
    let key = work.live.balancers.tls_key((service, verify, depth, host.clone()), make);
    key.map(Some).ok_or_else(|| Failure {
        status: StatusCode::BAD_GATEWAY,
        may_retry: false,
        reason: "there is no TLS for the service, or its Host is no name for it".to_owned(),
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
) -> Result<Arrived, Failure> {
    let body = std::mem::take(&mut work.exchange.request.body);
    let whole = body.at_hand();
    let mut asked = message::write(work, plan, host, body);
    let reply = wait(work, plan, &mut lease, &mut asked).await;
    let replayable = whole.is_some();
    if let Some(whole) = whole {
        work.exchange.request.body = Body::from_bytes(whole);
    }
    let safe = !matches!(work.exchange.request.method.as_str(), "POST" | "LOCK" | "PATCH");
    let (status, reason, may_retry) = match reply {
        Some(Ok(head)) if plan.websocket || head.status != StatusCode::SWITCHING_PROTOCOLS => {
            return Ok(Arrived { head, lease, asked });
        }
        Some(Ok(_)) => (StatusCode::BAD_GATEWAY, "it switched protocols unasked".to_owned(), false),
        None => (StatusCode::GATEWAY_TIMEOUT, "no answer in time".to_owned(), replayable && safe),
        Some(Err(Stuck::Body(error))) => (status_of(&error), error.to_string(), false),
        Some(Err(Stuck::Upstream(reason, sent))) => {
            let mut may_retry = replayable && (safe || !sent);
            if !replayable && let Some(body) = asked.untouched_body() {
                work.exchange.request.body = body;
                may_retry = safe || !sent;
            }
            (StatusCode::BAD_GATEWAY, reason, may_retry)
        }
    };
    Err(Failure { status, may_retry, reason })
}

/// Waits for the head of the answer; none if it took too long. The clock for it starts when the
/// request is sent whole.
async fn wait(
    work: &Work,
    plan: &Plan,
    lease: &mut Lease,
    asked: &mut Asked,
) -> Option<Result<Response, Stuck>> {
    lease.serve();
    let Lease { wire, clock, .. } = lease;
    let method = &work.exchange.request.method;
    let mut asking = Asking::new(wire, asked, method, work.worker.spare_headers());
    // A client that is slow to send is timed where its body is read, and first.
    let slack = work.worker.config.limits.body_timeout + Duration::from_secs(1);
    poll_fn(|cx| {
        if let Poll::Ready(reply) = asking.poll(cx) {
            return Poll::Ready(Some(reply));
        }
        let progress = asking.asked.progress();
        let limit = match (progress.done, progress.blocked) {
            (true, _) => plan.timeouts.read,
            (false, true) => plan.timeouts.write,
            (false, false) => plan.timeouts.write.max(slack),
        };
        clock.poll((progress.moved + limit).into(), cx).map(|()| None)
    })
    .await
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
