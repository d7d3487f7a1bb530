//! The answer: `ngx.header`, `ngx.status`, `ngx.say`, `ngx.exit` and their like. What is said is
//! kept until the handler ends.

use std::rc::{Rc, Weak};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use mlua::Table;
use silverback_pdk::{Answer, Exchange, Flow, Source, Value, kong};

use super::{
    codec::own_text,
    context::{self, BEFORE, CONNECTION, Context, ENDING, Kept, REQUEST},
    request::{header_lines, header_name, header_table, most, put, raised, shown},
};
use crate::{
    bind,
    raw::{Args, Kind, Out, Outcome},
    scheduler::Wait,
    state::{Inbox, State},
};

/// Statuses for which Kong's web server writes Kong's own error (`error_page`); for others it
/// writes its own.
const KONG_PAGES: [u16; 14] =
    [400, 404, 405, 408, 411, 412, 413, 414, 417, 494, 500, 502, 503, 504];

/// Puts the functions into the table `ngx`; those behind its fields into `native`.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, ngx: &Table, native: &Table) -> mlua::Result<()> {
    native.set("header_get", bind::fast(state, header_get)?)?;
    native.set("header_set", bind::fast(state, |args| header_set(args, false))?)?;
    native.set("header_add", bind::fast(state, |args| header_set(args, true))?)?;
    native.set("answer_headers", bind::fast(state, get_headers)?)?;
    native.set("status", bind::fast(state, |_| status())?)?;
    native.set("set_status", bind::fast(state, set_status)?)?;
    native.set("set_proxied", bind::fast(state, set_proxied)?)?;
    native.set("headers_sent", bind::fast(state, |_| headers_sent())?)?;
    native.set("arg", bind::fast(state, arg)?)?;
    native.set("set_arg", bind::fast(state, set_arg)?)?;
    ngx.set("print", bind::fast(state, |args| say(args, b""))?)?;
    ngx.set("say", bind::fast(state, |args| say(args, b"\n"))?)?;
    ngx.set("flush", bind::fast(state, |_| begun_output(false))?)?;
    ngx.set("send_headers", bind::fast(state, |_| begun_output(true))?)?;
    ngx.set("eof", bind::fast(state, |_| begun_output(true))?)?;
    let inbox = Rc::downgrade(&state.inbox);
    ngx.set("exit", bind::fast(state, move |args| exit(args, &inbox))?)?;
    let inbox = Rc::downgrade(&state.inbox);
    ngx.set("redirect", bind::fast(state, move |args| redirect(args, &inbox))?)
}

/// The header's name as Lua code writes it: `_` stands for `-`.
fn name_of(args: &Args<'_>) -> Result<HeaderName, String> {
    header_name(&dashed(args))
}

fn dashed(args: &Args<'_>) -> Vec<u8> {
    own_text(args, 1).iter().map(|&byte| if byte == b'_' { b'-' } else { byte }).collect()
}

fn header_get(args: &Args<'_>) -> Outcome {
    raised(context::with(REQUEST, |exchange| {
        let Ok(name) = name_of(args) else { return Outcome::One(Out::Nil) };
        let mut lines = exchange.response.headers.get_all(name).iter();
        let text = |line: &HeaderValue| Value::text(line.as_bytes());
        Outcome::One(match (lines.next(), lines.next()) {
            (None, _) => Out::Nil,
            (Some(only), None) => Out::Value(text(only)),
            (Some(first), Some(second)) => {
                let all = [first, second].into_iter().chain(lines).map(text);
                Out::Value(Value::Array(all.collect()))
            }
        })
    }))
}

fn header_set(args: &Args<'_>, add: bool) -> Outcome {
    let work = || {
        let given = dashed(args);
        let (name, lines) = (header_name(&given)?, header_lines(args, 2)?);
        context::with(REQUEST, |exchange| {
            let headers = (&mut exchange.response.headers, &mut exchange.response_spelling);
            put(headers, (&name, &given), lines, add);
            Outcome::Nothing
        })
    };
    raised(work())
}

fn get_headers(args: &Args<'_>) -> Outcome {
    let most = most(args, 1);
    raised(context::with(REQUEST, |exchange| header_table(&exchange.response.headers, most)))
}

/// Whether there is an answer already that plugins look at.
fn answered() -> bool {
    let context = context::now();
    matches!(context, Context::Content | Context::HeaderFilter | Context::BodyFilter | Context::Log)
}

