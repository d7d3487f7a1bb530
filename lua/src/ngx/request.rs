//! `ngx.req`: the request, as plugins read and change it.

mod body;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use mlua::Table;
use silverback_pdk::{Exchange, Spelling, Value};

use super::{
    codec::{escape_component, number_text, own_text, unescape},
    context::{self, BEFORE, CHANGING, CONNECTION, Context, REQUEST},
};
use crate::{
    bind,
    raw::{Args, Kind, Out, Outcome},
    state::State,
};

/// How many headers or arguments are given where nothing else is said.
const MOST: usize = 100;

/// nginx's numbers of methods (`ngx.HTTP_GET`...).
pub(super) const METHODS: [(&str, u32); 15] = [
    ("GET", 2),
    ("HEAD", 4),
    ("POST", 8),
    ("PUT", 16),
    ("DELETE", 32),
    ("MKCOL", 64),
    ("COPY", 128),
    ("MOVE", 256),
    ("OPTIONS", 512),
    ("PROPFIND", 1024),
    ("PROPPATCH", 2048),
    ("LOCK", 4096),
    ("UNLOCK", 8192),
    ("PATCH", 16384),
    ("TRACE", 32768),
];

/// Puts the functions into the table `ngx.req`; those of other modules into `native`.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, ngx: &Table, native: &Table) -> mlua::Result<()> {
    let req = state.lua.create_table()?;
    req.set("get_method", bind::fast(state, |_| read(|e| e.request.method.as_str().to_owned()))?)?;
    req.set("set_method", bind::fast(state, set_method)?)?;
    req.set("http_version", bind::fast(state, |_| http_version())?)?;
    req.set("start_time", bind::fast(state, |_| start_time())?)?;
    req.set("is_internal", bind::fast(state, |_| Outcome::One(false.into()))?)?;
    req.set("raw_header", bind::fast(state, |args| raw_header(args.truthy(1)))?)?;
    native.set("request_headers", bind::fast(state, get_headers)?)?;
    req.set("set_header", bind::fast(state, |args| set_header(args, false))?)?;
    req.set("add_header", bind::fast(state, |args| set_header(args, true))?)?;
    req.set("clear_header", bind::fast(state, clear_header)?)?;
    req.set("get_uri_args", bind::fast(state, get_uri_args)?)?;
    req.set("set_uri_args", bind::fast(state, set_uri_args)?)?;
    req.set("set_uri", bind::fast(state, set_uri)?)?;
    body::register(state, &req)?;
    ngx.set("encode_args", bind::fast(state, encode_args)?)?;
    ngx.set("decode_args", bind::fast(state, decode_args)?)?;
    ngx.set("req", req)
}

/// An outcome of a fallible step; the error is raised.
pub(super) fn raised(result: Result<Outcome, String>) -> Outcome {
    result.unwrap_or_else(Outcome::Raise)
}

fn read<T: Into<Out>>(get: impl FnOnce(&Exchange) -> T) -> Outcome {
    raised(context::with(REQUEST, |exchange| Outcome::One(get(exchange).into())))
}

fn set_method(args: &Args<'_>) -> Outcome {
    let Some(number) = args.number(1) else {
        return Outcome::Raise("bad method number".to_owned());
    };
    let known = METHODS.iter().find(|(_, known)| f64::from(*known) == number);
    let method = known.and_then(|(name, _)| Method::from_bytes(name.as_bytes()).ok());
    let Some(method) = method else {
        return Outcome::Raise(format!("unsupported HTTP method: {}", number_text(number)));
    };
    raised(context::with(CHANGING, |exchange| {
        exchange.request.method = method;
        Outcome::Nothing
    }))
}

fn http_version() -> Outcome {
    read(|exchange| match exchange.request.version {
        Version::HTTP_09 => 0.9,
        Version::HTTP_10 => 1.0,
        Version::HTTP_2 => 2.0,
        Version::HTTP_3 => 3.0,
        _ => 1.1,
    })
}

/// Seconds since 1970.
fn start_time() -> Outcome {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double")]
    let seconds = |exchange: &mut Exchange| exchange.timing.began_ms() as f64 / 1000.0;
    raised(context::with(CONNECTION, |exchange| Outcome::One(seconds(exchange).into())))
}

