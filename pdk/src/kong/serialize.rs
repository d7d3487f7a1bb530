//! The document that logging plugins send about a request (`kong/pdk/log.lua`, `serialize`).
//!
//! It is written as text at once, which is what is sent; whoever wants to change it gets it read
//! back as a tree.

mod text;

use std::time::Instant;

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value as Json};

use self::text::Text;
use super::{request, uri};
use crate::{Exchange, SerializeMode, Session, Source, Try, Value};

/// How many lines of headers the document has at the most.
const HEADERS_MAX: usize = 1000;
/// What clients authenticate with is nobody's business.
const REDACTED: [&str; 2] = ["authorization", "proxy-authorization"];

/// The document about the exchange, with what `kong.log.set_serialize_value` was given.
///
/// # Errors
/// Kong's text, if such a value's path leads through something that is no table.
pub fn serialize(exchange: &Exchange) -> Result<Map<String, Json>, String> {
    let mut document: Map<String, Json> =
        serde_json::from_slice(&written(exchange)).map_err(|error| error.to_string())?;
    for (key, value, mode) in &exchange.serialize {
        edit(&mut document, key, value, *mode)?;
    }
    Ok(document)
}

/// The same as JSON: a third of the work where nothing was set.
///
/// # Errors
/// As [`serialize`].
pub fn serialize_text(exchange: &Exchange) -> Result<Vec<u8>, String> {
    if exchange.serialize.is_empty() {
        return Ok(written(exchange));
    }
    serde_json::to_vec(&serialize(exchange)?).map_err(|error| error.to_string())
}

fn written(exchange: &Exchange) -> Vec<u8> {
    let mut document = Text::default();
    document.object(None, |document| write(exchange, document));
    document.into_bytes()
}

fn write(exchange: &Exchange, document: &mut Text) {
    match &exchange.session {
        None => {
            document.object(Some("request"), |part| write_request(exchange, part));
            document.text("upstream_uri", upstream_uri(exchange).as_bytes());
            match (&exchange.response.buffered, exchange.response.upstream_status) {
                // Of an answer that was read whole for a plugin, Kong knows but the number.
                (Some(_), Some(status)) => document.number("upstream_status", status.as_u16()),
                _ => document.text("upstream_status", upstream_status(exchange).as_bytes()),
            }
            document.object(Some("response"), |part| write_response(exchange, part));
            document.object(Some("latencies"), |part| write_latencies(exchange, part));
            document.text("source", source(exchange).as_bytes());
        }
        Some(session) => {
            document.object(Some("session"), |part| write_session(exchange, session, part));
            document.object(Some("upstream"), |part| {
                part.number("received", session.upstream_received);
                part.number("sent", session.upstream_sent);
            });
            document.object(Some("latencies"), |part| {
                let Latencies { kong, whole, .. } = latencies(exchange);
                part.number("kong", kong);
                part.number("session", whole);
            });
        }
    }
    if exchange.matched.is_some() {
        document.list("tries", |list| {
            for one in &exchange.upstream.tries {
                list.object(None, |part| write_try(exchange, one, part));
            }
        });
    }
    let client = &exchange.client;
    if let Some(credential) = client.credential.as_deref() {
        document.object(Some("authenticated_entity"), |part| {
            for name in ["id", "consumer_id"] {
                part.value(name, credential.get(name).unwrap_or_default());
            }
        });
    }
    if let Some(route) = exchange.route() {
        document.json("route", route.json());
    }
    if let Some(service) = exchange.service() {
        document.json("service", service.json());
    }
    if let Some(consumer) = client.consumer.as_deref() {
        document.object(Some("consumer"), |part| {
            consumer.iter().for_each(|(name, value)| part.value(name, value));
        });
    }
    document.value("client_ip", &client.forwarded_ip);
    document.number("started_at", exchange.timing.began_ms());
    if let Some(workspace) = workspace_id(exchange) {
        document.text("workspace", workspace.as_bytes());
    }
    // There is but one workspace in the open-source edition, and this is its name.
    document.text("workspace_name", b"default");
}

fn write_request(exchange: &Exchange, part: &mut Text) {
    let request = &exchange.request;
    let target = request.target.as_str();
    let port = exchange.client.local.port();
    part.text("id", request.id.as_bytes());
    part.text("uri", target.as_bytes());
    let url = format!("{}://{}:{port}{target}", request.scheme.as_str(), request.host);
    part.text("url", url.as_bytes());
    match request::query(exchange) {
        "" => part.object(Some("querystring"), |_| {}),
        query => part.value("querystring", &uri::decode_args(query.as_bytes(), 100).to_json()),
    }
    part.text("method", request.method.as_str().as_bytes());
    part.object(Some("headers"), |part| write_headers(&request.headers, &REDACTED, part));
    part.number("size", request.size);
    write_tls(exchange, part);
}

