//! `kong.request`: what the client asked (`kong/pdk/request.lua`).

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::Version;

use super::{
    Function, Outcome,
    Shape::{Any, Binary, Captures, Int, MultiMap, Number, Text},
    Stop, arg, args, body, headers,
    phases::{NOT_INIT, REQUEST, REQUEST_BODY},
    quick::{self, Given, Lending, Lent},
    uri,
};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::quick("kong.request.get_scheme", REQUEST, &[], Text, get_scheme)
        .doc("The scheme of the connection: \"http\" or \"https\"."),
    Function::quick("kong.request.get_host", REQUEST, &[], Text, get_host)
        .doc("The name in the Host header, in lower case, without a port."),
    Function::quick("kong.request.get_port", NOT_INIT, &[], Int, get_port)
        .doc("The port that the request came in at."),
    Function::quick("kong.request.get_forwarded_scheme", REQUEST, &[], Text, get_forwarded_scheme)
        .doc(
            "The scheme that the client used: X-Forwarded-Proto from a trusted peer, else \
              the connection's.",
        ),
    Function::quick("kong.request.get_forwarded_host", REQUEST, &[], Text, get_forwarded_host).doc(
        "The host that the client asked: X-Forwarded-Host from a trusted peer, else \
              the request's.",
    ),
    Function::quick("kong.request.get_forwarded_port", REQUEST, &[], Int, get_forwarded_port).doc(
        "The port that the client asked: X-Forwarded-Port, or the port in \
              X-Forwarded-Host, from a trusted peer; else the connection's.",
    ),
    Function::quick("kong.request.get_forwarded_path", REQUEST, &[], Text, get_forwarded_path).doc(
        "The path that the client asked for: X-Forwarded-Path from a trusted peer, else \
              the normalized path.",
    ),
    Function::quick("kong.request.get_forwarded_prefix", REQUEST, &[], Text, get_forwarded_prefix)
        .doc(
            "What was cut off the path: X-Forwarded-Prefix from a trusted peer, else the \
              part that the route matched; nil if that is nothing.",
        ),
    Function::quick("kong.request.get_http_version", REQUEST, &[], Number, get_http_version)
        .doc("The version of HTTP that the client spoke: 1, 1.1 or 2."),
    Function::quick("kong.request.get_method", REQUEST, &[], Text, get_method)
        .doc("The method, in upper case."),
    Function::quick("kong.request.get_path", REQUEST, &[], Text, get_path)
        .doc("The path, normalized, without the query."),
    Function::quick("kong.request.get_raw_path", REQUEST, &[], Text, get_raw_path)
        .doc("The path as it came, without the query."),
    Function::quick("kong.request.get_path_with_query", REQUEST, &[], Text, get_path_with_query)
        .doc("The path and query as they came."),
    Function::quick("kong.request.get_raw_query", REQUEST, &[], Text, get_raw_query)
        .doc("The query, without the question mark; empty if there is none."),
    Function::quick(
        "kong.request.get_query_arg",
        REQUEST,
        &[arg("name", Text)],
        Any,
        get_query_arg,
    )
    .doc(
        "The first value of a query argument, decoded; true if it has none; nil if there is no \
          such argument.",
    ),
    Function::now("kong.request.get_query", REQUEST, &[arg("max_args", Int)], MultiMap, get_query)
        .doc("All query arguments, decoded, at most 100 or `max_args` (1 to 1000)."),
    Function::quick("kong.request.get_header", REQUEST, &[arg("name", Text)], Text, get_header)
        .doc("The first value of a header; nil if there is no such header."),
    Function::now(
        "kong.request.get_headers",
        REQUEST,
        &[arg("max_headers", Int)],
        MultiMap,
        get_headers,
    )
    .doc("All headers, names in lower case, at most 100 or `max_headers` (1 to 1000)."),
    Function::later(
        "kong.request.get_raw_body",
        REQUEST_BODY,
        &[arg("max_allowed_file_size", Int)],
        Binary,
        get_raw_body,
    )
    .doc(
        "The body. One of more than `client_body_buffer_size` bytes is refused, unless \
          `max_allowed_file_size` says how many bytes are allowed (0: any).",
    ),
    Function::later(
        "kong.request.get_body",
        REQUEST_BODY,
        &[arg("mimetype", Text), arg("max_args", Int), arg("max_allowed_file_size", Int)],
        Any,
        get_body,
    )
    .doc(
        "The body, decoded as its content type or `mimetype` says: a form, multipart or not, \
          or JSON.",
    ),
    Function::quick("kong.request.get_start_time", REQUEST, &[], Int, get_start_time)
        .doc("When the request came, in milliseconds since 1970."),
    Function::now("kong.request.get_uri_captures", REQUEST, &[], Captures, get_uri_captures).doc(
        "What the groups of the route's regular expression caught: `unnamed` by position, \
              the whole match at 0, and `named`.",
    ),
];

