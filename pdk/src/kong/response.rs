//! `kong.response`: what the client will get (`kong/pdk/response.lua`).

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, header};

use super::{
    Function, Outcome,
    Shape::{Any, Binary, Int, Map, MultiMap, None as Nothing, Text},
    Stop, answers, arg, args,
    headers::{self, Header},
    phases::{ANSWER, BEFORE_ANSWER, BODY_FILTER},
    quick::{self, Given, Lending},
};
use crate::{Answer, Exchange, LogLevel, Phase, Source, Value};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::quick("kong.response.get_status", ANSWER, &[], Int, get_status)
        .doc("The status that the client will get, as it is now."),
    Function::quick("kong.response.get_header", ANSWER, &[arg("name", Text)], Text, get_header)
        .doc("The first value of a header of the answer, as it is now; nil if there is none."),
    Function::now(
        "kong.response.get_headers",
        ANSWER,
        &[arg("max_headers", Int)],
        MultiMap,
        get_headers,
    )
    .doc("All headers of the answer, as they are now, at most 100 or `max_headers` (1 to 1000)."),
    Function::quick("kong.response.get_source", ANSWER, &[], Text, get_source)
        .doc("Who made the answer: \"service\", \"exit\" (a plugin) or \"error\" (the gateway)."),
    Function::quick(
        "kong.response.set_status",
        BEFORE_ANSWER,
        &[arg("status", Int)],
        Nothing,
        set_status,
    )
    .doc("Sets the status, 100 to 599."),
    Function::quick(
        "kong.response.set_header",
        BEFORE_ANSWER,
        &[arg("name", Text), arg("value", Any)],
        Nothing,
        set_header,
    )
    .doc("Sets a header, in the place of those of its name; a list makes several lines."),
    Function::quick(
        "kong.response.add_header",
        BEFORE_ANSWER,
        &[arg("name", Text), arg("value", Any)],
        Nothing,
        add_header,
    )
    .doc("Adds a header, beside those of its name."),
    Function::quick(
        "kong.response.clear_header",
        BEFORE_ANSWER,
        &[arg("name", Text)],
        Nothing,
        clear_header,
    )
    .doc("Removes all headers of that name."),
    Function::now(
        "kong.response.set_headers",
        BEFORE_ANSWER,
        &[arg("headers", Map)],
        Nothing,
        set_headers,
    )
    .doc("Sets several headers, in the place of those of their names."),
    Function::now("kong.response.get_raw_body", BODY_FILTER, &[], Binary, get_raw_body).doc(
        "The whole body of the answer, with its last piece; nil before that, while the \
              pieces are kept back.",
    ),
    Function::now(
        "kong.response.set_raw_body",
        BODY_FILTER,
        &[arg("body", Text)],
        Nothing,
        set_raw_body,
    )
    .doc("Puts another body in the place of the answer's."),
    Function::now(
        "kong.response.exit",
        BEFORE_ANSWER,
        &[arg("status", Int), arg("body", Any), arg("headers", Map)],
        Nothing,
        exit,
    )
    .doc(
        "Answers the request at once. A table as the body is sent as JSON; without a body the \
          page that goes with the status is. In the preread phase it closes the stream, with one \
          of 200, 400, 403, 500, 502 and 503; a body goes to the client with 200, else into the \
          log.",
    ),
    Function::now(
        "kong.response.error",
        BEFORE_ANSWER,
        &[arg("status", Int), arg("message", Any), arg("headers", Map)],
        Nothing,
        error,
    )
    .doc(
        "Answers the request at once with an error, 400 to 599, in the form that the client \
          accepts.",
    ),
];

fn get_status<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.response.status.as_u16().into())
}

fn get_header<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let name = quick::text(args, 0, "header name must be a string")?;
    Ok(headers::lend(&exchange.response.headers, name))
}

fn get_headers(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let most = args::maximum(args::get(args, 0), "max_headers")?;
    Ok(headers::to_map(&exchange.response.headers, most))
}

