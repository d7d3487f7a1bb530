//! The life of a request: one function, a line for each phase. Everything hangs from here.

use std::{panic::AssertUnwindSafe, rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, StatusCode};
use silverback_http1::Names;
use silverback_pdk::{Answer, Exchange, LogLevel, Phase};

use crate::{
    answer,
    balancer::Chosen,
    chain,
    chain::{ChainOf, Ran},
    forward::Forwarded,
    http::Connection,
    http1::Wire,
    route, upstream,
    worker::{Live, Worker},
};

/// A request or a stream on its way: the exchange that plugins see, and what only the gateway
/// knows of it.
pub(crate) struct Work {
    pub(crate) exchange: Exchange,
    pub(crate) connection: Rc<Connection>,
    pub(crate) worker: Rc<Worker>,
    /// The snapshot it works on from start to end.
    pub(crate) live: Rc<Live>,
    /// Why it is refused before any plugin runs.
    pub(crate) refusal: Option<StatusCode>,
    /// What its route runs.
    pub(crate) chain: ChainOf,
    /// Whose handlers the later phases run.
    pub(crate) ran: Ran,
    /// What upstreams are told of the client.
    pub(crate) forwarded: Option<Forwarded>,
    /// Whether an upstream was asked.
    pub(crate) proxied: bool,
    /// The target that serves it, where it goes to an upstream's.
    pub(crate) chosen: Option<Chosen>,
    /// The cookie by which its next request finds the same target.
    pub(crate) hash_cookie: Option<HeaderValue>,
    /// How long the upstream may keep silent within its answer's body.
    pub(crate) read_timeout: Option<Duration>,
    /// Bytes of the answer's body that were sent.
    pub(crate) sent: u64,
    /// Whether a plugin failed while it filtered the answer, which nobody gets then: the connection
    /// closes (kong/init.lua, `header_filter`: an error there ends nginx's work on the request).
    pub(crate) broken: bool,
    /// The connection to the upstream, once another protocol is spoken on it.
    pub(crate) tunnel: Option<Wire>,
    /// How the client writes the names of its headers.
    pub(crate) request_names: Names,
    /// How the upstream does.
    pub(crate) response_names: Names,
    /// A query that is no UTF-8: as plugins see it, and as it came.
    pub(crate) odd_query: Option<Box<(String, Bytes)>>,
}

impl Work {
    /// What has just begun, where it will stay: it is two kilobytes, not to be made elsewhere.
    #[inline]
    pub(crate) fn boxed(
        exchange: Exchange,
        connection: Rc<Connection>,
        live: Rc<Live>,
    ) -> Box<Work> {
        Box::write(Box::new_uninit(), Work::new(exchange, connection, live))
    }

    /// What has just begun.
    #[inline]
    pub(crate) fn new(exchange: Exchange, connection: Rc<Connection>, live: Rc<Live>) -> Work {
        Work {
            exchange,
            worker: connection.worker.clone(),
            connection,
            live,
            refusal: None,
            chain: ChainOf::Requests,
            ran: Ran::default(),
            forwarded: None,
            proxied: false,
            chosen: None,
            hash_cookie: None,
            read_timeout: None,
            sent: 0,
            broken: false,
            tunnel: None,
            request_names: Names::default(),
            response_names: Names::default(),
            odd_query: None,
        }
    }
}

/// Leads a request through its phases up to the point where its answer's head can be sent.
/// The two phases that follow happen while the body is sent: body_filter for each piece of it,
/// log after the last (`body.rs`).
pub(crate) async fn lead(work: &mut Work) {
    if let Err(answer) = ask(work).await {
        answer::put(&mut work.exchange, *answer);
    }
    if let Err(answer) = respond(work).await {
        answer::put(&mut work.exchange, *answer);
    }
    work.broken = !chain::header_filter(work).await;
    answer::sign(work);
}

/// From the request to the head of the upstream's answer.
async fn ask(work: &mut Work) -> Result<(), Box<Answer>> {
    refuse(work)?;
    chain::rewrite(work).await?;
    route::find(work)?;
    chain::access(work).await?;
    upstream::ask(work).await
}

/// Plugins that want the whole answer get it, whoever made it.
async fn respond(work: &mut Work) -> Result<(), Box<Answer>> {
    answer::arrive(work);
    if work.exchange.upstream.buffered || work.live.has_handlers(&work.ran, Phase::Response) {
        Box::pin(upstream::read_answer(work)).await?;
        chain::response(work).await?;
    }
    Ok(())
}

/// Answers what is wrong with the request itself.
fn refuse(work: &mut Work) -> Result<(), Box<Answer>> {
    match work.refusal {
        Some(status) => Err(answer::error(&work.exchange, status, None)),
        None => Ok(()),
    }
}

/// [`lead`], with a panic on the way turned into a 500: it ends this request, nothing else.
pub(crate) async fn lead_unharmed(work: &mut Work) {
    if AssertUnwindSafe(lead(work)).catch_unwind().await.is_err() {
        note_panic(work);
        let exchange = &mut work.exchange;
        exchange.response = silverback_pdk::Response::default();
        exchange.phase = Phase::Access;
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        answer::put(exchange, *answer::error(exchange, status, None));
        answer::sign(work);
    }
}

/// Counts a panic and says where it happened.
pub(crate) fn note_panic(work: &Work) {
    work.worker.counters.panics.up();
    let Work { exchange, .. } = work;
    let running = exchange.running.and_then(|running| exchange.view.instance(running));
    let plugin = running.and_then(|record| record.get("name")?.as_str()).unwrap_or_default();
    let (phase, id) = (exchange.phase, exchange.request.id);
    let text = format!("panic in the {phase} phase, request_id: {}", id.as_str());
    silverback_pdk::log(LogLevel::Crit, plugin, &text);
}
