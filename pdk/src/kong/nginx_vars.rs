//! nginx's variables that plugins ask for (ngx_http_core_module and Kong's own).

use std::{
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Version};

use super::{client_certificate, headers, ip, quick::Lent, request, serialize, uri};
use crate::{Exchange, Phase, Scheme, Session, Target, Value};

/// The beginnings of names that hold the name of something else.
const FAMILIES: [&str; 5] = ["arg_", "http_", "sent_http_", "upstream_http_", "cookie_"];

/// The other names, of requests and of streams.
pub(super) const NAMES: [&str; 91] = [
    "args",
    "binary_remote_addr",
    "body_bytes_sent",
    "bytes_received",
    "bytes_sent",
    "connection",
    "connection_requests",
    "connection_time",
    "content_length",
    "content_type",
    "ctx_ref",
    "document_root",
    "document_uri",
    "host",
    "hostname",
    "http2",
    "https",
    "is_args",
    "kong_proxy_mode",
    "kong_request_id",
    "kong_upstream_name",
    "limit_rate",
    "msec",
    "nginx_version",
    "pid",
    "pipe",
    "protocol",
    "proxy_add_x_forwarded_for",
    "proxy_host",
    "proxy_port",
    "query_string",
    "realip_remote_addr",
    "realip_remote_port",
    "realpath_root",
    "remote_addr",
    "remote_port",
    "remote_user",
    "request",
    "request_body",
    "request_completion",
    "request_filename",
    "request_id",
    "request_length",
    "request_method",
    "request_time",
    "request_uri",
    "scheme",
    "server_addr",
    "server_name",
    "server_port",
    "server_protocol",
    "session_time",
    "ssl_cipher",
    "ssl_client_cert",
    "ssl_client_escaped_cert",
    "ssl_client_fingerprint",
    "ssl_client_i_dn",
    "ssl_client_raw_cert",
    "ssl_client_s_dn",
    "ssl_client_serial",
    "ssl_client_v_end",
    "ssl_client_v_remain",
    "ssl_client_v_start",
    "ssl_client_verify",
    "ssl_preread_server_name",
    "ssl_protocol",
    "ssl_server_name",
    "status",
    "time_iso8601",
    "time_local",
    "upstream_addr",
    "upstream_bytes_received",
    "upstream_bytes_sent",
    "upstream_cache_status",
    "upstream_connection",
    "upstream_header_time",
    "upstream_host",
    "upstream_response_time",
    "upstream_scheme",
    "upstream_status",
    "upstream_te",
    "upstream_upgrade",
    "upstream_uri",
    "upstream_via",
    "upstream_x_forwarded_for",
    "upstream_x_forwarded_host",
    "upstream_x_forwarded_path",
    "upstream_x_forwarded_port",
    "upstream_x_forwarded_prefix",
    "upstream_x_forwarded_proto",
    "uri",
];

/// Whether there is a variable of that name.
pub fn is_known(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let of_family = |family: &str| name.len() > family.len() && name.starts_with(family);
    NAMES.contains(&name.as_str()) || FAMILIES.iter().any(|family| of_family(family))
}

/// The variable of that name, as text; nil if there is none or it has no value.
pub fn get(exchange: &Exchange, name: &str) -> Value {
    let lower = name.to_ascii_lowercase();
    let name = lower.as_str();
    if let Some(name) = name.strip_prefix("arg_") {
        return argument(exchange, name);
    }
    if let Some(name) = name.strip_prefix("http_") {
        return joined(&exchange.request.headers, name);
    }
    if let Some(name) = name.strip_prefix("sent_http_") {
        return joined(&exchange.response.headers, name);
    }
    if let Some(name) = name.strip_prefix("upstream_http_") {
        let answered = exchange.response.upstream_status.is_some();
        return if answered { joined(&exchange.response.headers, name) } else { Value::Nil };
    }
    if let Some(name) = name.strip_prefix("cookie_") {
        return cookie(exchange, name);
    }
    plain(exchange, name).unwrap_or_default()
}

/// A variable whose name is its own; none if there is none of that name.
pub(super) fn plain(exchange: &Exchange, name: &str) -> Option<Value> {
    if let Some(session) = &exchange.session {
        return of_session(exchange, session, name)
            .or_else(|| of_connection(exchange, name))
            .or_else(|| of_node(exchange, name));
    }
    of_request(exchange, name)
        .or_else(|| of_connection(exchange, name))
        .or_else(|| of_answer(exchange, name))
        .or_else(|| of_node(exchange, name))
}