fn get_source<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.response.source.unwrap_or(Source::Error).as_str().into())
}

fn set_status<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    exchange.response.status = args::status(quick::get(args, 0), 100)?;
    quick::done()
}

/// Whether a header is one that plugins may not set; says so in the log if it is.
fn refused(exchange: &Exchange, header: &Header) -> bool {
    if header.is_framing() {
        let plugin = super::running_name(exchange);
        crate::log(LogLevel::Warn, plugin, "manually setting Transfer-Encoding. Ignored.");
    }
    header.is_framing()
}

fn set_header<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let header = Header::check(quick::get(args, 0), quick::get(args, 1))?;
    if !refused(exchange, &header) {
        header.of_answer().set(&mut exchange.response.headers, &mut exchange.response_spelling);
    }
    quick::done()
}

fn add_header<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let header = Header::check(quick::get(args, 0), quick::get(args, 1))?;
    if !refused(exchange, &header) {
        header.of_answer().add(&mut exchange.response.headers, &mut exchange.response_spelling);
    }
    quick::done()
}

fn clear_header<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    quick::text(args, 0, "header name must be a string")?;
    let header = Header::check(quick::get(args, 0), Given::Other(&headers::NO_LINES))?;
    header.of_answer().set(&mut exchange.response.headers, &mut exchange.response_spelling);
    quick::done()
}

fn set_headers(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    for header in headers::check_all(args::get(args, 0))? {
        if !refused(exchange, &header) {
            header.of_answer().set(&mut exchange.response.headers, &mut exchange.response_spelling);
        }
    }
    args::done()
}

fn get_raw_body(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    let chunk = &mut exchange.chunk;
    if chunk.last && exchange.held.is_none() {
        return Ok(Value::Binary(chunk.data.clone()));
    }
    if !chunk.data.is_empty() {
        let data = std::mem::take(&mut chunk.data);
        exchange.held.get_or_insert_with(BytesMut::new).extend_from_slice(&data);
    }
    if !chunk.last {
        return args::done();
    }
    chunk.data = exchange.held.take().unwrap_or_default().freeze();
    Ok(Value::Binary(chunk.data.clone()))
}

fn set_raw_body(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    exchange.chunk.data = args::text(args, 0, "body must be a string")?.clone();
    exchange.chunk.last = true;
    exchange.held = None;
    args::done()
}

/// The `headers` of an answer, checked; none for nil.
fn checked(exchange: &mut Exchange, table: &Value) -> Result<HeaderMap, Stop> {
    let mut map = HeaderMap::new();
    if table.is_nil() {
        return Ok(map);
    }
    if table.type_name() != "table" {
        return Err(args::raise("headers must be a nil or table"));
    }
    for header in headers::check_all(table)? {
        if !refused(exchange, &header) {
            header.of_answer().set(&mut map, &mut exchange.response_spelling);
        }
    }
    Ok(map)
}

fn exit(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    if exchange.session.is_some() {
        return stream_exit(args);
    }
    let status = args::status(args::get(args, 0).into(), 100)?;
    let body = args::get(args, 1);
    if !matches!(body.type_name(), "nil" | "string" | "table") {
        return Err(args::raise("body must be a nil, string or table"));
    }
    let headers = checked(exchange, args::get(args, 2))?;
    let grpc_typed = |map: &HeaderMap| {
        headers::text(map, "content-type").map(|kind| kind.starts_with("application/grpc"))
    };
    let typed = grpc_typed(&headers).or_else(|| grpc_typed(&exchange.response.headers));
    if typed.unwrap_or_else(|| answers::is_grpc(exchange)) {
        return grpc_exit(exchange, status, body, headers, typed.is_some());
    }
    let mut answer = match body {
        Value::Nil => {
            // Where the answer's head is there already it stays as it is, without a body.
            let body = (exchange.phase == Phase::HeaderFilter).then(Bytes::new);
            Answer { body, ..Answer::bare(status) }
        }
        Value::Text(text) | Value::Binary(text) => Answer::new(status, text.clone()),
        table => Answer::json(status, &encodable(table)?.to_json()),
    };
    answer.headers.extend(headers);
    cut_to_length(exchange, &mut answer);
    Err(Stop::Exit(Box::new(answer)))
}

