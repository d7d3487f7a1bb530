//! The paths that plugins add to the Admin API, or change of it (`api.lua`). They run on the
//! thread of the control plane, in its state; what they wait for holds nothing else up.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use http::{Method, Version};
use mlua::{Function, Table, Value};
use serde_json::{Map, Value as Json};
use silverback_pdk::{
    AddedCall, AddedPath, Additions, Answer, Body, Exchange, Flow, LogLevel, Phase, Request,
    RequestId, Scheme, View, log,
};

use crate::{
    convert,
    host::{Host, LoadError},
    ngx,
    raw::plain,
    scheduler::{self, Ending},
    state::State,
};

/// The paths of all plugins.
pub struct Api {
    routes: Vec<AddedPath>,
    state: Rc<State>,
    view: Rc<dyn View>,
    dispatch: Function,
}

impl Host {
    /// Loads what plugins add to the Admin API, where they look things up in `view`;
    /// [`Host::connect`] comes before.
    ///
    /// # Errors
    /// If an `api.lua` has a fault.
    pub fn api(&self, view: Rc<dyn View>) -> Result<Api, LoadError> {
        let state = self.shared.state().map_err(LoadError::State)?;
        let fault = |error: &mlua::Error| LoadError::Api(plain(error));
        let load = || -> mlua::Result<(Table, Function)> {
            let module: Table = state.require("silverback.api")?;
            let names = state.lua.create_sequence_from(self.names.iter().map(String::as_str))?;
            let load: Function = module.get("load")?;
            Ok((state.watched(|| load.call(names))?, module.get("dispatch")?))
        };
        let mut exchange = ngx::exchange(view.clone(), Phase::AdminApi);
        let (list, dispatch) =
            crate::current::enter(&mut exchange, load).map_err(|error| fault(&error))?;
        let mut routes = Vec::new();
        for item in list.sequence_values::<Table>() {
            let item = item.map_err(|error| fault(&error))?;
            routes.push(route(&item)?);
        }
        Ok(Api { routes, state, view, dispatch })
    }
}

/// A route as Lua tells it.
fn route(item: &Table) -> Result<AddedPath, LoadError> {
    let text = |name: &str| item.get::<Option<String>>(name).unwrap_or_default();
    let given = text("pattern").unwrap_or_default();
    let methods: Vec<String> = item.get("methods").unwrap_or_default();
    let methods = methods.iter().filter_map(|name| Method::from_bytes(name.as_bytes()).ok());
    let pattern = pattern(&given).map_err(|fault| match text("plugin") {
        Some(plugin) => LoadError::Plugin { plugin, fault },
        None => LoadError::Api(fault),
    })?;
    Ok(AddedPath { pattern, methods: methods.collect(), kind: text("schema") })
}

/// `/a/:b/c` as `/a/{b}/c`.
fn pattern(given: &str) -> Result<String, String> {
    let refuse = |what: &str| format!("api.lua: the path '{given}' {what}");
    if !given.starts_with('/') {
        return Err(refuse("does not begin with '/'"));
    }
    if given.contains(['(', '*', '[']) {
        return Err(refuse(
            "has optional parts, a wildcard or a class, which are not taken here: name each path",
        ));
    }
    let parts = given.split('/').map(|part| match part.strip_prefix(':') {
        Some(name) => format!("{{{name}}}"),
        None => part.to_owned(),
    });
    Ok(parts.collect::<Vec<_>>().join("/"))
}

/// An answer with what `kong.response.set_header` has set before it was made.
fn with_headers(mut answer: Answer, exchange: &Exchange) -> Answer {
    let own = std::mem::replace(&mut answer.headers, exchange.response.headers.clone());
    for name in own.keys() {
        answer.headers.remove(name);
    }
    for (name, value) in &own {
        answer.headers.append(name.clone(), value.clone());
    }
    answer
}

impl Additions for Api {
    fn paths(&self) -> &[AddedPath] {
        &self.routes
    }

    fn answer<'a>(
        &'a self,
        number: usize,
        call: AddedCall<'a>,
    ) -> LocalBoxFuture<'a, Option<Answer>> {
        Box::pin(self.dispatch(number, call))
    }
}

