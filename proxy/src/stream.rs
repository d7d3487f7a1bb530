//! The life of a stream: a TCP or TLS connection that is proxied as it is. It has the shape of a
//! request's: begin, find the route, run its plugins, connect, copy, log.

mod copy;
mod route;
mod upstream;

use std::{panic::AssertUnwindSafe, rc::Rc, time::Duration};

use ::http::StatusCode;
use bytes::Bytes;
use futures_util::FutureExt;
use silverback_pdk::{Answer, Exchange, LogLevel, Phase, Scheme, Session, Source};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use crate::{
    chain,
    chain::{ChainOf, Ran},
    http::{Connection, client},
    lifecycle::{self, Work},
    logs, tls,
};

/// How long a client may take to hear that its stream has ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves a stream to its end.
pub(crate) async fn serve<S>(connection: Rc<Connection>, mut client: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut work = Box::new(begin(connection));
    let led = AssertUnwindSafe(lead(&mut work, &mut client)).catch_unwind().await;
    let status = led.unwrap_or_else(|_| {
        lifecycle::note_panic(&work);
        StatusCode::INTERNAL_SERVER_ERROR
    });
    if let Some(session) = &mut work.exchange.session {
        session.status = status.as_u16();
    }
    // A client that has gone needs no farewell.
    let _ = timeout(FAREWELL, client.shutdown()).await;
    drop(client);
    logs::end(work);
}

fn begin(connection: Rc<Connection>) -> Work {
    let live = connection.worker.live();
    let scheme = if connection.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let client = client(&connection, None);
    let mut exchange = Exchange::new(live.clone(), client, tls::empty_request(scheme));
    exchange.session = Some(Session::default());
    exchange.phase = Phase::Preread;
    let chain = ChainOf::Streams;
    Work { chain, ran: Ran::Chain(chain), ..Work::new(exchange, connection, live) }
}

/// Leads a stream through its phases up to the log, and says how it ended.
async fn lead<S>(work: &mut Work, client: &mut S) -> StatusCode
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match ask(work).await {
        Ok(wire) => {
            work.exchange.response.source = Some(Source::Service);
            copy::both_ways(work, client, wire).await;
            StatusCode::OK
        }
        Err(answer) => refuse(work, client, *answer).await,
    }
}

/// From the connection to the upstream's.
async fn ask(work: &mut Work) -> Result<crate::http1::Socket, Box<Answer>> {
    route::find(work)?;
    chain::preread(work).await?;
    upstream::connect(work).await
}

/// Ends a stream that is not proxied. The body of a friendly exit goes to the client, that of a
/// refusal into the log (kong/pdk/response.lua, `send_stream`).
async fn refuse<S>(work: &mut Work, client: &mut S, answer: Answer) -> StatusCode
where
    S: AsyncWrite + Unpin,
{
    let body = answer.body.unwrap_or_default();
    if answer.status.as_u16() < 400 {
        say(work, client, &body).await;
    } else if !body.is_empty() {
        let (peer, code) = (work.exchange.client.peer, answer.status.as_u16());
        let body = String::from_utf8_lossy(&body);
        let text = format!("unable to proxy stream connection from {peer}, status: {code}, {body}");
        silverback_pdk::log(LogLevel::Err, "", &text);
    }
    answer.status
}

async fn say<S>(work: &mut Work, client: &mut S, body: &Bytes)
where
    S: AsyncWrite + Unpin,
{
    let limit = work.worker.config.limits.send_timeout;
    let said = timeout(limit, client.write_all(body)).await;
    if let (Ok(Ok(())), Some(session)) = (said, &mut work.exchange.session) {
        session.sent += body.len() as u64;
    }
}