/// All lines of a header under its name in a variable, joined as nginx does.
fn joined(headers: &HeaderMap, name: &str) -> Value {
    let name = name.replace('_', "-");
    let lines: Vec<&[u8]> = headers.get_all(&name).iter().map(|line| line.as_bytes()).collect();
    match lines.as_slice() {
        [] => headers::get(headers, name.as_bytes()),
        lines => Value::text(lines.join(&b", "[..])),
    }
}

/// An argument of the query as it stands there; case does not count.
fn argument(exchange: &Exchange, name: &str) -> Value {
    let arguments = request::query(exchange).split('&');
    let mut values = arguments.filter_map(|argument| argument.split_once('='));
    values.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).into()
}

fn cookie(exchange: &Exchange, name: &str) -> Value {
    let lines = exchange.request.headers.get_all("cookie").iter();
    let mut cookies = lines.filter_map(|line| line.to_str().ok()).flat_map(|l| l.split(';'));
    let found = cookies.find_map(|cookie| {
        let (key, value) = cookie.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then(|| value.to_owned())
    });
    found.into()
}

fn of_request(exchange: &Exchange, name: &str) -> Option<Value> {
    let request = &exchange.request;
    let version = match request.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    };
    Some(match name {
        "request_method" => request.method.as_str().into(),
        "request_uri" => request.target.as_str().into(),
        "uri" | "document_uri" => Value::Text(decoded_path(request.raw_path())),
        "args" | "query_string" => request.query.as_deref().filter(|q| !q.is_empty()).into(),
        "is_args" => Value::constant(if request::query(exchange).is_empty() { "" } else { "?" }),
        "request" => format!("{} {} {version}", request.method, request.target).into(),
        "server_protocol" => Value::constant(version),
        "http2" => Value::constant(if version == "HTTP/2.0" { "h2" } else { "" }),
        "scheme" => Value::constant(request.scheme.as_str()),
        "https" => Value::constant(if request.scheme == Scheme::Https { "on" } else { "" }),
        "host" => request.host.as_str().into(),
        "content_type" => headers::get(&request.headers, b"content-type"),
        "content_length" => headers::get(&request.headers, b"content-length"),
        "remote_user" => remote_user(&request.headers),
        "request_body" => request.body.at_hand().filter(|body| !body.is_empty()).into(),
        "request_length" => request.size.to_string().into(),
        "request_id" | "kong_request_id" => request.id.as_str().into(),
        "request_time" => request_time(exchange).into(),
        "request_filename" => Value::text(
            [document_root(exchange).as_bytes(), &decoded_path(request.raw_path())].concat(),
        ),
        "request_completion" => {
            Value::constant(if exchange.phase == Phase::Log { "OK" } else { "" })
        }
        _ => return None,
    })
}

/// The variables of nginx's stream module.
fn of_session(exchange: &Exchange, session: &Session, name: &str) -> Option<Value> {
    let tls = exchange.upstream.scheme == Scheme::Https;
    Some(match name {
        "protocol" => Value::constant("TCP"),
        "status" => format!("{:03}", session.status).into(),
        "bytes_received" => session.received.to_string().into(),
        "bytes_sent" => session.sent.to_string().into(),
        "upstream_bytes_received" => session.upstream_received.to_string().into(),
        "upstream_bytes_sent" => session.upstream_sent.to_string().into(),
        "session_time" => request_time(exchange).into(),
        "upstream_scheme" => Value::constant(if tls { "tls" } else { "tcp" }),
        "upstream_host" | "upstream_addr" | "kong_upstream_name" => of_answer(exchange, name)?,
        _ => return None,
    })
}

fn decoded_path(path: &str) -> Bytes {
    // A plus is a plus in a path.
    let decoded = uri::unescape_component(path.replace('+', "%2B").as_bytes());
    uri::resolve(decoded.into()).into()
}

fn remote_user(headers: &HeaderMap) -> Value {
    let basic = headers::text(headers, "authorization").and_then(|v| v.strip_prefix("Basic "));
    let decoded = basic.and_then(|basic| STANDARD.decode(basic.trim()).ok());
    let user = decoded.and_then(|text| text.split(|&byte| byte == b':').next().map(<[u8]>::to_vec));
    user.map_or(Value::Nil, Value::text)
}

/// Seconds since the request's start, with milliseconds.
fn request_time(exchange: &Exchange) -> String {
    let timing = &exchange.timing;
    let end = timing.ended.unwrap_or_else(Instant::now);
    in_seconds(end.saturating_duration_since(timing.start))
}