fn get_scheme<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.request.scheme.as_str().into())
}

fn get_host<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.request.host.as_str().into())
}

fn get_port<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.client.local.port().into())
}

/// A header that counts only from a trusted peer.
fn forwarded<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a str> {
    if exchange.client.trusted { headers::text(&exchange.request.headers, name) } else { None }
}

fn get_forwarded_scheme<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    let scheme = forwarded(exchange, "x-forwarded-proto");
    Ok(scheme.map_or_else(|| exchange.request.scheme.as_str().into(), lower))
}

/// A text in lower case.
fn lower(text: &str) -> Lent<'_> {
    let upper = |byte: u8| byte.is_ascii_uppercase() || !byte.is_ascii();
    if text.bytes().any(upper) { Lent::Value(text.to_lowercase().into()) } else { text.into() }
}

/// X-Forwarded-Host without a user name before it.
fn forwarded_host(exchange: &Exchange) -> Option<&str> {
    let host = forwarded(exchange, "x-forwarded-host")?;
    Some(host.split_once('@').map_or(host, |(_, host)| host))
}

fn get_forwarded_host<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    let host = forwarded_host(exchange);
    let name = host.map(|host| host.split_once(':').map_or(host, |(name, _)| name));
    Ok(name.map_or_else(|| exchange.request.host.as_str().into(), lower))
}

fn get_forwarded_port<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let given = forwarded(exchange, "x-forwarded-port")
        .and_then(port)
        .or_else(|| port(forwarded_host(exchange)?.split_once(':')?.1));
    Ok(given.unwrap_or_else(|| exchange.client.local.port()).into())
}

fn get_forwarded_path<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(forwarded(exchange, "x-forwarded-path").map_or_else(|| path(exchange), Lent::from))
}

fn get_forwarded_prefix<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    if let Some(prefix) = forwarded(exchange, "x-forwarded-prefix") {
        return Ok(prefix.into());
    }
    let matched = exchange.matched.as_ref().and_then(|matched| matched.prefix.as_deref());
    Ok(matched.filter(|prefix| !matches!(*prefix, "" | "/")).into())
}

fn get_http_version<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(match exchange.request.version {
        Version::HTTP_09 => Lent::Number(0.9),
        Version::HTTP_10 => Lent::Int(1),
        Version::HTTP_2 => Lent::Int(2),
        Version::HTTP_3 => Lent::Int(3),
        _ => Lent::Number(1.1),
    })
}

fn get_method<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.request.method.as_str().into())
}

fn get_path<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(path(exchange))
}

/// The path, normalized.
fn path(exchange: &Exchange) -> Lent<'_> {
    match uri::normal_path(exchange.request.target.as_bytes()) {
        Some(path) => Lent::Text(path),
        None => {
            let path = uri::normalize(exchange.request.raw_path().as_bytes());
            Lent::Value(Value::Text(path.into()))
        }
    }
}

/// The query's arguments: `kong.request.get_query`.
pub fn arguments(exchange: &Exchange) -> Value {
    uri::decode_args(query(exchange).as_bytes(), 100)
}

/// The arguments of a query or form, all of them: `ngx.decode_args`.
pub fn decode_arguments(text: &[u8]) -> Value {
    uri::decode_args(text, usize::MAX)
}

/// Arguments as a query or form, sorted; empty for what can't stand in one.
pub fn encode_arguments(table: &Value) -> String {
    uri::encode_args(table).unwrap_or_default()
}

/// The path of the request, normalized: `kong.request.get_path`.
pub fn normalized_path(exchange: &Exchange) -> String {
    let path = uri::normalize(exchange.request.raw_path().as_bytes());
    String::from_utf8_lossy(&path).into_owned()
}

