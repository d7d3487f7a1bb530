//! The answer's head: what plugins and the gateway put in the upstream's place, and the headers
//! that the gateway signs every answer with.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use silverback_pdk::{Answer, Body, Exchange, kong};
use std::time::{Duration, Instant};

use crate::{
    balancer,
    forward::{self, X_KONG_REQUEST_ID},
    lifecycle::Work,
};

const UPSTREAM_STATUS: HeaderName = HeaderName::from_static("x-kong-upstream-status");
const UPSTREAM_LATENCY: HeaderName = HeaderName::from_static("x-kong-upstream-latency");
const PROXY_LATENCY: HeaderName = HeaderName::from_static("x-kong-proxy-latency");
const KONG_DEBUG: HeaderName = HeaderName::from_static("kong-debug");
const RESPONSE_LATENCY: HeaderName = HeaderName::from_static("x-kong-response-latency");

/// The gateway's answer to what it refuses or can't serve, in the form that the client accepts.
pub(crate) fn error(exchange: &Exchange, status: StatusCode, text: Option<&str>) -> Box<Answer> {
    Box::new(kong::error_answer(exchange, status, text))
}

/// Puts an answer in the place of whatever would have been answered. Headers that plugins have
/// set stay, but for those that describe the body that is gone.
pub(crate) fn put(exchange: &mut Exchange, answer: Answer) {
    let answer = kong::complete_answer(exchange, answer);
    let response = &mut exchange.response;
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONTENT_ENCODING] {
        response.headers.remove(name);
    }
    replace(&mut response.headers, answer.headers);
    response.headers.remove(header::TRANSFER_ENCODING);
    let body = answer.body.unwrap_or_default();
    let bodiless = answer.status.is_informational()
        || matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless {
        response.headers.remove(header::CONTENT_LENGTH);
    } else if !answer.chunked && !response.headers.contains_key(header::CONTENT_LENGTH) {
        response.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len() as u64));
    }
    response.status = answer.status;
    response.source = Some(answer.source);
    response.chunked = answer.chunked;
    response.body = if bodiless { Body::Empty } else { Body::from_bytes(body) };
}

/// Puts headers in the place of those of the same name.
fn replace(headers: &mut HeaderMap, new: HeaderMap) {
    let mut last = None;
    for (name, value) in new {
        match (name, &last) {
            (Some(name), _) => {
                headers.insert(name.clone(), value);
                last = Some(name);
            }
            (None, Some(name)) => drop(headers.append(name.clone(), value)),
            (None, None) => {}
        }
    }
}

/// The head of the answer is there, from wherever.
pub(crate) fn arrive(work: &mut Work) {
    let exchange = &mut work.exchange;
    exchange.timing.head_at = Some(Instant::now());
    if work.proxied && work.worker.config.headers.upstream_status {
        let status = exchange.response.upstream_status.unwrap_or(exchange.response.status);
        exchange.response.headers.insert(UPSTREAM_STATUS, forward::number(status.as_u16().into()));
    }
    if let Some(cookie) = work.hash_cookie.take_if(|_| work.proxied) {
        balancer::set_cookie(&mut exchange.response.headers, cookie);
    }
}

/// Adds the gateway's own headers, after plugins had their say
/// (kong/runloop/handler.lua, `header_filter.after`).
pub(crate) fn sign(work: &mut Work) {
    let show = &work.worker.config.headers;
    let proxied = work.proxied || work.exchange.response.from_cache;
    let timing = &work.exchange.timing;
    let head_at = timing.head_at.unwrap_or(timing.start);
    let headers = &mut work.exchange.response.headers;
    if proxied {
        let asked = timing.balancer_ended.unwrap_or(timing.start);
        if show.upstream_latency {
            headers.insert(UPSTREAM_LATENCY, milliseconds(head_at - asked));
        }
        if show.proxy_latency {
            headers.insert(PROXY_LATENCY, milliseconds(asked - timing.start));
        }
        if show.via {
            let via = work.worker.signs.via(headers.get(header::VIA), http::Version::HTTP_11);
            headers.insert(header::VIA, via);
        }
    } else if show.response_latency {
        headers.insert(RESPONSE_LATENCY, milliseconds(head_at - timing.start));
    }
    if show.server {
        headers.entry(header::SERVER).or_insert_with(|| work.worker.signs.server.clone());
    }
    if show.request_id {
        let id = forward::value(work.exchange.request.id.as_bytes());
        headers.insert(X_KONG_REQUEST_ID, id);
    }
    add_charset(work.exchange.response.status, headers);
    for added in &work.worker.config.added_headers {
        if added.is_for(work.exchange.response.status) {
            headers.append(added.name.clone(), added.value.clone());
        }
    }
    if work.worker.config.debug_header && work.exchange.request.headers.contains_key(KONG_DEBUG) {
        tell_route(&mut work.exchange);
    }
}