/// How long each try at the upstream took: until the next began, the last one until `end`. None
/// where the upstream was not asked.
fn upstream_times(exchange: &Exchange, end: Option<Instant>) -> Option<String> {
    let tries = &exchange.upstream.tries;
    let ends = tries.iter().skip(1).map(|next| next.began);
    let ends = ends.chain([end.unwrap_or_else(Instant::now)]);
    let times = tries.iter().zip(ends);
    let times = times.map(|(one, end)| in_seconds(end.saturating_duration_since(one.began)));
    let times: Vec<_> = times.collect();
    (!times.is_empty()).then(|| times.join(", "))
}

fn in_seconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_secs(), time.subsec_millis())
}

fn of_connection(exchange: &Exchange, name: &str) -> Option<Value> {
    let client = &exchange.client;
    let tls = client.tls.as_deref();
    Some(match name {
        "remote_addr" => Lent::Address(ip::text(client.forwarded_ip)).into(),
        "remote_port" => client.forwarded_port.to_string().into(),
        "binary_remote_addr" => match client.forwarded_ip {
            IpAddr::V4(ip) => Value::text(ip.octets()),
            IpAddr::V6(ip) => Value::text(ip.octets()),
        },
        "realip_remote_addr" => Lent::Address(ip::text(client.peer.ip())).into(),
        "realip_remote_port" => client.peer.port().to_string().into(),
        "server_addr" => client.local.ip().to_string().into(),
        "server_port" => client.local.port().to_string().into(),
        "connection" => client.connection.to_string().into(),
        "connection_requests" => client.requests.to_string().into(),
        "proxy_add_x_forwarded_for" => {
            let ip = client.peer.ip();
            match headers::text(&exchange.request.headers, "x-forwarded-for") {
                Some(before) => format!("{before}, {ip}").into(),
                None => ip.to_string().into(),
            }
        }
        "ssl_protocol" => tls.map(|tls| tls.version).into(),
        "ssl_cipher" => tls.map(|tls| tls.cipher.as_str()).into(),
        "ssl_server_name" | "ssl_preread_server_name" => {
            tls.and_then(|tls| tls.server_name.as_deref()).into()
        }
        "ssl_client_verify" => {
            let verify = exchange.client_verify.as_deref();
            verify.or(tls.map(|tls| tls.client_verify.as_str())).into()
        }
        _ => return client_certificate::variable(tls, name),
    })
}

/// The header of the upstream's request that is made of a variable of Kong's.
pub fn told_header(name: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 10] = [
        ("upstream_x_forwarded_for", "x-forwarded-for"),
        ("upstream_x_forwarded_proto", "x-forwarded-proto"),
        ("upstream_x_forwarded_host", "x-forwarded-host"),
        ("upstream_x_forwarded_port", "x-forwarded-port"),
        ("upstream_x_forwarded_path", "x-forwarded-path"),
        ("upstream_x_forwarded_prefix", "x-forwarded-prefix"),
        ("upstream_te", "te"),
        ("upstream_via", "via"),
        ("upstream_upgrade", "upgrade"),
        ("upstream_connection", "connection"),
    ];
    NAMES.into_iter().find(|(variable, _)| *variable == name).map(|(_, header)| header)
}

/// What upstreams are told of the client (kong/runloop/handler.lua, `access.before`), as a plugin
/// may have changed it; none if that is no such variable.
fn told(exchange: &Exchange, name: &str) -> Option<Value> {
    let header = told_header(name)?;
    let changed = exchange.upstream.told.iter().find(|(told, _)| *told == header);
    if let Some((_, value)) = changed {
        return Some(Value::text(value.as_bytes()));
    }
    let Exchange { request, client, matched, .. } = exchange;
    let said = headers::text(&request.headers, header).filter(|said| !said.is_empty());
    let trusted = said.filter(|_| client.trusted);
    let upgrades = headers::text(&request.headers, "upgrade") == Some("websocket");
    Some(match header {
        "x-forwarded-for" => match said {
            Some(before) => format!("{before}, {}", client.peer.ip()).into(),
            None => client.forwarded_ip.to_string().into(),
        },
        "x-forwarded-proto" => trusted.unwrap_or(request.scheme.as_str()).into(),
        "x-forwarded-host" => trusted.unwrap_or(&request.host).into(),
        "x-forwarded-port" => {
            trusted.map_or_else(|| client.local.port().to_string(), str::to_owned).into()
        }
        "x-forwarded-path" => trusted.unwrap_or(request.raw_path()).into(),
        "x-forwarded-prefix" => {
            trusted.or(matched.as_ref().and_then(|matched| matched.prefix.as_deref())).into()
        }
        "te" => said.filter(|said| said.contains("trailers")).map(|_| "trailers").into(),
        "upgrade" => upgrades.then_some("websocket").into(),
        "connection" => Value::constant(if upgrades { "upgrade" } else { "keep-alive" }),
        _ => said.into(),
    })
}

