//! request-transformer: changes requests before they go to the upstream
//! (`kong/plugins/request-transformer/`).

mod body;
mod expression;
mod multipart;
mod table;
mod template;

use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::{Exchange, Flow, Plugin, PluginFault, Value, kong};

use self::{
    table::Table,
    template::{Environment, Template},
};
use crate::{fields::Pair, identity::call_with, native::native_made};

pub(crate) fn plugin() -> Plugin {
    native_made(801, |settings, _| RequestTransformer::new(&settings))
        .access_later(RequestTransformer::access)
        .build()
}

/// Changes requests before they go to the upstream: path, method, headers, body and query, in
/// this order. Of each it removes first, then renames, replaces, adds and appends. Values may hold
/// templates, `$(...)`: expressions of Lua over `headers`, `query_params`, `uri_captures` and
/// `shared`.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "request-transformer", protocols)]
struct Settings {
    /// The method that the upstream gets.
    #[field(typedef = http_method)]
    http_method: Option<String>,
    /// What is removed.
    remove: Names,
    /// What is renamed: `old:new`.
    rename: Renamed,
    /// What gets another value, if it is there: `name:value`.
    replace: Replaced,
    /// What is set, unless it is there: `name:value`.
    add: Changed,
    /// What gets one more value, or is set: `name:value`.
    append: Changed,
}

/// Names.
#[derive(Debug, Deserialize, Config)]
struct Names {
    /// Members of a body: JSON, urlencoded or multipart.
    #[field(required, default = [])]
    body: Vec<Pair>,
    /// Headers.
    #[field(required, default = [], elements(custom = template::check_name))]
    headers: Vec<Pair>,
    /// Query arguments.
    #[field(required, default = [])]
    querystring: Vec<Pair>,
}

/// Old and new names.
#[derive(Debug, Deserialize, Config)]
struct Renamed {
    /// Members of a body: JSON, urlencoded or multipart.
    #[field(required, default = [], elements(custom = template::check_value))]
    body: Vec<Pair>,
    /// Headers.
    #[field(required, default = [],
            elements(match = "^[^:]+:.*$", custom = template::check_two_names))]
    headers: Vec<Pair>,
    /// Query arguments.
    #[field(required, default = [], elements(custom = template::check_value))]
    querystring: Vec<Pair>,
}

/// Names and values, and the path.
#[derive(Debug, Deserialize, Config)]
struct Replaced {
    /// Members of a body: JSON, urlencoded or multipart.
    #[field(required, default = [], elements(custom = template::check_value))]
    body: Vec<Pair>,
    /// Headers.
    #[field(required, default = [], elements(match = "^[^:]+:.*$", custom = template::check_name))]
    headers: Vec<Pair>,
    /// Query arguments.
    #[field(required, default = [], elements(custom = template::check_value))]
    querystring: Vec<Pair>,
    /// The path that the upstream gets.
    uri: Option<String>,
}

/// Names and values.
#[derive(Debug, Deserialize, Config)]
struct Changed {
    /// Members of a body: JSON, urlencoded or multipart.
    #[field(required, default = [], elements(custom = template::check_value))]
    body: Vec<Pair>,
    /// Headers.
    #[field(required, default = [], elements(match = "^[^:]+:.*$", custom = template::check_name))]
    headers: Vec<Pair>,
    /// Query arguments.
    #[field(required, default = [], elements(custom = template::check_value))]
    querystring: Vec<Pair>,
}

/// An instance: what is done to each part.
struct RequestTransformer {
    method: Option<String>,
    uri: Option<Template>,
    headers: Changes,
    body: Changes,
    query: Changes,
}

/// What is done to one part of a request.
struct Changes {
    remove: Vec<String>,
    rename: Vec<Named>,
    replace: Vec<Named>,
    add: Vec<Named>,
    append: Vec<Named>,
}

/// A name, and the template of a value.
struct Named(String, Option<Template>);

/// The same with the values of a request. None is a value that is not there.
struct Values {
    remove: Vec<String>,
    rename: Vec<(String, Option<String>)>,
    replace: Vec<(String, Option<String>)>,
    add: Vec<(String, Option<String>)>,
    append: Vec<(String, Option<String>)>,
}

impl Changes {
    fn new(
        remove: &[Pair],
        [rename, replace, add, append]: [&[Pair]; 4],
    ) -> Result<Changes, PluginFault> {
        let named = |pairs: &[Pair]| {
            let read = |pair: &Pair| {
                let template = pair.value.as_deref().map(Template::read).transpose();
                Ok(Named(pair.name.clone(), template.map_err(PluginFault)?))
            };
            pairs.iter().map(read).collect::<Result<Vec<_>, PluginFault>>()
        };
        Ok(Changes {
            remove: remove.iter().map(|pair| pair.name.clone()).collect(),
            rename: named(rename)?,
            replace: named(replace)?,
            add: named(add)?,
            append: named(append)?,
        })
    }

    fn is_empty(&self) -> bool {
        let lists = [&self.rename, &self.replace, &self.add, &self.append];
        self.remove.is_empty() && lists.iter().all(|list| list.is_empty())
    }

    fn values(&self, environment: &mut Environment<'_>) -> Result<Values, String> {
        let mut render = |list: &[Named]| {
            let render = |Named(name, template): &Named| {
                let value = template.as_ref().map(|t| t.render(environment)).transpose()?;
                Ok((name.clone(), value))
            };
            list.iter().map(render).collect::<Result<Vec<_>, String>>()
        };
        Ok(Values {
            rename: render(&self.rename)?,
            replace: render(&self.replace)?,
            add: render(&self.add)?,
            append: render(&self.append)?,
            remove: self.remove.clone(),
        })
    }
}

