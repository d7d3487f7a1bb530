//! `kong.service.request`: what the upstream will be asked (`kong/pdk/service/request.lua`).

use std::borrow::Cow;

use bytes::Bytes;
use http::{
    HeaderValue, Method,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING},
};

use super::{
    Function, Outcome,
    Shape::{Any, Bool, Map, None as Nothing, Text},
    Stop, arg, args,
    body::Kind,
    headers::{self, Header},
    phases::{BEFORE_SERVICE, PREREAD_BALANCER, REWRITE_ACCESS},
    quick::{self, Given, Lending},
    request, uri,
};
use crate::{Body, Exchange, Scheme, Value};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::quick(
        "kong.service.request.enable_buffering",
        BEFORE_SERVICE,
        &[],
        Nothing,
        enable_buffering,
    )
    .doc("Has the upstream's answer read whole before the response phases begin."),
    Function::quick(
        "kong.service.request.set_scheme",
        BEFORE_SERVICE,
        &[arg("scheme", Text)],
        Nothing,
        set_scheme,
    )
    .doc("Sets the scheme: \"http\" or \"https\"."),
    Function::quick(
        "kong.service.request.set_path",
        BEFORE_SERVICE,
        &[arg("path", Text)],
        Nothing,
        set_path,
    )
    .doc("Sets the path, which starts with a slash. What may not stand in one is escaped."),
    Function::quick(
        "kong.service.request.set_raw_query",
        REWRITE_ACCESS,
        &[arg("query", Text)],
        Nothing,
        set_raw_query,
    )
    .doc("Sets the query, without its question mark, as it is."),
    Function::quick(
        "kong.service.request.set_method",
        REWRITE_ACCESS,
        &[arg("method", Text)],
        Nothing,
        set_method,
    )
    .doc("Sets the method, one of those that the web server knows, in upper case."),
    Function::now(
        "kong.service.request.set_query",
        REWRITE_ACCESS,
        &[arg("args", Map)],
        Nothing,
        set_query,
    )
    .doc("Sets the query from a table; names are sorted, true makes an argument without a value."),
    Function::quick(
        "kong.service.request.clear_query_arg",
        REWRITE_ACCESS,
        &[arg("name", Text)],
        Nothing,
        clear_query_arg,
    )
    .doc("Removes all query arguments of that name."),
    Function::quick(
        "kong.service.request.set_header",
        BEFORE_SERVICE,
        &[arg("header", Text), arg("value", Any)],
        Nothing,
        set_header,
    )
    .doc("Sets a header, in the place of those of its name; a list makes several lines."),
    Function::quick(
        "kong.service.request.add_header",
        REWRITE_ACCESS,
        &[arg("header", Text), arg("value", Any)],
        Nothing,
        add_header,
    )
    .doc("Adds a header, beside those of its name."),
    Function::quick(
        "kong.service.request.clear_header",
        REWRITE_ACCESS,
        &[arg("header", Text)],
        Nothing,
        clear_header,
    )
    .doc("Removes all headers of that name."),
    Function::now(
        "kong.service.request.set_headers",
        REWRITE_ACCESS,
        &[arg("headers", Map)],
        Nothing,
        set_headers,
    )
    .doc("Sets several headers, in the place of those of their names."),
    Function::now(
        "kong.service.request.set_raw_body",
        BEFORE_SERVICE,
        &[arg("body", Text)],
        Nothing,
        set_raw_body,
    )
    .doc("Sets the body, as it is."),
    Function::now(
        "kong.service.request.set_body",
        REWRITE_ACCESS,
        &[arg("args", Map), arg("mimetype", Text)],
        Bool,
        set_body,
    )
    .doc(
        "Sets the body from a table, encoded as `mimetype` or the request's content type says: \
          a form, multipart or not, or JSON.",
    ),
    Function::quick(
        "kong.service.request.disable_tls",
        PREREAD_BALANCER,
        &[],
        Nothing,
        disable_tls,
    )
    .doc("Speaks in clear with the upstream."),
    Function::quick("kong.service.request.enable_tls", PREREAD_BALANCER, &[], Nothing, enable_tls)
        .doc("Speaks TLS with the upstream."),
];

fn enable_buffering<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    exchange.upstream.buffered = true;
    quick::done()
}

/// A text in a message.
fn shown(text: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(text)
}

fn set_scheme<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let scheme = quick::text(args, 0, "scheme must be a string")?;
    exchange.upstream.scheme = match scheme {
        b"http" => Scheme::Http,
        b"https" => Scheme::Https,
        _ => return Err(args::raise(format!("invalid scheme: {}", shown(scheme)))),
    };
    quick::done()
}

fn set_path<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let path = quick::text(args, 0, "path must be a string")?;
    if path.first() != Some(&b'/') {
        return Err(args::raise("path must start with /"));
    }
    exchange.upstream.path = uri::escape_path(path);
    quick::done()
}

/// An empty query is none: no question mark is sent.
fn put_query(exchange: &mut Exchange, query: String) {
    exchange.request.query = (!query.is_empty()).then_some(query);
}