/// The head of the request as HTTP/1 writes it.
fn raw_header(without_line: bool) -> Outcome {
    read(|exchange| {
        let request = &exchange.request;
        let mut head = Vec::new();
        if !without_line {
            let version = if request.version == Version::HTTP_10 { "1.0" } else { "1.1" };
            let line = format!("{} {} HTTP/{version}\r\n", request.method, request.target);
            head.extend_from_slice(line.as_bytes());
        }
        for (name, value) in &request.headers {
            head.extend_from_slice(titled(name.as_str()).as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        Bytes::from(head)
    })
}

/// A header's name as HTTP/1 writes it.
fn titled(name: &str) -> String {
    let mut first = true;
    let letters = name.chars().map(|letter| {
        let shown = if first { letter.to_ascii_uppercase() } else { letter };
        first = letter == '-';
        shown
    });
    letters.collect()
}

/// The optional maximum; 0 is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
pub(super) fn most(args: &Args<'_>, position: usize) -> usize {
    match args.number(position).map(|most| most as usize) {
        Some(0) => usize::MAX,
        Some(most) => most,
        None => MOST,
    }
}

/// Headers by their names in lower case, several lines of a name as a list; "truncated" beside
/// them if there are more.
pub(super) fn header_table(headers: &HeaderMap, most: usize) -> Outcome {
    let mut left = most;
    let mut pairs = Vec::with_capacity(headers.keys_len());
    for name in headers.keys() {
        let lines = headers.get_all(name).iter().take(left);
        let mut lines: Vec<Value> = lines.map(|line| Value::text(line.as_bytes())).collect();
        left -= lines.len();
        let value = if lines.len() == 1 { lines.pop() } else { Some(Value::Array(lines)) };
        pairs.push((Value::text(name.as_str()), value.unwrap_or_default()));
        if left == 0 {
            break;
        }
    }
    let table = Out::Value(Value::Map(pairs));
    if headers.len() > most { Outcome::Two(table, "truncated".into()) } else { Outcome::One(table) }
}

fn get_headers(args: &Args<'_>) -> Outcome {
    let most = most(args, 1);
    raised(context::with(REQUEST, |exchange| header_table(&exchange.request.headers, most)))
}

/// A header's name; `_` stays.
pub(super) fn header_name(text: &[u8]) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text)
        .map_err(|_| format!("bad header name \"{}\"", String::from_utf8_lossy(text)))
}

/// A header's value; what would end its line is escaped, as in nginx.
pub(super) fn header_value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or_else(|_| {
        let mut safe = Vec::with_capacity(text.len());
        for &byte in text {
            if byte == b'\t' || (byte >= 0x20 && byte != 0x7f) {
                safe.push(byte);
            } else {
                safe.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
        }
        HeaderValue::from_bytes(&safe).unwrap_or(HeaderValue::from_static(""))
    })
}

/// The lines of a header in an argument: none for nil and for an empty table.
pub(super) fn header_lines(args: &Args<'_>, position: usize) -> Result<Vec<HeaderValue>, String> {
    Ok(match args.kind(position) {
        Kind::Nil | Kind::None => Vec::new(),
        Kind::Table => match args.value(position)? {
            Value::Array(items) => items.iter().map(|item| header_value(&shown(item))).collect(),
            _ => Vec::new(),
        },
        Kind::Text | Kind::Number | Kind::Boolean => vec![header_value(&own_text(args, position))],
        other => return Err(format!("bad header value: string expected, got {}", other.name())),
    })
}

/// A value as text.
pub(super) fn shown(value: &Value) -> Vec<u8> {
    match value {
        Value::Text(text) | Value::Binary(text) => text.to_vec(),
        #[expect(clippy::cast_precision_loss, reason = "Lua numbers are doubles")]
        Value::Int(number) => number_text(*number as f64).into_bytes(),
        Value::Number(number) => number_text(*number).into_bytes(),
        Value::Bool(value) => value.to_string().into_bytes(),
        other => other.type_name().as_bytes().to_vec(),
    }
}

/// Puts lines in the place of a header's, or behind them. Its name is `name`, written as `given`.
pub(super) fn put(
    (headers, spelling): (&mut HeaderMap, &mut Spelling),
    (name, given): (&HeaderName, &[u8]),
    lines: Vec<HeaderValue>,
    add: bool,
) {
    match std::str::from_utf8(given) {
        Ok(given) if !lines.is_empty() => spelling.add(headers, name, given),
        _ => spelling.remove(headers, name),
    }
    if !add {
        headers.remove(name);
    }
    for line in lines {
        headers.append(name.clone(), line);
    }
}

fn set_header(args: &Args<'_>, add: bool) -> Outcome {
    let work = || {
        context::check(CHANGING)?;
        let given = own_text(args, 1);
        let (name, lines) = (header_name(&given)?, header_lines(args, 2)?);
        context::with(CHANGING, |exchange| {
            let headers = (&mut exchange.request.headers, &mut exchange.request_spelling);
            put(headers, (&name, &given), lines, add);
            if name == http::header::HOST {
                let host = exchange.request.headers.get(&name).and_then(|host| host.to_str().ok());
                let bare = host.unwrap_or_default().split(':').next().unwrap_or_default();
                exchange.request.host = bare.to_ascii_lowercase();
            }
            Outcome::Nothing
        })
    };
    raised(work())
}