/// Headers by their names in lower case; several lines of a name are a list.
fn write_headers(headers: &HeaderMap, redacted: &[&str], part: &mut Text) {
    let mut lines = headers.iter().take(HEADERS_MAX).peekable();
    while let Some((name, line)) = lines.next() {
        let name = name.as_str();
        // Lines of one name follow one another.
        let mut more = Vec::new();
        while let Some((_, line)) = lines.next_if(|(next, _)| next.as_str() == name) {
            more.push(line);
        }
        if redacted.contains(&name) {
            part.text(name, b"REDACTED");
        } else if more.is_empty() {
            part.text(name, line.as_bytes());
        } else {
            part.list(name, |list| {
                std::iter::once(line).chain(more).for_each(|line| list.item(line.as_bytes()));
            });
        }
    }
}

fn write_tls(exchange: &Exchange, part: &mut Text) {
    if let Some(tls) = exchange.client.tls.as_deref() {
        let verify = exchange.client_verify.as_ref().unwrap_or(&tls.client_verify);
        part.object(Some("tls"), |part| {
            part.value("version", &tls.version);
            part.value("cipher", &tls.cipher);
            part.value("client_verify", verify);
        });
    }
}

fn write_session(exchange: &Exchange, session: &Session, part: &mut Text) {
    part.number("received", session.received);
    part.number("sent", session.sent);
    part.number("status", session.status);
    part.number("server_port", exchange.client.local.port());
    write_tls(exchange, part);
}

/// What took how long, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latencies {
    /// Until the upstream was asked, or until there was another answer.
    pub kong: u64,
    /// From there to the upstream's answer; none where it was not asked, and for streams.
    pub proxy: Option<u64>,
    /// All of it.
    pub whole: u64,
}

/// What took how long, as the document tells it.
pub fn latencies(exchange: &Exchange) -> Latencies {
    let timing = &exchange.timing;
    let now = timing.ended.unwrap_or_else(Instant::now);
    let head = if exchange.session.is_some() { now } else { timing.head_at.unwrap_or(now) };
    let asked = timing.balancer_ended;
    Latencies {
        kong: millis(timing.start, asked.unwrap_or(head)),
        proxy: asked.filter(|_| exchange.session.is_none()).map(|asked| millis(asked, head)),
        whole: millis(timing.start, now),
    }
}

fn write_response(exchange: &Exchange, part: &mut Text) {
    let response = &exchange.response;
    part.number("status", response.status.as_u16());
    part.object(Some("headers"), |part| write_headers(&response.headers, &[], part));
    part.number("size", response.size);
}

