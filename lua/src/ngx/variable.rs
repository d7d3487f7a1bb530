//! `ngx.var`: nginx's variables.

use http::HeaderValue;
use mlua::Table;
use silverback_pdk::{
    Exchange, Scheme, Value,
    kong::{Given, Lent, nginx_vars},
};

use super::{
    codec::own_text,
    context::{self, CONNECTION},
};
use crate::{
    bind,
    raw::{
        Args, Kind, Outcome,
        quick::{self, Quickly, Scratch},
    },
    state::State,
};

/// Puts the functions behind `ngx.var` into `native`.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, native: &Table) -> mlua::Result<()> {
    // What Kong has processes for are threads here: `ngx.worker.pid` says the same.
    let pid = state.pulse.thread().to_string();
    let get = move |given: &[Given<'_>], scratch: &mut Scratch| match given.first() {
        Some(Given::Text(b"pid")) => scratch.text(pid.as_bytes()),
        Some(Given::Text(name)) => get(name, scratch),
        // No variable is called so.
        _ => get(b"", scratch),
    };
    native.set("var", quick::function(&state.lua, get)?)?;
    native.set("set_var", bind::fast(state, set)?)
}

fn get(name: &[u8], scratch: &mut Scratch) -> Quickly {
    let work = |exchange: &mut Exchange| {
        if name == b"uri" {
            let kept = context::kept(exchange);
            if let Some(uri) = kept.uri.borrow().as_ref() {
                return scratch.text(uri.as_bytes());
            }
        }
        let name = String::from_utf8_lossy(name);
        match nginx_vars::get(exchange, &name) {
            Value::Text(text) => scratch.text(&text),
            other => scratch.lent(Lent::Value(other)),
        }
    };
    context::with(CONNECTION, work).unwrap_or_else(|text| Quickly::Other(Outcome::Raise(text)))
}

/// (name, text or nil)
fn set(args: &Args<'_>) -> Outcome {
    let name = String::from_utf8_lossy(&own_text(args, 1)).into_owned();
    let text = match args.kind(2) {
        Kind::Nil | Kind::None => None,
        Kind::Text | Kind::Number | Kind::Boolean => {
            Some(String::from_utf8_lossy(&own_text(args, 2)).into_owned())
        }
        other => {
            let kind = other.name();
            return Outcome::Raise(format!(
                "bad variable value type: string or number expected, got {kind}"
            ));
        }
    };
    let set = context::with(CONNECTION, |exchange| change(exchange, &name, text.as_deref()));
    match set {
        Ok(true) => Outcome::Nothing,
        Ok(false) => Outcome::Raise(format!(
            "variable \"{name}\" not found for writing; maybe it is a built-in variable that is \
             not changeable or you forgot to use \"set ${name} '';\" in the config file to define \
             it first"
        )),
        Err(text) => Outcome::Raise(text),
    }
}

/// Whether there is a variable of that name that can be changed.
fn change(exchange: &mut Exchange, name: &str, text: Option<&str>) -> bool {
    let value = text.unwrap_or_default();
    match name {
        "args" | "query_string" => {
            exchange.request.query = text.filter(|text| !text.is_empty()).map(str::to_owned);
        }
        "upstream_uri" => {
            let (path, query) = value.split_once('?').unwrap_or((value, ""));
            exchange.upstream.path = path.to_owned();
            if !query.is_empty() {
                exchange.request.query = Some(query.to_owned());
            }
        }
        "upstream_scheme" => {
            let secure = matches!(value, "https" | "grpcs");
            exchange.upstream.scheme = if secure { Scheme::Https } else { Scheme::Http };
        }
        "upstream_host" => {
            exchange.upstream.host_header = text.and_then(|text| HeaderValue::from_str(text).ok());
        }
        // Those that change nothing here.
        "kong_proxy_mode" | "limit_rate" | "ctx_ref" | "upstream_keepalive" => {}
        _ => return tell(exchange, name, value),
    }
    true
}

/// Has the upstream told something else of the client. False if that is no variable for it.
fn tell(exchange: &mut Exchange, name: &str, value: &str) -> bool {
    let Some(header) = nginx_vars::told_header(name) else { return false };
    // What frames the connection is the gateway's.
    if !matches!(header, "te" | "upgrade" | "connection")
        && let Ok(value) = HeaderValue::from_str(value)
    {
        exchange.upstream.told.retain(|(told, _)| *told != header);
        exchange.upstream.told.push((header, value));
    }
    true
}