fn status() -> Outcome {
    let answered = answered();
    raised(context::with(CONNECTION, |exchange| {
        let kept = context::kept(exchange).status.get();
        let status = match exchange.session.as_ref() {
            Some(session) => session.status,
            None if answered => exchange.response.status.as_u16(),
            None => kept.unwrap_or_default(),
        };
        Outcome::One(f64::from(status).into())
    }))
}

fn set_status(args: &Args<'_>) -> Outcome {
    let number = args.number(1).or_else(|| args.text(1)?.parse().ok());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked below")]
    let status = number.and_then(|number| StatusCode::from_u16(number as u16).ok());
    let Some(status) = status else { return Outcome::Raise("bad status".to_owned()) };
    let answered = answered();
    raised(context::with(REQUEST, |exchange| {
        context::kept(exchange).status.set(Some(status.as_u16()));
        if answered {
            exchange.response.status = status;
        }
        Outcome::Nothing
    }))
}

/// (yes): whether the answer is signed as an upstream's (kong/runloop/handler.lua, `KONG_PROXIED`).
fn set_proxied(args: &Args<'_>) -> Outcome {
    let proxied = args.truthy(1);
    raised(context::with(REQUEST, |exchange| {
        exchange.response.from_cache = proxied;
        Outcome::Nothing
    }))
}

fn headers_sent() -> Outcome {
    let late = matches!(context::now(), Context::BodyFilter | Context::Log);
    raised(context::with(REQUEST, |exchange| {
        let said = context::kept(exchange).output.borrow().is_some();
        Outcome::One((late || said).into())
    }))
}

/// `ngx.arg[1]` and `ngx.arg[2]`: the piece of the body and whether it is the last.
fn arg(args: &Args<'_>) -> Outcome {
    let work = |exchange: &mut Exchange| {
        Outcome::One(match args.number(1) {
            Some(1.0) => Out::Text(exchange.chunk.data.clone()),
            Some(2.0) => Out::Bool(exchange.chunk.last),
            _ => Out::Nil,
        })
    };
    raised(context::with(context::BODY, work))
}

fn set_arg(args: &Args<'_>) -> Outcome {
    let work = || {
        let mut data = Vec::new();
        gather(args, 2, &mut data)?;
        context::with(context::BODY, |exchange| {
            match args.number(1) {
                Some(1.0) if args.kind(2) == Kind::Nil => exchange.chunk.data = Bytes::new(),
                Some(1.0) => exchange.chunk.data = data.into(),
                Some(2.0) => exchange.chunk.last = args.truthy(2),
                _ => {}
            }
            Outcome::Nothing
        })
    };
    raised(work())
}

/// Texts, numbers and the like, and lists of them.
fn gather(args: &Args<'_>, position: usize, into: &mut Vec<u8>) -> Result<(), String> {
    match args.kind(position) {
        Kind::Nil | Kind::None => into.extend_from_slice(b"nil"),
        Kind::Table => flatten(&args.value(position)?, into)?,
        Kind::Function => {
            return Err(format!(
                "bad argument #{position} to 'print' (string, number, boolean, nil, ngx.null, or \
                 array table expected, but got function)"
            ));
        }
        // ngx.null among them.
        Kind::Other => into.extend_from_slice(b"null"),
        _ => into.extend(own_text(args, position)),
    }
    Ok(())
}

fn flatten(value: &Value, into: &mut Vec<u8>) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| flatten(item, into)),
        Value::Map(pairs) if pairs.is_empty() => Ok(()),
        Value::Map(_) | Value::Entity(_) => {
            Err("bad argument #1 to 'print' (non-array table found)".to_owned())
        }
        Value::Nil => {
            into.extend_from_slice(b"nil");
            Ok(())
        }
        single => {
            into.extend(shown(single));
            Ok(())
        }
    }
}

fn say(args: &Args<'_>, end: &[u8]) -> Outcome {
    let work = || {
        context::check(BEFORE)?;
        let mut text = Vec::new();
        (1..=args.len()).try_for_each(|position| gather(args, position, &mut text))?;
        text.extend_from_slice(end);
        context::with(BEFORE, |exchange| {
            let kept = context::kept(exchange);
            kept.output.borrow_mut().get_or_insert_default().extend(text);
            crate::current::stop();
            Outcome::One(1.0.into())
        })
    };
    raised(work())
}