/// What the upstream was asked for: path and query; empty where none was chosen.
pub(super) fn upstream_uri(exchange: &Exchange) -> String {
    let path = exchange.upstream.path.as_str();
    if path.is_empty() || path.contains('?') {
        return path.to_owned();
    }
    match request::query(exchange) {
        "" if exchange.request.target.ends_with('?') => format!("{path}?"),
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

/// The statuses of all tries in nginx's form, "502, 200"; empty where nothing was tried.
pub(super) fn upstream_status(exchange: &Exchange) -> String {
    let answered = exchange.response.upstream_status;
    let tries = &exchange.upstream.tries;
    let mut codes: Vec<u16> = tries.iter().filter_map(|one| Some(one.failure?.1)).collect();
    match answered {
        Some(status) => codes.push(status.as_u16()),
        // The last try failed and the gateway's answer says how.
        None if codes.len() < tries.len() => codes.push(exchange.response.status.as_u16()),
        None => {}
    }
    codes.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

fn millis(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
}

fn write_latencies(exchange: &Exchange, part: &mut Text) {
    let Latencies { kong, proxy, whole } = latencies(exchange);
    let timing = &exchange.timing;
    let now = timing.ended.unwrap_or_else(Instant::now);
    part.number("kong", kong);
    match proxy {
        Some(proxy) => part.number("proxy", proxy),
        None => part.value("proxy", &-1),
    }
    part.number("request", whole);
    part.number("receive", proxy.map_or(0, |_| millis(timing.head_at.unwrap_or(now), now)));
}

/// One try, with the fields that Kong's balancer notes.
fn write_try(exchange: &Exchange, one: &Try, part: &mut Text) {
    let timing = &exchange.timing;
    let after = one.began.saturating_duration_since(timing.start);
    let began = timing.began.duration_since(std::time::UNIX_EPOCH).unwrap_or_default() + after;
    let latency = timing.balancer_ended.map(|at| at.saturating_duration_since(one.began));
    let latency = latency.unwrap_or_default();
    let small = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
    part.number("balancer_start", small(began.as_millis()));
    part.number("balancer_start_ns", small(began.as_nanos()));
    part.number("balancer_latency", small(latency.as_millis()));
    part.number("balancer_latency_ns", small(latency.as_nanos()));
    part.value("ip", &one.address.ip());
    part.number("port", one.address.port());
    if let Some((state, code)) = one.failure {
        part.text("state", state.as_bytes());
        part.number("code", code);
    }
}

fn source(exchange: &Exchange) -> &'static str {
    match exchange.response.source {
        Some(Source::Service) => "upstream",
        Some(Source::Exit | Source::Error) | None => "kong",
    }
}

fn workspace_id(exchange: &Exchange) -> Option<&str> {
    let of_route = exchange.route().and_then(|route| route.record().get("ws_id")?.as_str());
    of_route.or_else(|| exchange.view.workspace_id())
}

/// The steps of a dotted path; `\.` is a dot within a step.
fn steps(key: &str) -> Vec<String> {
    let mut steps = vec![String::new()];
    let mut rest = key.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '\\' if rest.peek() == Some(&'.') => {
                rest.next();
                steps.last_mut().unwrap_or(&mut String::new()).push('.');
            }
            '.' => steps.push(String::new()),
            other => steps.last_mut().unwrap_or(&mut String::new()).push(other),
        }
    }
    steps
}

fn edit(
    document: &mut Map<String, Json>,
    key: &str,
    value: &Value,
    mode: SerializeMode,
) -> Result<(), String> {
    let mut steps = steps(key);
    let Some(last) = steps.pop() else { return Ok(()) };
    let mut node = document;
    for step in steps {
        if !node.contains_key(&step) && mode == SerializeMode::Replace {
            return Ok(());
        }
        let refusal = |found: &Json| {
            format!(
                "The key '{key}' could not be used as a serialize value. Subkey '{step}' is not \
                 a table. It's {found}"
            )
        };
        node = match node.entry(step.clone()).or_insert_with(|| Map::new().into()) {
            Json::Object(members) => members,
            found => return Err(refusal(found)),
        };
    }
    let there = node.contains_key(&last);
    let applies = match mode {
        SerializeMode::Set => true,
        SerializeMode::Add => !there,
        SerializeMode::Replace => there,
    };
    if applies && value.is_nil() {
        node.remove(&last);
    } else if applies {
        node.insert(last, value.to_json());
    }
    Ok(())
}

/// The status as nginx's `$status` shows it: three digits, zeros while there is no answer.
pub(super) fn status_text(exchange: &Exchange) -> String {
    let status = exchange.response.source.map(|_| exchange.response.status);
    format!("{:03}", status.map_or(0, |status: StatusCode| status.as_u16()))
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "literals read best without a borrow")]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(key: &str, value: Json, mode: SerializeMode, expect: Json) {
        let Json::Object(mut document) = json!({"a": {"b": 1}, "x": "text"}) else { return };
        let got = match edit(&mut document, key, &Value::from(&value), mode) {
            Ok(()) => document.into(),
            Err(text) => Json::from(text),
        };
        assert_eq!(got, expect, "{key}");
    }

    #[test]
    fn values_are_set_by_path() {
        use SerializeMode::{Add, Replace, Set};
        check("a.b", json!(2), Set, json!({"a": {"b": 2}, "x": "text"}));
        check("a.b", json!(2), Add, json!({"a": {"b": 1}, "x": "text"}));
        check("a.b", json!(2), Replace, json!({"a": {"b": 2}, "x": "text"}));
        check("a.b", json!(null), Set, json!({"a": {}, "x": "text"}));
        check("a.c.d", json!([1]), Add, json!({"a": {"b": 1, "c": {"d": [1]}}, "x": "text"}));
        check("n.c", json!(1), Replace, json!({"a": {"b": 1}, "x": "text"}));
        check(r"n\.c", json!(1), Set, json!({"a": {"b": 1}, "x": "text", "n.c": 1}));
        let refusal = "The key 'x.y' could not be used as a serialize value. Subkey 'x' is not a \
                       table. It's \"text\"";
        check("x.y", json!(1), Set, json!(refusal));
    }
}
