//! `kong.service.response`: what the upstream answered (`kong/pdk/service/response.lua`).
//!
//! Headers are those of the answer as plugins have changed them, as in Kong; only the status
//! stays the upstream's own.

use bytes::Bytes;

use super::{
    Function, Outcome,
    Shape::{Any, Binary, Int, MultiMap, Text},
    Stop, arg, args,
    body::Kind,
    headers,
    phases::SERVICE_ANSWER,
    quick::{self, Given, Lending},
};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::quick("kong.service.response.get_status", SERVICE_ANSWER, &[], Int, get_status)
        .doc("The status that the service answered; nil if it did not."),
    Function::now(
        "kong.service.response.get_headers",
        SERVICE_ANSWER,
        &[arg("max_headers", Int)],
        MultiMap,
        get_headers,
    )
    .doc("The headers that the service answered, at most 100 or `max_headers` (1 to 1000)."),
    Function::quick(
        "kong.service.response.get_header",
        SERVICE_ANSWER,
        &[arg("name", Text)],
        Text,
        get_header,
    )
    .doc("The first value of a header that the service answered; nil if there is none."),
    Function::now("kong.service.response.get_raw_body", SERVICE_ANSWER, &[], Binary, get_raw_body)
        .doc("The body that the service answered; only where answers are buffered."),
    Function::now(
        "kong.service.response.get_body",
        SERVICE_ANSWER,
        &[arg("mimetype", Text), arg("max_args", Int)],
        Any,
        get_body,
    )
    .doc(
        "The body that the service answered, decoded as its content type or `mimetype` says; \
          only where answers are buffered.",
    ),
];

fn get_status<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.response.upstream_status.map(|status| status.as_u16()).into())
}

fn get_headers(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let most = args::maximum(args::get(args, 0), "max_headers")?;
    if exchange.response.upstream_status.is_none() {
        return Ok(Value::Map(Vec::new()));
    }
    Ok(headers::to_map(&exchange.response.headers, most))
}

fn get_header<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let name = quick::text(args, 0, "name must be a string")?;
    if exchange.response.upstream_status.is_none() {
        return quick::done();
    }
    Ok(headers::lend(&exchange.response.headers, name))
}

/// The upstream's body, where it was buffered.
fn buffered(exchange: &Exchange) -> Result<Bytes, Stop> {
    if !exchange.upstream.buffered && exchange.response.buffered.is_none() {
        return Err(args::raise(
            "service body is only available with buffered proxying (see: \
             kong.service.request.enable_buffering function)",
        ));
    }
    Ok(exchange.response.buffered.clone().unwrap_or_default())
}

fn get_raw_body(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    Ok(Value::Binary(buffered(exchange)?))
}

fn get_body(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let body = buffered(exchange)?;
    let content_type = match args::get(args, 0).as_str() {
        Some(given) => given.to_owned(),
        None => headers::text(&exchange.response.headers, "content-type")
            .map(str::to_owned)
            .ok_or_else(|| Stop::Nil("missing content type".to_owned()))?,
    };
    let kind = Kind::of(&content_type)?;
    let most = match kind {
        Kind::Form => args::maximum(args::get(args, 1), "max_args")?,
        Kind::Json | Kind::Multipart => 0,
    };
    kind.decode(&body, &content_type, most)
}
