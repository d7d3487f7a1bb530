//! From the request to its route, and what the route says before any of its plugins runs
//! (kong/runloop/handler.lua, `access.before`).

use std::net::SocketAddr;

use http::{HeaderValue, StatusCode, header};
use silverback_model::entities::Protocol;
use silverback_pdk::{Answer, Captures, Matched, Phase, Scheme, Source};
use silverback_router::{Lookup, Match, normalize};

use crate::{
    answer,
    chain::ChainOf,
    forward::Forwarded,
    lifecycle::Work,
    snapshot::{CompiledRoute, CompiledService},
};

/// Finds the route and fills in what the upstream will be asked.
///
/// # Errors
/// With the answer where there is no route, or it is not for this kind of request.
pub(crate) fn find(work: &mut Work) -> Result<(), Box<Answer>> {
    work.exchange.phase = Phase::Access;
    let live = work.live.clone();
    let exchange = &mut work.exchange;
    let no_route = "no Route matched with those values";
    let raw_path = exchange.request.raw_path();
    let Ok(path) = normalize(raw_path) else {
        return Err(answer::error(exchange, StatusCode::NOT_FOUND, Some(no_route)));
    };
    let host = exchange.request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let client = &exchange.client;
    // Routes name the port that clients see.
    let mut destination = client.local;
    destination.set_port(work.worker.config.outer_port(destination.port()));
    let found = live.snapshot.router.find(&Lookup {
        method: exchange.request.method.as_str(),
        host: host.unwrap_or_default(),
        path: &path,
        query: exchange.request.query.as_deref().unwrap_or_default(),
        headers: &exchange.request.headers,
        scheme: match exchange.request.scheme {
            Scheme::Http => Protocol::Http,
            Scheme::Https => Protocol::Https,
        },
        sni: exchange.client.tls.as_ref().and_then(|tls| tls.server_name.as_deref()),
        source: Some(SocketAddr::new(client.forwarded_ip, client.forwarded_port)),
        destination: Some(destination),
    });
    let found = found.and_then(|found| Some((live.snapshot.route(found.route)?, found)));
    let Some((route, found)) = found else {
        return Err(answer::error(exchange, StatusCode::NOT_FOUND, Some(no_route)));
    };
    let service = live.snapshot.service_of(found.route);
    let service_path = service.and_then(|s| s.entity.path.as_deref());
    let upstream_path = found.upstream_path(&path, service_path);
    let prefix = found.prefix.as_deref().map(str::to_owned);
    let chain = ChainOf::Route(found.route);
    let matched = matched(found, prefix);
    exchange.upstream.path = upstream_path;
    exchange.matched = Some(matched);
    work.chain = chain;
    aim(work, route, service);
    check_protocol(work, route)
}

fn matched(found: Match<'_>, prefix: Option<String>) -> Matched {
    let captures = found.captures.map(|captures| {
        let unnamed = captures.unnamed.into_iter().map(Option::unwrap_or_default).collect();
        Box::new(Captures { unnamed, named: captures.named })
    });
    Matched { route: found.route, prefix, captures }
}

/// What the route and its service say about the upstream.
fn aim(work: &mut Work, route: &CompiledRoute, service: Option<&CompiledService>) {
    let exchange = &mut work.exchange;
    if let Some(service) = service {
        let tls = matches!(service.entity.protocol, Protocol::Https | Protocol::Grpcs);
        exchange.upstream.scheme = if tls { Scheme::Https } else { Scheme::Http };
    }
    if route.preserve_host {
        exchange.upstream.host_header = exchange.request.headers.get(header::HOST).cloned();
    }
    work.forwarded = Some(Forwarded::of(exchange, &work.connection));
}

/// Refuses or redirects requests that the route's protocols are not for.
fn check_protocol(work: &mut Work, route: &CompiledRoute) -> Result<(), Box<Answer>> {
    let Some(forwarded) = &work.forwarded else { return Ok(()) };
    let exchange = &work.exchange;
    if route.https_only && forwarded.proto(&work.exchange) != b"https" {
        let status = route.entity.https_redirect_status_code;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UPGRADE_REQUIRED);
        if status == StatusCode::UPGRADE_REQUIRED {
            let answer = answer::error(exchange, status, Some("Please use HTTPS protocol"));
            return Err(upgrade(*answer, "TLS/1.2, HTTP/1.1"));
        }
        let mut location = b"https://".to_vec();
        location.extend_from_slice(forwarded.host(exchange));
        location.extend_from_slice(exchange.request.target.as_bytes());
        let mut answer = Answer::new(status, "");
        (answer.body, answer.source) = (None, Source::Exit);
        if let Ok(location) = HeaderValue::from_bytes(&location) {
            answer = answer.with(header::LOCATION, location);
        }
        return Err(Box::new(answer));
    }
    if route.grpc {
        return check_grpc(work);
    }
    Ok(())
}

fn check_grpc(work: &Work) -> Result<(), Box<Answer>> {
    let exchange = &work.exchange;
    let content_type = exchange.request.headers.get(header::CONTENT_TYPE);
    if !content_type.is_some_and(|t| t.as_bytes().starts_with(b"application/grpc")) {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let text = "Non-gRPC request matched gRPC route";
        return Err(answer::error(exchange, status, Some(text)));
    }
    if exchange.request.version != http::Version::HTTP_2 {
        let text = "Please use HTTP2 protocol";
        let answer = answer::error(exchange, StatusCode::UPGRADE_REQUIRED, Some(text));
        return Err(upgrade(*answer, "HTTP/2"));
    }
    Ok(())
}

/// The answer with what the client should speak instead.
fn upgrade(answer: Answer, protocol: &'static str) -> Box<Answer> {
    let answer = answer.with(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    Box::new(answer.with(header::UPGRADE, HeaderValue::from_static(protocol)))
}
