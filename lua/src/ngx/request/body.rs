//! The request's body.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf};

use bytes::Bytes;
use futures_util::FutureExt;
use mlua::Table;
use silverback_pdk::{Body, Exchange};

use super::{arguments, most, raised};
use crate::{
    bind::{self, Begun},
    ngx::{
        codec::own_text,
        context::{self, BEFORE, REQUEST},
    },
    raw::{Args, Out, Outcome},
    state::State,
};

/// How much of a body is kept where no limit is configured, bytes.
const UNLIMITED: u64 = 1 << 30;

/// Puts the functions into the table `ngx.req`.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, req: &Table) -> mlua::Result<()> {
    req.set("read_body", bind::fast_waits(state, |_| read_body())?)?;
    req.set("discard_body", bind::fast(state, |_| set(Bytes::new()))?)?;
    req.set("get_body_data", bind::fast(state, get_body_data)?)?;
    req.set("get_body_file", bind::fast(state, |_| get_body_file())?)?;
    req.set("get_post_args", bind::fast(state, get_post_args)?)?;
    let set_body_data = |args: &Args<'_>| set(own_text(args, 1).into());
    req.set("set_body_data", bind::fast(state, set_body_data)?)
}

fn read_body() -> Begun {
    if let Err(text) = context::check(BEFORE) {
        return Begun::Done(Outcome::Raise(text));
    }
    Begun::Exchange(Box::new(|exchange: &mut Exchange| {
        async move {
            let limit = match exchange.view.node().body_max {
                0 => UNLIMITED,
                limit => limit,
            };
            match exchange.request.body.read(limit).await {
                Ok(_) => Outcome::Nothing,
                Err(error) => Outcome::Raise(error.to_string()),
            }
        }
        .boxed_local()
    }))
}

fn set(body: Bytes) -> Outcome {
    raised(context::with(BEFORE, |exchange| {
        exchange.request.headers.remove(http::header::TRANSFER_ENCODING);
        let length = http::HeaderValue::from(body.len());
        exchange.request.headers.insert(http::header::CONTENT_LENGTH, length);
        exchange.request.body = Body::from_bytes(body);
        Outcome::Nothing
    }))
}

/// The body if it was read and is not larger than what is kept in memory.
fn in_memory(exchange: &Exchange) -> Option<Bytes> {
    let most = exchange.view.node().body_buffer_max;
    let body = exchange.request.body.at_hand()?;
    (!body.is_empty() && body.len() as u64 <= most).then_some(body)
}

/// (at most so many bytes)
fn get_body_data(args: &Args<'_>) -> Outcome {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let most = args.number(1).map(|most| most as usize);
    raised(context::with(REQUEST, |exchange| match in_memory(exchange) {
        Some(body) => {
            let end = most.unwrap_or(body.len()).min(body.len());
            Outcome::One(Out::Text(body.slice(..end)))
        }
        None => Outcome::One(Out::Nil),
    }))
}

/// The path of a body that is larger than what is kept in memory.
fn get_body_file() -> Outcome {
    let work = |exchange: &mut Exchange| -> Result<Outcome, String> {
        let large = exchange.view.node().body_buffer_max;
        let body = exchange.request.body.at_hand().filter(|body| body.len() as u64 > large);
        let Some(body) = body else { return Ok(Outcome::One(Out::Nil)) };
        let kept = context::kept(exchange);
        let mut file = kept.body_file.borrow_mut();
        let path = match file.as_ref() {
            Some(path) => path.clone(),
            None => {
                let folder = exchange.view.node().prefix.join("client_body_temp");
                let path = folder.join(exchange.request.id.as_str());
                write(&folder, &path, &body).map_err(|error| error.to_string())?;
                file.insert(path).clone()
            }
        };
        Ok(Outcome::One(path.to_string_lossy().into_owned().into()))
    };
    raised(context::with(REQUEST, work).and_then(|result| result))
}

fn write(folder: &PathBuf, path: &PathBuf, body: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(body)
}

fn get_post_args(args: &Args<'_>) -> Outcome {
    let most = most(args, 1);
    let found =
        context::with(REQUEST, |exchange| (in_memory(exchange), exchange.request.body.at_hand()));
    match found {
        Err(text) => Outcome::Raise(text),
        Ok((Some(body), _)) => arguments(&body, most),
        Ok((None, Some(body))) if body.is_empty() => arguments(b"", most),
        Ok((None, Some(_))) => Outcome::nil("request body in temp file not supported"),
        Ok((None, None)) => {
            let text = "no request body found; maybe you should turn on lua_need_request_body?";
            Outcome::Raise(text.to_owned())
        }
    }
}