/// `ngx.eof` and `ngx.send_headers` make an answer of what was said, be it nothing.
fn begun_output(begin: bool) -> Outcome {
    raised(context::with(BEFORE, |exchange| {
        if begin {
            context::kept(exchange).output.borrow_mut().get_or_insert_default();
            crate::current::stop();
        }
        Outcome::One(1.0.into())
    }))
}

/// The answer of what was said.
fn spoken(kept: &Kept, status: u16) -> Answer {
    let status = kept.status.get().unwrap_or(status);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let body = kept.output.borrow_mut().take().unwrap_or_default();
    Answer { source: Source::Error, chunked: true, ..Answer::new(status, body) }
}

/// What follows of a handler that has returned: an answer if it has said something.
pub(crate) fn finish(exchange: &mut Exchange) -> Option<Flow> {
    exchange.kept.as_ref()?;
    let kept = context::kept(exchange);
    if kept.output.borrow().is_none() {
        return None;
    }
    Some(Flow::Send(spoken(&kept, 200)))
}

/// Whether `ngx.say` or the like has begun an answer.
pub(crate) fn has_said(exchange: &Exchange) -> bool {
    let kept = exchange.kept.as_ref().and_then(|kept| kept.downcast_ref::<Kept>());
    kept.is_some_and(|kept| kept.output.borrow().is_some())
}

/// The answer that goes with a status, as nginx and Kong's error pages make it.
fn page(exchange: &mut Exchange, status: u16) -> Answer {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if KONG_PAGES.contains(&status) {
        return kong::error_answer(exchange, code, None);
    }
    Answer { source: Source::Error, ..Answer::bare(code) }
}

/// (status): ends the request with it, or with 0 this phase's handler alone.
fn exit(args: &Args<'_>, inbox: &Weak<Inbox>) -> Outcome {
    let number = args.number(1).or_else(|| args.text(1)?.parse().ok());
    let Some(number) = number else {
        return Outcome::Raise("bad argument #1 to 'exit' (number expected)".to_owned());
    };
    let context = context::now();
    let ended = context::with(ENDING, |exchange| {
        let kept = context::kept(exchange);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let status = number as u16;
        match context {
            Context::Timer => Flow::Next,
            Context::Certificate if number >= 0.0 => Flow::Next,
            Context::Certificate => Flow::Fail("the handshake was ended by ngx.exit".to_owned()),
            _ if kept.output.borrow().is_some() => Flow::Send(spoken(&kept, 200)),
            // ngx.ERROR
            _ if number < 0.0 => Flow::Send(page(exchange, 500)),
            _ if status < 100 => Flow::Next,
            _ if (200..300).contains(&status) => Flow::Send(spoken(&kept, status)),
            _ => Flow::Send(page(exchange, status)),
        }
    });
    match ended {
        Err(text) => Outcome::Raise(text),
        Ok(flow) => end(inbox, flow),
    }
}

fn end(inbox: &Weak<Inbox>, flow: Flow) -> Outcome {
    if let Some(inbox) = inbox.upgrade() {
        inbox.wait.set(Some(Wait::End(flow)));
    }
    Outcome::Never
}

/// (where to, 302 or another of its kind)
fn redirect(args: &Args<'_>, inbox: &Weak<Inbox>) -> Outcome {
    let status = args.number(2).unwrap_or(302.0);
    if ![301.0, 302.0, 303.0, 307.0, 308.0].contains(&status) {
        let text = "only ngx.HTTP_MOVED_TEMPORARILY, ngx.HTTP_MOVED_PERMANENTLY, \
                    ngx.HTTP_PERMANENT_REDIRECT, ngx.HTTP_SEE_OTHER, and \
                    ngx.HTTP_TEMPORARY_REDIRECT are allowed";
        return Outcome::Raise(text.to_owned());
    }
    let uri = own_text(args, 1);
    if uri.iter().any(|byte| byte.is_ascii_control()) {
        return Outcome::Raise("unsafe byte in redirect uri".to_owned());
    }
    let ended = context::with(BEFORE, |exchange| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "listed above")]
        let mut answer = page(exchange, status as u16);
        let place = HeaderValue::from_bytes(&uri).unwrap_or(HeaderValue::from_static("/"));
        answer.headers.insert(header::LOCATION, place);
        Flow::Send(answer)
    });
    match ended {
        Err(text) => Outcome::Raise(text),
        Ok(flow) => end(inbox, flow),
    }
}
