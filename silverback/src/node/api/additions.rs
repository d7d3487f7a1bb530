//! What Lua plugins add to the Admin API: their `api.lua`.

use anyhow::Result;
use http::StatusCode;
use silverback_admin::{Added, AddedCall, Additions, Answer, Answering, NoAdditions};
use silverback_lua::{Host, api};

use crate::{conf::Conf, node::settings, prefix::Prefix};

/// What the plugins of a host add; nothing where there is none.
///
/// # Errors
/// If an `api.lua` has a fault.
pub(super) fn of(host: Option<&Host>, conf: &Conf, prefix: &Prefix) -> Result<Box<dyn Additions>> {
    Ok(match host {
        Some(host) => Box::new(OfLua(host.api(settings::node(conf, prefix)?)?)),
        None => Box::new(NoAdditions),
    })
}

struct OfLua(api::Api);

impl Additions for OfLua {
    fn paths(&self) -> Vec<Added> {
        let routes = self.0.routes().iter().cloned();
        let added = |api::Route { pattern, methods, kind }| Added { pattern, methods, kind };
        routes.map(added).collect()
    }

    fn answer<'a>(&'a self, number: usize, given: AddedCall<'a>) -> Answering<'a> {
        Box::pin(async move {
            let call = api::Call {
                method: given.method,
                target: given.target,
                headers: given.headers,
                body: given.body,
                parameters: given.parameters,
                query: given.query,
                fields: given.fields,
                is_json: given.is_json,
            };
            let Some(answer) = self.0.answer(number, call).await else {
                let text = "An unexpected error occurred";
                return Answer::message(StatusCode::INTERNAL_SERVER_ERROR, text);
            };
            let mut headers = answer.headers;
            headers.remove(http::header::CONTENT_LENGTH);
            match answer.body {
                Some(body) => Answer::raw(answer.status, headers, body),
                None if headers.is_empty() => Answer::page(answer.status),
                None => Answer { headers, ..Answer::empty(answer.status) },
            }
        })
    }
}
