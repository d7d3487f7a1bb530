//! From a stream to its route (kong/runloop/handler.lua, `preread.before`).

use http::StatusCode;
use silverback_model::entities::Protocol;
use silverback_pdk::{Answer, Matched, Scheme};
use silverback_router::Lookup;

use crate::{answer, chain::ChainOf, forward, lifecycle::Work, snapshot::CompiledRoute};

/// Finds the route and fills in how its service is spoken to.
///
/// # Errors
/// With the answer where there is no route, or it is not for this kind of stream.
pub(super) fn find(work: &mut Work) -> Result<(), Box<Answer>> {
    let live = work.live.clone();
    let exchange = &work.exchange;
    let tls = exchange.client.tls.as_deref();
    let name = tls.and_then(|tls| tls.server_name.as_deref());
    // Routes name the port that clients see.
    let mut destination = exchange.client.local;
    destination.set_port(work.worker.config.outer_port(destination.port()));
    let found = live.snapshot.router.find(&Lookup {
        method: "",
        host: "",
        path: "",
        query: "",
        headers: &exchange.request.headers,
        scheme: if tls.is_some() { Protocol::Tls } else { Protocol::Tcp },
        sni: name,
        source: Some(exchange.client.peer),
        destination: Some(destination),
    });
    let found = found.and_then(|found| Some((found.route, live.snapshot.route(found.route)?)));
    let Some((number, route)) = found else {
        return Err(refuse(work, "no Route found with those values"));
    };
    if tls.is_some() && !route.entity.protocols.contains(&Protocol::Tls) {
        return Err(refuse(work, "unexpected protocols in matched Route"));
    }
    let host = name.filter(|_| route.preserve_host).map(|n| forward::value(n.as_bytes()));
    let exchange = &mut work.exchange;
    exchange.upstream.host_header = host;
    exchange.matched = Some(Matched { route: number, ..Matched::default() });
    work.chain = ChainOf::Route(number);
    aim(work, route)
}

/// What the route's service says about the upstream.
fn aim(work: &mut Work, route: &CompiledRoute) -> Result<(), Box<Answer>> {
    let service = route.service.and_then(|s| work.live.snapshot.services.get(s));
    match service.map(|service| service.entity.protocol) {
        Some(Protocol::Udp) => return Err(refuse(work, "UDP is not available yet")),
        Some(protocol) if protocol.is_tls() => work.exchange.upstream.scheme = Scheme::Https,
        _ => {}
    }
    Ok(())
}

fn refuse(work: &Work, text: &str) -> Box<Answer> {
    answer::error(&work.exchange, StatusCode::INTERNAL_SERVER_ERROR, Some(text))
}
