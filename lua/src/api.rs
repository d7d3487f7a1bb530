//! The paths that plugins add to the Admin API, or change of it (`api.lua`). They run on the
//! thread of the control plane, in its state; what they wait for holds nothing else up.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Method, Version};
use mlua::{Function, Table, Value};
use serde_json::{Map, Value as Json};
use silverback_model::{
    Entity,
    entities::{Route as RouteEntity, Service},
};
use silverback_pdk::{
    Answer, Body, Exchange, Flow, Found, LogLevel, Node, Phase, Record, Request, RequestId, Scheme,
    View, log,
};
use silverback_store::{Sought, Store};

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
    routes: Vec<Route>,
    state: Rc<State>,
    view: Rc<dyn View>,
    dispatch: Function,
}

/// A path of a plugin's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// As `/endpoints` shows it: `/consumers/{consumers}/things`.
    pub pattern: String,
    /// The methods that it answers.
    pub methods: Vec<Method>,
    /// The kind of entity whose schema says what its arguments mean.
    pub kind: Option<String>,
}

/// A request to a plugin's path, decoded.
#[derive(Debug)]
pub struct Call<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query as they came.
    pub target: String,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body as it came.
    pub body: Bytes,
    /// The parameters of the path, in order.
    pub parameters: &'a [String],
    /// The query's arguments.
    pub query: Map<String, Json>,
    /// The body's fields.
    pub fields: Map<String, Json>,
    /// Whether the body is JSON.
    pub is_json: bool,
}

impl Host {
    /// Loads what plugins add to the Admin API; [`Host::connect`] comes before.
    ///
    /// # Errors
    /// If an `api.lua` has a fault.
    pub fn api(&self, node: Node) -> Result<Api, LoadError> {
        let state = self.shared.state().map_err(LoadError::State)?;
        let fault = |error: &mlua::Error| LoadError::State(format!("api.lua: {}", plain(error)));
        let store = self.shared.database.store().ok().cloned();
        let view: Rc<dyn View> = Rc::new(Desk { node, store });
        let load = || -> mlua::Result<(Table, Function)> {
            let module: Table = state.require("silverback.api")?;
            let names = state.lua.create_sequence_from(self.names.iter().map(String::as_str))?;
            let load: Function = module.get("load")?;
            Ok((load.call(names)?, module.get("dispatch")?))
        };
        let mut exchange = ngx::exchange(view.clone(), Phase::AdminApi);
        let (list, dispatch) =
            crate::current::enter(&mut exchange, load).map_err(|error| fault(&error))?;
        let mut routes = Vec::new();
        for item in list.sequence_values::<Table>() {
            let item = item.map_err(|error| fault(&error))?;
            routes.push(route(&item).map_err(LoadError::State)?);
        }
        Ok(Api { routes, state, view, dispatch })
    }
}

/// A route as Lua tells it.
fn route(item: &Table) -> Result<Route, String> {
    let text = |name: &str| item.get::<Option<String>>(name).unwrap_or_default();
    let given = text("pattern").unwrap_or_default();
    let methods: Vec<String> = item.get("methods").unwrap_or_default();
    let methods = methods.iter().filter_map(|name| Method::from_bytes(name.as_bytes()).ok());
    Ok(Route { pattern: pattern(&given)?, methods: methods.collect(), kind: text("schema") })
}

/// `/a/:b/c` as `/a/{b}/c`.
fn pattern(given: &str) -> Result<String, String> {
    let refuse = |what: &str| format!("api.lua: the path '{given}' {what}");
    if !given.starts_with('/') {
        return Err(refuse("does not begin with '/'"));
    }
    if given.contains(['(', '*', '[']) {
        return Err(refuse("has optional parts, a wildcard or a class, which are not taken here"));
    }
    let parts = given.split('/').map(|part| match part.strip_prefix(':') {
        Some(name) => format!("{{{name}}}"),
        None => part.to_owned(),
    });
    Ok(parts.collect::<Vec<_>>().join("/"))
}

impl Api {
    /// The paths, by their numbers.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Answers a request to the path of that number. What fails is logged, and answered by
    /// nothing.
    pub async fn answer(&self, number: usize, call: Call<'_>) -> Option<Answer> {
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
            Flow::Exit(answer) | Flow::Send(answer) => Some(answer),
            Flow::Next => Some(Answer::new(http::StatusCode::OK, Bytes::new())),
            Flow::Fail(text) => {
                log(LogLevel::Err, "", &format!("Admin API: {text}"));
                None
            }
        }
    }

    /// What `kong.request` and `ngx.req` show.
    fn exchange(&self, call: &Call<'_>) -> Exchange {
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
    fn args(&self, route: &Route, call: &Call<'_>) -> mlua::Result<Value> {
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

/// What handlers of the Admin API can look up: all that is kept.
struct Desk {
    node: Node,
    store: Option<Arc<Store>>,
}

impl View for Desk {
    fn node(&self) -> &Node {
        &self.node
    }

    fn route(&self, _: u32) -> Option<&Entity<RouteEntity>> {
        None
    }

    fn service(&self, _: u32) -> Option<&Entity<Service>> {
        None
    }

    fn instance(&self, _: u32) -> Option<&Arc<Record>> {
        None
    }

    fn find(&self, kind: &str, field: &str, value: &str) -> Found {
        let Some(store) = &self.store else { return Found::Now(None) };
        match store.find(kind, field, value) {
            Sought::Now(records) => Found::Now(records.first().cloned()),
            Sought::Later(coming) => {
                let first = |records: Arc<[Arc<Record>]>| records.first().cloned();
                let coming = coming.map(move |c| c.map(first).map_err(|fault| fault.message));
                Found::Later(coming.boxed_local())
            }
        }
    }

    fn children(&self, kind: &str, parent: &str, parent_id: &str) -> Found<Vec<Arc<Record>>> {
        let Some(store) = &self.store else { return Found::Now(Vec::new()) };
        match store.children(kind, parent, parent_id) {
            Sought::Now(records) => Found::Now(records.to_vec()),
            Sought::Later(coming) => {
                let all = |records: Arc<[Arc<Record>]>| records.to_vec();
                let coming = coming.map(move |c| c.map(all).map_err(|fault| fault.message));
                Found::Later(coming.boxed_local())
            }
        }
    }

    fn all(&self, kind: &str) -> Vec<Arc<Record>> {
        let entities = self.store.as_ref().map(|store| store.entities());
        entities.map(|all| all.of(kind).iter().cloned().collect()).unwrap_or_default()
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
