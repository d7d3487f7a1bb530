//! The upstream's answer as it arrives.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, header::Entry};
use silverback_http1::Response;
use silverback_pdk::{Answer, Body, LogLevel, Source};

use super::Arrived;
use crate::{
    answer,
    body::Timed,
    forward,
    http1::{AnswerBody, Asked},
    lifecycle::Work,
    pool::Lease,
};

/// How much of an answer is held for plugins that want it whole.
const ANSWER_MAX: u64 = 128 << 20;

/// The head of the upstream's answer becomes the exchange's.
pub(super) fn arrive(work: &mut Work, arrived: Arrived) {
    let Arrived { mut head, lease, asked } = arrived;
    let status = head.status;
    if let Some(chosen) = &mut work.chosen {
        chosen.answered(status);
    }
    let mut headers = std::mem::take(&mut head.headers);
    if headers.keys().any(goes_no_further) {
        drop_what_goes_no_further(work, status, &mut headers);
    }
    let answer = &mut work.exchange.response;
    answer.status = status;
    answer.upstream_status = Some(status);
    answer.source = Some(Source::Service);
    if answer.headers.is_empty() {
        std::mem::swap(&mut answer.headers, &mut headers);
    } else {
        join(&mut answer.headers, &mut headers);
    }
    if headers.capacity() > 0 {
        work.worker.keep_spare(headers);
    }
    work.response_names = std::mem::take(&mut head.names);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        work.tunnel = Some(lease.wire);
    } else {
        work.exchange.response.body = body(work, &head, lease, asked);
    }
}

/// What comes after the head: nothing, bytes that are here already, or a stream.
fn body(work: &mut Work, head: &Response, lease: Lease, asked: Asked) -> Body {
    let Some(mut body) = AnswerBody::of(head, lease, asked) else { return Body::Empty };
    if let Some(bytes) = body.at_once() {
        return Body::from_bytes(bytes);
    }
    work.read_timeout = Some(read_timeout(work));
    Body::Stream(Box::pin(body))
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
fn join(headers: &mut HeaderMap, upstream: &mut HeaderMap) {
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
    let mut lines = upstream.drain().peekable();
    while let Some((name, value)) = lines.next() {
        let Some(name) = name else {
            // One more of the name before.
            if let Some(last) = &last {
                headers.append(last, value);
            }
            continue;
        };
        let goes_on = lines.peek().is_some_and(|(next, _)| next.is_none());
        last = goes_on.then(|| name.clone());
        match headers.entry(name) {
            Entry::Vacant(entry) => _ = entry.insert(value),
            Entry::Occupied(mut entry) if SINGLE.contains(entry.key()) => _ = entry.insert(value),
            Entry::Occupied(mut entry) => entry.append(value),
        }
    }
}

/// Reads the answer whole, for plugins that want it so.
///
/// # Errors
/// With the answer where the upstream's breaks off.
pub(crate) async fn read_answer(work: &mut Work) -> Result<(), Box<Answer>> {
    let silence = work.read_timeout.unwrap_or(Duration::from_secs(60));
    let body = &mut work.exchange.response.body;
    if let Body::Stream(_) = body {
        let incoming = std::mem::take(body);
        *body = Body::Stream(Box::pin(Timed::new(incoming, silence)));
    }
    match body.read(ANSWER_MAX).await {
        Ok(bytes) => {
            let silent = work.exchange.request.method == Method::HEAD;
            if !silent && work.exchange.response.headers.contains_key(header::CONTENT_LENGTH) {
                let length = HeaderValue::from(bytes.len() as u64);
                work.exchange.response.headers.insert(header::CONTENT_LENGTH, length);
            }
            // As it came, so it goes on.
            let streamed = work.proxied && !bytes.is_empty();
            let headers = &work.exchange.response.headers;
            work.exchange.response.chunked |=
                streamed && !headers.contains_key(header::CONTENT_LENGTH);
            work.exchange.response.buffered = Some(bytes);
            Ok(())
        }
        Err(error) => {
            work.exchange.response.body = Body::Empty;
            let text = format!("the upstream's answer broke off: {error}");
            silverback_pdk::log(LogLevel::Err, "", &text);
            Err(answer::error(&work.exchange, StatusCode::BAD_GATEWAY, None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_plugins_and_upstreams_are_joined() {
        let map = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            headers
        };
        let check = |own: &[(&'static str, &'static str)], upstream: &[_], expect: &[_]| {
            let (mut headers, mut upstream) = (map(own), map(upstream));
            join(&mut headers, &mut upstream);
            assert_eq!(headers, map(expect));
            assert!(upstream.is_empty());
        };
        check(&[("x-a", "1")], &[("x-b", "2")], &[("x-a", "1"), ("x-b", "2")]);
        check(&[("x-a", "1")], &[("x-a", "2")], &[("x-a", "1"), ("x-a", "2")]);
        check(&[("server", "a")], &[("server", "b")], &[("server", "b")]);
        check(
            &[("x-a", "1"), ("vary", "a")],
            &[("set-cookie", "a"), ("set-cookie", "b"), ("vary", "b"), ("vary", "c")],
            &[
                ("x-a", "1"),
                ("vary", "a"),
                ("vary", "b"),
                ("vary", "c"),
                ("set-cookie", "a"),
                ("set-cookie", "b"),
            ],
        );
    }
}