impl RequestTransformer {
    fn new(settings: &Settings) -> Result<RequestTransformer, PluginFault> {
        let Settings { remove, rename, replace, add, append, .. } = settings;
        let uri = replace.uri.as_deref().filter(|uri| !uri.is_empty());
        Ok(RequestTransformer {
            method: settings.http_method.clone(),
            uri: uri.map(Template::read).transpose().map_err(PluginFault)?,
            headers: Changes::new(
                &remove.headers,
                [&rename.headers, &replace.headers, &add.headers, &append.headers],
            )?,
            body: Changes::new(
                &remove.body,
                [&rename.body, &replace.body, &add.body, &append.body],
            )?,
            query: Changes::new(
                &remove.querystring,
                [&rename.querystring, &replace.querystring, &add.querystring, &append.querystring],
            )?,
        })
    }

    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
        Box::pin(async move {
            match self.transform(exchange).await {
                Ok(()) => Flow::Next,
                Err(error) => Flow::Fail(error),
            }
        })
    }

    async fn transform(&self, exchange: &mut Exchange) -> Result<(), String> {
        let mut environment = Environment::new(exchange);
        if let Some(uri) = &self.uri {
            let path = uri.render(&mut environment)?;
            if !path.starts_with('/') {
                return Err(format!("replace.uri: the path '{path}' does not start with /"));
            }
            let path = [Value::from(path)];
            call_with(environment.exchange, "kong.service.request.set_path", &path).await;
        }
        if let Some(method) = &self.method {
            change_method(environment.exchange, method).await;
        }
        if !self.headers.is_empty() {
            let values = self.headers.values(&mut environment)?;
            change_headers(environment.exchange, values).await;
        }
        if !self.body.is_empty() {
            body::change(&self.body, &mut environment).await?;
        }
        if !self.query.is_empty() {
            let values = self.query.values(&mut environment)?;
            let mut table = Table::of(environment.query());
            table.change(values);
            set_query(environment.exchange, table).await;
        }
        Ok(())
    }
}

/// Sets the method. What has no body gets the fields of a form as query arguments.
async fn change_method(exchange: &mut Exchange, method: &str) {
    let argument = [Value::text(method)];
    call_with(exchange, "kong.service.request.set_method", &argument).await;
    if !matches!(method, "GET" | "HEAD" | "TRACE")
        || body::Form::of(&exchange.request.headers) != Some(body::Form::Urlencoded)
    {
        return;
    }
    let most = exchange.view.node().body_buffer_max;
    let Ok(Some(fields)) = exchange.request.body.read_within(most).await else { return };
    let fields = Table::of(&kong::decode_arguments(&fields));
    if !fields.is_empty() {
        let mut table = Table::of(&kong::decode_arguments(query(exchange).as_bytes()));
        fields.into_pairs().for_each(|(name, value)| table.join(name, value));
        set_query(exchange, table).await;
    }
}

fn query(exchange: &Exchange) -> &str {
    exchange.request.query.as_deref().unwrap_or_default()
}

async fn set_query(exchange: &mut Exchange, table: Table) {
    call_with(exchange, "kong.service.request.set_query", &[table.into_value()]).await;
}

/// Changes headers. The Host header can be replaced alone.
async fn change_headers(exchange: &mut Exchange, values: Values) {
    let (headers, spelling) = (&mut exchange.request.headers, &mut exchange.request_spelling);
    let is_host = |name: &str| name.eq_ignore_ascii_case("host");
    let not_host = |name: &str| HeaderName::try_from(name).ok().filter(|_| !is_host(name));
    for name in values.remove.iter().filter_map(|name| not_host(name)) {
        spelling.remove(headers, &name);
        headers.remove(name);
    }
    for (old, new) in &values.rename {
        if let (Some(old), Some(given)) = (not_host(old), new.as_deref())
            && let Some(new) = not_host(given)
            && headers.contains_key(&old)
        {
            // Only the case of the letters may be what changes.
            spelling.put(given);
            rename(headers, &old, &new);
        }
    }
    let mut host = None;
    for (name, value) in values.replace {
        if is_host(&name) {
            host = value;
        } else if let Some((name, value)) = header(&name, value)
            && headers.contains_key(&name)
        {
            headers.insert(name, value);
        }
    }
    for (given, value) in values.add.into_iter().filter(|(name, _)| !is_host(name)) {
        if let Some((name, value)) = header(&given, value)
            && !headers.contains_key(&name)
        {
            spelling.add(headers, &name, &given);
            headers.insert(name, value);
        }
    }
    for (given, value) in values.append.into_iter().filter(|(name, _)| !is_host(name)) {
        if let Some((name, value)) = header(&given, value) {
            spelling.add(headers, &name, &given);
            headers.append(name, value);
        }
    }
    if let Some(host) = host {
        let arguments = [Value::constant("Host"), host.into()];
        call_with(exchange, "kong.service.request.set_header", &arguments).await;
    }
}

/// A header's name and value; none where there is no value.
fn header(name: &str, value: Option<String>) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_bytes(value?.as_bytes()).ok()?;
    Some((HeaderName::try_from(name).ok()?, value))
}

/// Puts the lines of one header in the place of another's.
fn rename(headers: &mut HeaderMap, old: &HeaderName, new: &HeaderName) {
    if old == new {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(old).iter().cloned().collect();
    headers.remove(old);
    headers.remove(new);
    for line in lines {
        headers.append(new.clone(), line);
    }
}

#[cfg(test)]
mod tests;