fn set_raw_query<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let query = quick::text(args, 0, "query must be a string")?;
    // What would end the request line or is no ASCII is escaped.
    let escaped = |byte: &u8| match byte {
        b'!'..=b'~' if *byte != b'#' => char::from(*byte).to_string(),
        other => format!("%{other:02X}"),
    };
    put_query(exchange, query.iter().map(escaped).collect());
    quick::done()
}

/// The methods that the web server knows.
const METHODS: [&str; 15] = [
    "GET",
    "HEAD",
    "PUT",
    "POST",
    "DELETE",
    "OPTIONS",
    "MKCOL",
    "COPY",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "PATCH",
    "TRACE",
];

fn set_method<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let method = quick::text(args, 0, "method must be a string")?;
    match Method::from_bytes(method) {
        Ok(known) if METHODS.contains(&known.as_str()) => exchange.request.method = known,
        _ => return Err(args::raise(format!("invalid method: {}", shown(method)))),
    }
    quick::done()
}

fn set_query(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let table = args::get(args, 0);
    if table.type_name() != "table" {
        return Err(args::raise("args must be a table"));
    }
    let query = uri::encode_args(table)?;
    put_query(exchange, query);
    args::done()
}

fn clear_query_arg<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let name = quick::text(args, 0, "query argument name must be a string")?;
    let query = uri::remove_arg(request::query(exchange), name);
    put_query(exchange, query);
    quick::done()
}

/// The Host header is what the upstream will be asked for, too.
fn note_host(exchange: &mut Exchange, header: &Header) {
    if header.name == HOST
        && let Some(host) = &header.first
    {
        exchange.upstream.host_header = Some(host.clone());
    }
}

fn set_header<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let (name, value) = (quick::get(args, 0), quick::get(args, 1));
    if name.as_bytes().is_some_and(|name| name.eq_ignore_ascii_case(b":authority")) {
        return set_authority(exchange, value);
    }
    let header = Header::check(name, value)?;
    note_host(exchange, &header);
    header.set(&mut exchange.request.headers, &mut exchange.request_spelling);
    quick::done()
}

/// `:authority` is for gRPC services alone.
fn set_authority<'e>(exchange: &'e mut Exchange, value: Given<'_>) -> Lending<'e> {
    let protocol = exchange.service().map(|service| service.record().get("protocol").cloned());
    let protocol = protocol.flatten().unwrap_or_default();
    if !matches!(protocol.as_str(), Some("grpc" | "grpcs")) {
        let text = "cannot set :authority pseudo-header on non-grpc requests";
        return Err(Stop::Nil(text.to_owned()));
    }
    exchange.upstream.host_header = Some(headers::to_value(&args::to_text(&value.to_value())));
    quick::done()
}

fn add_header<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let header = Header::check(quick::get(args, 0), quick::get(args, 1))?;
    note_host(exchange, &header);
    header.add(&mut exchange.request.headers, &mut exchange.request_spelling);
    quick::done()
}

fn clear_header<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    quick::text(args, 0, "header must be a string")?;
    let header = Header::check(quick::get(args, 0), Given::Other(&headers::NO_LINES))?;
    header.set(&mut exchange.request.headers, &mut exchange.request_spelling);
    quick::done()
}

fn set_headers(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    for header in headers::check_all(args::get(args, 0))? {
        note_host(exchange, &header);
        header.set(&mut exchange.request.headers, &mut exchange.request_spelling);
    }
    args::done()
}

fn set_raw_body(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let body = args::text(args, 0, "body must be a string")?;
    put_body(exchange, body.clone());
    args::done()
}

/// Puts a body in the place of the client's, and its framing too.
fn put_body(exchange: &mut Exchange, body: Bytes) {
    let headers = &mut exchange.request.headers;
    headers.remove(TRANSFER_ENCODING);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    exchange.request.body = Body::from_bytes(body);
}

fn set_body(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let (table, mime) = (args::get(args, 0), args::get(args, 1));
    if table.type_name() != "table" {
        return Err(args::raise("args must be a table"));
    }
    let mime = match (mime, headers::text(&exchange.request.headers, "content-type")) {
        (Value::Nil | Value::Bool(false), Some(received)) => received.to_owned(),
        (Value::Nil | Value::Bool(false), None) => {
            return Err(Stop::Nil(
                "content type was neither explicitly given as an argument or received as a header"
                    .to_owned(),
            ));
        }
        _ => args::string(args, 1, "mime must be a string")?,
    };
    let bare = mime.split(';').next().unwrap_or_default();
    let kind =
        Kind::named(bare).ok_or_else(|| args::raise(format!("unsupported content type {mime}")))?;
    let (body, content_type) = kind.encode(table, &mime)?;
    put_body(exchange, body);
    let content_type: HeaderValue = headers::to_value(content_type.as_bytes());
    exchange.request.headers.insert(CONTENT_TYPE, content_type);
    Ok(Value::Bool(true))
}

fn disable_tls<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    exchange.upstream.scheme = Scheme::Http;
    quick::done()
}

fn enable_tls<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    exchange.upstream.scheme = Scheme::Https;
    quick::done()
}