fn get_raw_path<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.request.raw_path().into())
}

fn get_path_with_query<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.request.target.as_str().into())
}

/// The query's text, empty where there is none.
pub(super) fn query(exchange: &Exchange) -> &str {
    exchange.request.query.as_deref().unwrap_or_default()
}

fn get_raw_query<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(query(exchange).into())
}

fn get_query_arg<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let name = quick::text(args, 0, "query argument name must be a string")?;
    Ok(uri::find_arg(query(exchange).as_bytes(), name))
}

fn get_query(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let most = args::maximum(args::get(args, 0), "max_args")?;
    Ok(uri::decode_args(query(exchange).as_bytes(), most))
}

fn get_header<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let name = quick::text(args, 0, "header name must be a string")?;
    Ok(headers::lend(&exchange.request.headers, name))
}

fn get_headers(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let most = args::maximum(args::get(args, 0), "max_headers")?;
    Ok(headers::to_map(&exchange.request.headers, most))
}

fn get_raw_body<'a>(exchange: &'a mut Exchange, args: &'a [Value]) -> LocalBoxFuture<'a, Outcome> {
    let allowed = args::get(args, 0).as_int();
    Box::pin(async move { Ok(Value::Binary(read_body(exchange, allowed).await?)) })
}

/// The body, if it fits into the buffer or `allowed` lets it be larger (0: as large as it is).
async fn read_body(exchange: &mut Exchange, allowed: Option<i64>) -> Result<Bytes, Stop> {
    let node = exchange.view.node();
    // The web server takes a body that is a quarter larger than its buffer into memory as well
    // (nginx, ngx_http_read_client_request_body).
    let (buffer, most) = (node.body_buffer_max + node.body_buffer_max / 4, node.body_max);
    let most = if most == 0 { u64::MAX } else { most };
    let limit = match allowed.map(u64::try_from) {
        Some(Ok(0)) => most,
        Some(Ok(size)) => most.min(size.max(buffer)),
        None | Some(Err(_)) => most.min(buffer),
    };
    let too_large = || match allowed {
        Some(size) if size > 0 => format!("request body file too big: more than {size} bytes"),
        _ => "request body did not fit into client body buffer, consider raising \
              'client_body_buffer_size'"
            .to_owned(),
    };
    match exchange.request.body.read_within(limit).await {
        Ok(Some(body)) => Ok(body),
        Ok(None) => Err(Stop::Nil(too_large())),
        Err(error) => Err(Stop::Nil(format!("failed to read request body: {error}"))),
    }
}

fn get_body<'a>(exchange: &'a mut Exchange, args: &'a [Value]) -> LocalBoxFuture<'a, Outcome> {
    Box::pin(async move {
        let given = args::get(args, 0).as_bytes().cloned();
        let content_type = match given {
            Some(given) => String::from_utf8_lossy(&given).into_owned(),
            None => match headers::text(&exchange.request.headers, "content-type") {
                Some(found) => found.to_owned(),
                None => return Err(Stop::Nil("missing content type".to_owned())),
            },
        };
        let kind = body::Kind::of(&content_type)?;
        let most = match kind {
            body::Kind::Form => args::maximum(args::get(args, 1), "max_args")?,
            body::Kind::Json | body::Kind::Multipart => 0,
        };
        let body = read_body(exchange, args::get(args, 2).as_int()).await?;
        kind.decode(&body, &content_type, most)
    })
}

fn get_start_time<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(Lent::Int(i64::try_from(exchange.timing.began_ms()).unwrap_or(i64::MAX)))
}

fn get_uri_captures(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    let captures = exchange.matched.as_ref().and_then(|matched| matched.captures.as_deref());
    let (unnamed, named) = captures.map_or((Vec::new(), Vec::new()), |captures| {
        let unnamed = (0i64..).map(Value::Int).zip(captures.unnamed.iter().map(Value::text));
        let named =
            captures.named.iter().map(|(name, text)| (name.as_str().into(), Value::text(text)));
        (unnamed.collect(), named.collect())
    });
    Ok(Value::Map(vec![
        (Value::constant("unnamed"), Value::Map(unnamed)),
        (Value::constant("named"), Value::Map(named)),
    ]))
}