fn clear_header(args: &Args<'_>) -> Outcome {
    let name = own_text(args, 1);
    raised(context::with(CHANGING, |exchange| {
        if let Ok(name) = header_name(&name) {
            exchange.request.headers.remove(name);
        }
        Outcome::Nothing
    }))
}

/// The arguments of a query: a name alone is true, several of a name a list; "truncated" beside
/// them if there are more.
fn arguments(query: &[u8], most: usize) -> Outcome {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    let mut count = 0;
    for part in query.split(|&byte| byte == b'&').filter(|part| !part.is_empty()) {
        if count == most {
            return Outcome::Two(Out::Value(Value::Map(pairs)), "truncated".into());
        }
        let (name, value) = match part.iter().position(|&byte| byte == b'=') {
            Some(at) => (&part[..at], Value::text(unescape(&part[at + 1..]))),
            None => (part, Value::Bool(true)),
        };
        if name.is_empty() {
            continue;
        }
        count += 1;
        let name = unescape(name);
        match places.get(&name).and_then(|&place: &usize| pairs.get_mut(place)) {
            Some((_, Value::Array(items))) => items.push(value),
            Some((_, there)) => *there = Value::Array(vec![std::mem::take(there), value]),
            None => {
                places.insert(name.clone(), pairs.len());
                pairs.push((Value::text(name), value));
            }
        }
    }
    Outcome::One(Out::Value(Value::Map(pairs)))
}

fn get_uri_args(args: &Args<'_>) -> Outcome {
    let most = most(args, 1);
    raised(context::with(REQUEST, |exchange| {
        let query = exchange.request.query.as_deref().unwrap_or_default();
        arguments(query.as_bytes(), most)
    }))
}

fn decode_args(args: &Args<'_>) -> Outcome {
    match args.bytes(1) {
        Some(query) => arguments(query, most(args, 2)),
        None => Outcome::Raise("bad argument #1 to 'decode_args' (string expected)".to_owned()),
    }
}

fn encode_args(args: &Args<'_>) -> Outcome {
    if args.kind(1) != Kind::Table {
        let kind = args.kind(1).name();
        let text = format!("bad argument #1 to 'encode_args' (table expected, got {kind})");
        return Outcome::Raise(text);
    }
    raised(
        args.value(1).and_then(|table| encoded(&table)).map(|text| Outcome::One(Out::Owned(text))),
    )
}

/// A query of a table.
fn encoded(table: &Value) -> Result<Vec<u8>, String> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut put = |name: &Value, value: &Value| {
        let mut part = escape_component(&shown(name));
        match value {
            Value::Bool(true) => parts.push(part),
            Value::Bool(false) | Value::Nil => {}
            Value::Array(_) | Value::Map(_) | Value::Entity(_) => {
                return Err("attempt to use table as query arg value".to_owned());
            }
            single => {
                part.push(b'=');
                part.extend(escape_component(&shown(single)));
                parts.push(part);
            }
        }
        Ok(())
    };
    let numbered: Vec<(Value, Value)>;
    let pairs = match table {
        Value::Map(pairs) => pairs,
        Value::Array(items) => {
            numbered = (1..).map(Value::Int).zip(items.iter().cloned()).collect();
            &numbered
        }
        _ => return Ok(Vec::new()),
    };
    for (name, value) in pairs {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| put(name, item))?,
            single => put(name, single)?,
        }
    }
    Ok(parts.join(&b'&'))
}

fn set_uri_args(args: &Args<'_>) -> Outcome {
    let work = || {
        let query = match args.kind(1) {
            Kind::Table => encoded(&args.value(1)?)?,
            Kind::Text | Kind::Number => own_text(args, 1),
            other => {
                return Err(format!(
                    "bad argument #1 to 'set_uri_args' (string, number, or \
                                         table expected, but got {})",
                    other.name()
                ));
            }
        };
        let query = String::from_utf8_lossy(&query).into_owned();
        context::with(CHANGING, |exchange| {
            exchange.request.query = (!query.is_empty()).then_some(query);
            Outcome::Nothing
        })
    };
    raised(work())
}

/// (path, whether to look for a location again): what `ngx.var.uri` says. The upstream's path is
/// `ngx.var.upstream_uri`, as in Kong.
fn set_uri(args: &Args<'_>) -> Outcome {
    let uri = own_text(args, 1);
    if uri.is_empty() {
        return Outcome::Raise("attempt to use zero-length uri".to_owned());
    }
    if args.truthy(2) && context::now() != Context::Rewrite {
        return Outcome::Raise("uri can be changed with a jump only in rewrite".to_owned());
    }
    raised(context::with(BEFORE, |exchange| {
        let uri = String::from_utf8_lossy(&uri).into_owned();
        *context::kept(exchange).uri.borrow_mut() = Some(uri);
        Outcome::Nothing
    }))
}