fn of_answer(exchange: &Exchange, name: &str) -> Option<Value> {
    let (response, upstream) = (&exchange.response, &exchange.upstream);
    Some(match name {
        "status" => serialize::status_text(exchange).into(),
        "bytes_sent" | "body_bytes_sent" => response.size.to_string().into(),
        "upstream_uri" => upstream.path.as_str().into(),
        "upstream_scheme" => Value::constant(upstream.scheme.as_str()),
        "upstream_host" => {
            let host = upstream.host_header.as_ref().map(|host| host.as_bytes());
            Value::text(host.unwrap_or_default())
        }
        "upstream_status" => match serialize::upstream_status(exchange) {
            none if none.is_empty() => Value::Nil,
            status => status.into(),
        },
        "upstream_addr" => match upstream.tries.as_slice() {
            [] => Value::Nil,
            tries => tries
                .iter()
                .map(|one| one.address.to_string())
                .collect::<Vec<_>>()
                .join(", ")
                .into(),
        },
        "upstream_header_time" => upstream_times(exchange, exchange.timing.head_at).into(),
        "upstream_response_time" => upstream_times(exchange, exchange.timing.ended).into(),
        // Answers are kept by plugins here, never by the web server.
        "upstream_cache_status" => Value::Nil,
        "proxy_host" => Value::constant("kong_upstream"),
        "proxy_port" => {
            let secure = upstream.scheme == Scheme::Https;
            Value::constant(if secure { "443" } else { "80" })
        }
        "kong_upstream_name" => match &upstream.target {
            Some(Target::Upstream(name)) => name.as_str().into(),
            Some(Target::Address { .. }) | None => Value::Nil,
        },
        _ => return told(exchange, name),
    })
}

fn of_node(exchange: &Exchange, name: &str) -> Option<Value> {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Some(match name {
        "hostname" => exchange.view.node().hostname.as_str().into(),
        "server_name" => Value::constant("kong"),
        "kong_proxy_mode" => Value::constant("http"),
        "document_root" | "realpath_root" => document_root(exchange).into(),
        "pipe" => Value::constant("."),
        "limit_rate" => Value::constant("0"),
        // What OpenResty's Kong keeps between its phases is not kept there.
        "ctx_ref" => Value::constant(""),
        "connection_time" => request_time(exchange).into(),
        // What the web server of Kong 3.10 says: plugins look at it for features.
        "nginx_version" => Value::constant("1.27.1"),
        "pid" => std::process::id().to_string().into(),
        "msec" => format!("{}.{:03}", now().as_secs(), now().subsec_millis()).into(),
        "time_iso8601" => {
            let [year, month, day, hour, minute, second] = civil(now().as_secs());
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00").into()
        }
        "time_local" => {
            let [year, month, day, hour, minute, second] = civil(now().as_secs());
            let month = month_name(month);
            format!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000").into()
        }
        _ => return None,
    })
}

/// The root that nginx is built with, below Kong's prefix.
fn document_root(exchange: &Exchange) -> String {
    exchange.view.node().prefix.join("html").to_string_lossy().into_owned()
}

/// "Jan" for 1.
pub(super) fn month_name(month: u64) -> &'static str {
    let names = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let at = usize::try_from(month.saturating_sub(1) * 3).unwrap_or_default();
    names.get(at..at + 3).unwrap_or_default()
}

/// Year, month, day, hour, minute and second (UTC) of seconds since 1970. The calendar repeats
/// every 400 years of 146,097 days; years are counted from March, so that leap days come last.
pub(super) fn civil(seconds: u64) -> [u64; 6] {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let second = seconds % 86_400;
    [year, month, day, second / 3600, second / 60 % 60, second % 60]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, expect) in [
            (0, [1970, 1, 1, 0, 0, 0]),
            (951_782_400, [2000, 2, 29, 0, 0, 0]),
            (1_795_228_485, [2026, 11, 21, 2, 34, 45]),
        ] {
            assert_eq!(civil(seconds), expect);
        }
    }
}
