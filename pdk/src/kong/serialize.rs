//! The document that logging plugins send about a request (`kong/pdk/log.lua`, `serialize`).

use std::time::Instant;

use http::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::{headers, request, uri};
use crate::{Exchange, Record, SerializeMode, Session, Source, Try, Value};

/// The document about the exchange, with what `kong.log.set_serialize_value` was given.
///
/// # Errors
/// Kong's text, if such a value's path leads through something that is no table.
pub fn serialize(exchange: &Exchange) -> Result<Map<String, Json>, String> {
    let mut document = Map::new();
    let mut put = |name: &str, value: Json| document.insert(name.to_owned(), value);
    match &exchange.session {
        None => {
            put("request", request_part(exchange));
            put("upstream_uri", upstream_uri(exchange).into());
            put("upstream_status", upstream_status(exchange).into());
            put("response", response_part(exchange));
            put("latencies", request_latencies(exchange));
            put("source", source(exchange).into());
        }
        Some(session) => {
            put("session", session_part(exchange, session));
            let (received, sent) = (session.upstream_received, session.upstream_sent);
            put("upstream", json!({"received": received, "sent": sent}));
            put("latencies", stream_latencies(exchange));
        }
    }
    if exchange.matched.is_some() {
        let tries = &exchange.upstream.tries;
        put("tries", tries.iter().map(|one| try_part(exchange, one)).collect());
    }
    let client = &exchange.client;
    if let Some(credential) = client.credential.as_deref() {
        put("authenticated_entity", authenticated_entity(credential));
    }
    let entities = [
        ("route", exchange.route().map(|route| route.record())),
        ("service", exchange.service().map(|service| service.record())),
        ("consumer", client.consumer.as_ref()),
    ];
    for (name, record) in entities {
        if let Some(record) = record {
            put(name, Value::Entity(record.clone()).to_json());
        }
    }
    put("client_ip", client.forwarded_ip.to_string().into());
    put("started_at", exchange.timing.began_ms().into());
    if let Some(workspace) = workspace_id(exchange) {
        put("workspace", workspace.into());
    }
    // There is but one workspace in the open-source edition, and this is its name.
    put("workspace_name", "default".into());
    for (key, value, mode) in &exchange.serialize {
        edit(&mut document, key, value, *mode)?;
    }
    Ok(document)
}

fn request_part(exchange: &Exchange) -> Json {
    let request = &exchange.request;
    let target = request.target.as_str();
    let port = exchange.client.local.port();
    let mut fields = headers::to_map(&request.headers, 1000).to_json();
    for name in ["authorization", "proxy-authorization"] {
        if let Some(value) = fields.get_mut(name) {
            *value = "REDACTED".into();
        }
    }
    let mut part = json!({
        "id": request.id.as_str(),
        "uri": target,
        "url": format!("{}://{}:{port}{target}", request.scheme.as_str(), request.host),
        "querystring": uri::decode_args(request::query(exchange).as_bytes(), 100).to_json(),
        "method": request.method.as_str(),
        "headers": fields,
        "size": request.size,
    });
    put_tls(exchange, &mut part);
    part
}

fn put_tls(exchange: &Exchange, part: &mut Json) {
    if let Some(tls) = exchange.client.tls.as_deref() {
        part["tls"] = json!({
            "version": tls.version,
            "cipher": tls.cipher,
            "client_verify": exchange.client_verify.as_ref().unwrap_or(&tls.client_verify),
        });
    }
}

fn session_part(exchange: &Exchange, session: &Session) -> Json {
    let mut part = json!({
        "received": session.received,
        "sent": session.sent,
        "status": session.status,
        "server_port": exchange.client.local.port(),
    });
    put_tls(exchange, &mut part);
    part
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

fn stream_latencies(exchange: &Exchange) -> Json {
    let Latencies { kong, whole, .. } = latencies(exchange);
    json!({ "kong": kong, "session": whole })
}

fn response_part(exchange: &Exchange) -> Json {
    let response = &exchange.response;
    json!({
        "status": response.status.as_u16(),
        "headers": headers::to_map(&response.headers, 1000).to_json(),
        "size": response.size,
    })
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

fn request_latencies(exchange: &Exchange) -> Json {
    let Latencies { kong, proxy, whole } = latencies(exchange);
    let timing = &exchange.timing;
    let now = timing.ended.unwrap_or_else(Instant::now);
    json!({
        "kong": kong,
        "proxy": proxy.map_or(Json::from(-1), Json::from),
        "request": whole,
        "receive": proxy.map_or(0, |_| millis(timing.head_at.unwrap_or(now), now)),
    })
}

/// One try, with the fields that Kong's balancer notes.
fn try_part(exchange: &Exchange, one: &Try) -> Json {
    let timing = &exchange.timing;
    let after = one.began.saturating_duration_since(timing.start);
    let began = timing.began.duration_since(std::time::UNIX_EPOCH).unwrap_or_default() + after;
    let latency = timing.balancer_ended.map(|at| at.saturating_duration_since(one.began));
    let latency = latency.unwrap_or_default();
    let small = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
    let mut part = json!({
        "balancer_start": small(began.as_millis()),
        "balancer_start_ns": small(began.as_nanos()),
        "balancer_latency": small(latency.as_millis()),
        "balancer_latency_ns": small(latency.as_nanos()),
        "ip": one.address.ip().to_string(),
        "port": one.address.port(),
    });
    if let Some((state, code)) = one.failure {
        part["state"] = state.into();
        part["code"] = code.into();
    }
    part
}

fn authenticated_entity(credential: &Record) -> Json {
    let mut part = Map::new();
    for name in ["id", "consumer_id"] {
        if let Some(value) = credential.get(name).filter(|value| !value.is_null()) {
            part.insert(name.to_owned(), value.clone());
        }
    }
    part.into()
}

fn source(exchange: &Exchange) -> &'static str {
    match exchange.response.source {
        Some(Source::Service) => "upstream",
        Some(Source::Exit | Source::Error) | None => "kong",
    }
}

fn workspace_id(exchange: &Exchange) -> Option<String> {
    let of_route = exchange.route().and_then(|route| route.record().get("ws_id")?.as_str());
    of_route.or_else(|| exchange.view.workspace_id()).map(str::to_owned)
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