/// A table that JSON can be made of.
fn encodable(table: &Value) -> Result<&Value, Stop> {
    match table.foreign() {
        None => Ok(table),
        Some(kind) => Err(args::raise(format!(
            "body encoding failed while flushing response: Cannot serialise {kind}: type not \
             supported"
        ))),
    }
}

/// An exit from a stream: its connection is closed. Headers have no meaning there.
fn stream_exit(args: &[Value]) -> Outcome {
    const CODES: [i64; 6] = [200, 400, 403, 500, 502, 503];
    let code = args::get(args, 0);
    if code.as_number().is_none() {
        return Err(args::raise("code must be a number"));
    }
    let code = code.as_int().filter(|code| CODES.contains(code));
    let status = code.and_then(|code| http::StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    let status = status.ok_or_else(|| {
        args::raise("unacceptable code, only 200, 400, 403, 500, 502 and 503 are accepted")
    })?;
    let body = match args::get(args, 1) {
        Value::Nil => None,
        Value::Text(text) | Value::Binary(text) => Some(text.clone()),
        table if table.type_name() == "table" => Some(table.to_json().to_string().into()),
        _ => return Err(args::raise("body must be a nil, string or table")),
    };
    let headers = HeaderMap::new();
    Err(Stop::Exit(Box::new(Answer { headers, body, ..Answer::bare(status) })))
}

/// An exit from a gRPC call: text goes into `grpc-message`, unless the plugin typed its body.
fn grpc_exit(
    exchange: &Exchange,
    status: http::StatusCode,
    body: &Value,
    headers: HeaderMap,
    typed: bool,
) -> Outcome {
    let message = match body {
        Value::Text(text) | Value::Binary(text) => text.clone(),
        Value::Nil => Bytes::new(),
        _ if typed => return Err(args::raise("table body encoding with gRPC is not supported")),
        table => {
            let message = table.member("message");
            if message.as_bytes().is_none() {
                let text =
                    "body was removed because table body encoding with gRPC is not supported";
                crate::log(LogLevel::Warn, super::running_name(exchange), text);
            }
            message.as_bytes().cloned().unwrap_or_default()
        }
    };
    let mut answer = if typed {
        let mut answer = answers::grpc(status, Bytes::new(), headers);
        answer.body = Some(message);
        answer
    } else {
        answers::grpc(status, message, headers)
    };
    answer.source = Source::Exit;
    Err(Stop::Exit(Box::new(answer)))
}

/// A Content-Length that a plugin gives cuts the body to it, as in Kong; the gateway counts the
/// bytes itself otherwise. Only the answer to HEAD may announce what does not follow.
fn cut_to_length(exchange: &Exchange, answer: &mut Answer) {
    if exchange.request.method == Method::HEAD {
        return;
    }
    let given: Option<HeaderValue> = answer.headers.remove(header::CONTENT_LENGTH);
    let length = given.as_ref().and_then(|given| given.to_str().ok()?.parse::<usize>().ok());
    if let (Some(length), Some(body)) = (length, answer.body.as_mut()) {
        body.truncate(length);
    }
}

fn error(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let status = args::status(args::get(args, 0).into(), 400)?;
    let message = match args::get(args, 1) {
        Value::Nil => None,
        Value::Text(text) | Value::Binary(text) => Some(String::from_utf8_lossy(text).into_owned()),
        table if table.type_name() == "table" => Some(table.to_json().to_string()),
        _ => return Err(args::raise("message must be a nil, a string or a table")),
    };
    let headers = checked(exchange, args::get(args, 2))?;
    let answer = answers::negotiated(exchange, status, message.as_deref(), headers);
    Err(Stop::Exit(Box::new(answer)))
}
