//! Connecting a stream to its upstream: tries, and what ends them.

use std::time::Instant;

use http::StatusCode;
use silverback_pdk::{Answer, Phase, Try};

use crate::{
    answer,
    balancer::{self, Peer},
    http1::Socket,
    lifecycle::Work,
    pool::{self, Key},
    upstream::{self, Failure},
};

/// Connects to the upstream, and to its next target where one fails: nothing has been sent yet.
///
/// # Errors
/// With the answer where there is no service, or no target can be reached.
pub(super) async fn connect(work: &mut Work) -> Result<Socket, Box<Answer>> {
    work.exchange.timing.access_ended = Some(Instant::now());
    let mut aim = balancer::aim(work)?;
    let (timeouts, retries) = upstream::patience(&work.exchange);
    let mut peer = balancer::choose(work, &mut aim).await?;
    work.exchange.timing.balancer_ended = Some(Instant::now());
    work.exchange.phase = Phase::Balancer;
    let mut left = retries;
    loop {
        let failure = match attempt(work, &peer, timeouts.connect).await {
            Ok(socket) => {
                work.proxied = true;
                return Ok(socket);
            }
            Err(failure) => failure,
        };
        upstream::note(work, &failure);
        if !failure.may_retry || left == 0 {
            let text = Some("the upstream can't be reached");
            return Err(answer::error(&work.exchange, StatusCode::BAD_GATEWAY, text));
        }
        left -= 1;
        peer = balancer::choose(work, &mut aim).await?;
    }
}

/// One try at one server.
async fn attempt(
    work: &mut Work,
    peer: &Peer,
    limit: std::time::Duration,
) -> Result<Socket, Failure> {
    let tried = Try { address: peer.address, began: Instant::now(), failure: None };
    work.exchange.upstream.tries.push(tried);
    let host = work.exchange.upstream.host_header.as_ref().unwrap_or(&peer.host);
    let key = Key { address: peer.address, tls: upstream::tls_key(work, host)? };
    Ok(pool::dial_within(&key, limit).await?)
}