impl Api {
    async fn dispatch(&self, number: usize, call: AddedCall<'_>) -> Option<Answer> {
        let mut exchange = self.exchange(&call);
        let args = self.routes.get(number).and_then(|route| self.args(route, &call).ok())?;
        #[expect(clippy::cast_precision_loss, reason = "there are few paths")]
        let number = Value::Number((number + 1) as f64);
        let args = [&number, &args];
        let ending = scheduler::run(&self.state, &mut exchange, &self.dispatch, &args, false).await;
        let flow = match ending {
            Ending::Done(_) => ngx::finish(&mut exchange).unwrap_or(Flow::Next),
            Ending::Flow(flow) => flow,
            Ending::Failed(text) => Flow::Fail(text),
        };
        match flow {
            Flow::Exit(answer) => Some(with_headers(answer, &exchange)),
            Flow::Send(mut answer) => {
                // `kong.response.set_status` before `ngx.print`.
                if answer.status == http::StatusCode::OK {
                    answer.status = exchange.response.status;
                }
                Some(with_headers(answer, &exchange))
            }
            Flow::Next => Some(Answer::new(http::StatusCode::OK, bytes::Bytes::new())),
            Flow::Fail(text) => {
                log(LogLevel::Err, "", &format!("Admin API: {text}"));
                None
            }
        }
    }

    /// What `kong.request` and `ngx.req` show.
    fn exchange(&self, call: &AddedCall<'_>) -> Exchange {
        let mut exchange = ngx::exchange(self.view.clone(), Phase::AdminApi);
        let query = call.target.split_once('?').map(|(_, query)| query.to_owned());
        let host = call.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        exchange.request = Request {
            id: RequestId::random(),
            method: call.method.clone(),
            version: Version::HTTP_11,
            scheme: Scheme::Http,
            target: call.target.clone(),
            query,
            host: host.unwrap_or_default().to_owned(),
            headers: call.headers.clone(),
            body: Body::from_bytes(call.body.clone()),
            size: 0,
        };
        exchange
    }

    /// What `silverback.api` makes `self` of.
    fn args(&self, route: &AddedPath, call: &AddedCall<'_>) -> mlua::Result<Value> {
        let lua = &self.state.lua;
        let table = lua.create_table()?;
        let (path, query) = call.target.split_once('?').unwrap_or((&call.target, ""));
        table.set("method", call.method.as_str())?;
        table.set("target", call.target.as_str())?;
        table.set("path", path)?;
        table.set("query", query)?;
        table.set("body", lua.create_string(&call.body)?)?;
        table.set("is_json", call.is_json)?;
        let headers = lua.create_table()?;
        for (name, value) in call.headers {
            headers.set(name.as_str(), lua.create_string(value.as_bytes())?)?;
        }
        table.set("headers", headers)?;
        let parameters = lua.create_table()?;
        let names = route.pattern.split('/');
        let names = names.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        for (name, value) in names.zip(call.parameters) {
            parameters.set(name, value.as_str())?;
        }
        table.set("parameters", parameters)?;
        let fields = |fields: &Map<String, Json>| {
            convert::to_lua_with_nulls(lua, &Json::Object(fields.clone()))
        };
        table.set("uri", fields(&call.query)?)?;
        table.set("post", fields(&call.fields)?)?;
        Ok(Value::Table(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_the_gateways_own() {
        #[track_caller]
        fn check(given: &str, expect: Result<&str, &str>) {
            let got = pattern(given);
            match (&got, expect) {
                (Ok(got), Ok(expect)) => assert_eq!(got, expect),
                (Err(got), Err(expect)) => assert!(got.contains(expect), "{got}"),
                _ => panic!("{got:?}"),
            }
        }
        check("/gate-status", Ok("/gate-status"));
        check("/consumers/:consumers/things/:things", Ok("/consumers/{consumers}/things/{things}"));
        check("gate", Err("does not begin with '/'"));
        check("/a/*", Err("a wildcard"));
    }
}