/// Says by which route and service a request went (kong/router/utils.lua, `add_debug_headers`).
fn tell_route(exchange: &mut Exchange) {
    let mut told = Vec::new();
    let route = exchange.route().map(|route| (route.id, route.name.clone()));
    let service = exchange.service().map(|service| (service.id, service.name.clone()));
    for (kind, entity) in [("route", route), ("service", service)] {
        let Some((id, name)) = entity else { continue };
        told.push((format!("kong-{kind}-id"), Some(id.to_string())));
        told.push((format!("kong-{kind}-name"), name));
    }
    for (name, text) in told {
        let name = HeaderName::try_from(name).ok();
        if let Some((name, text)) = name.zip(text) {
            exchange.response.headers.insert(name, forward::value(text.as_bytes()));
        }
    }
}

fn milliseconds(time: Duration) -> HeaderValue {
    forward::number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Names the charset of texts that don't, as Kong's web server is configured to
/// (`charset UTF-8`, nginx's `charset_types`).
fn add_charset(status: StatusCode, headers: &mut HeaderMap) {
    const TYPES: [(&str, &str); 6] = [
        ("text/html", "text/html; charset=UTF-8"),
        ("text/xml", "text/xml; charset=UTF-8"),
        ("text/plain", "text/plain; charset=UTF-8"),
        ("text/vnd.wap.wml", "text/vnd.wap.wml; charset=UTF-8"),
        ("application/javascript", "application/javascript; charset=UTF-8"),
        ("application/rss+xml", "application/rss+xml; charset=UTF-8"),
    ];
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else { return };
    let text = content_type.as_bytes();
    let kind = text.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    let known = TYPES.iter().find(|(known, _)| kind.eq_ignore_ascii_case(known.as_bytes()));
    let Some((known, complete)) = known else { return };
    let moved = matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND);
    if moved || has_charset(text) || headers.contains_key(header::CONTENT_ENCODING) {
        return;
    }
    let with_charset = match text == known.as_bytes() {
        true => HeaderValue::from_static(complete),
        false => forward::value(&[text, b"; charset=UTF-8"].concat()),
    };
    headers.insert(header::CONTENT_TYPE, with_charset);
}

fn has_charset(content_type: &[u8]) -> bool {
    content_type.windows(8).any(|window| window.eq_ignore_ascii_case(b"charset="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_get_a_charset() {
        let check = |status, content_type, expect| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            add_charset(status, &mut headers);
            assert_eq!(headers[header::CONTENT_TYPE], expect, "{content_type}");
        };
        check(StatusCode::OK, "text/plain", "text/plain; charset=UTF-8");
        check(StatusCode::OK, "Text/Plain; a=b", "Text/Plain; a=b; charset=UTF-8");
        check(StatusCode::OK, "text/html; charset=latin1", "text/html; charset=latin1");
        check(StatusCode::OK, "application/json", "application/json");
        check(StatusCode::FOUND, "text/html", "text/html");
    }

    #[test]
    fn headers_of_the_same_name_are_replaced_whole() {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("old"));
        let mut new = HeaderMap::new();
        new.append("x-a", HeaderValue::from_static("1"));
        new.append("x-a", HeaderValue::from_static("2"));
        replace(&mut headers, new);
        let values: Vec<_> = headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
    }
}
