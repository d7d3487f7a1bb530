//! request-termination: answers in the upstream's place (`kong/plugins/request-termination/`).

use futures_util::future::LocalBoxFuture;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use silverback_macros::Config;
use silverback_model::schema::Schema;
use silverback_pdk::{Answer, Exchange, Flow, Plugin, Value, kong};

use crate::{fields::Sought, native::native};

pub(crate) fn plugin() -> Plugin {
    native::<RequestTermination>(2).access_later(RequestTermination::access).build()
}

/// Answers requests without asking the upstream.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "request-termination", protocols_http, with = checked)]
struct RequestTermination {
    /// The status of the answer.
    #[field(required, default = 503, between(100, 599))]
    status_code: u16,
    /// The message of a JSON answer.
    message: Option<String>,
    /// The media type of `body`.
    content_type: Option<String>,
    /// The body as it is, in the message's place.
    body: Option<String>,
    /// Whether the answer shows the request, for debugging.
    #[field(required, default = false)]
    echo: bool,
    /// The header or query argument without which the plugin does nothing.
    #[field(typedef = header_name)]
    trigger: Option<String>,
}

/// Adds the check of the configuration as a whole.
fn checked(mut schema: Schema) -> Schema {
    if let Some(config) = schema.fields.get_mut("config") {
        *config = config.clone().custom_value(consistent);
    }
    schema
}

/// Which fields go together.
fn consistent(config: &Json) -> Result<(), String> {
    let given = |name: &str| config.get(name).and_then(Json::as_str).is_some_and(|s| !s.is_empty());
    let echo = config.get("echo") == Some(&Json::Bool(true));
    if given("message") && (given("content_type") || given("body")) {
        return Err("message cannot be used with content_type or body".into());
    }
    if given("content_type") && !given("body") {
        return Err("content_type requires a body".into());
    }
    if echo && (given("content_type") || given("body")) {
        return Err("echo cannot be used with content_type and body".into());
    }
    Ok(())
}

impl RequestTermination {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
        Box::pin(async move {
            if let Some(trigger) = &self.trigger
                && !triggered(exchange, trigger).await
            {
                return Flow::Next;
            }
            Flow::Exit(if self.echo { self.echo(exchange).await } else { self.answer() })
        })
    }

    fn answer(&self) -> Answer {
        let status = self.status();
        if let Some(body) = &self.body {
            let answer = Answer::new(status, body.clone());
            let media_type =
                self.content_type.as_ref().map(|t| HeaderValue::from_bytes(t.as_bytes()));
            return match media_type {
                Some(Ok(media_type)) => answer.with(CONTENT_TYPE, media_type),
                _ => answer,
            };
        }
        match self.message() {
            Some(message) => Answer::json(status, &json!({ "message": message })),
            None => Answer::bare(status),
        }
    }

    async fn echo(&self, exchange: &mut Exchange) -> Answer {
        let request = json!({
            "scheme": get(exchange, "kong.request.get_scheme").await,
            "host": get(exchange, "kong.request.get_host").await,
            "port": get(exchange, "kong.request.get_port").await,
            "headers": get(exchange, "kong.request.get_headers").await,
            "query": get(exchange, "kong.request.get_query").await,
            "body": get(exchange, "kong.request.get_body").await,
            "raw_body": get(exchange, "kong.request.get_raw_body").await,
            "method": get(exchange, "kong.request.get_method").await,
            "path": get(exchange, "kong.request.get_path").await,
            "uri_captures": captures(exchange),
        });
        let node = exchange.view.node();
        let mut shown = json!({
            "message": self.message(),
            "kong": {
                "node_id": node.id,
                "worker_pid": std::process::id(),
                "hostname": node.hostname,
            },
            "request": request,
            "matched_route": get(exchange, "kong.router.get_route").await,
            "matched_service": get(exchange, "kong.router.get_service").await,
        });
        drop_nulls(&mut shown);
        Answer::json(self.status(), &shown)
    }

    fn status(&self) -> StatusCode {
        // The schema has checked the range.
        StatusCode::from_u16(self.status_code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// The configured message, or what goes with the status.
    fn message(&self) -> Option<&str> {
        self.message.as_deref().or(match self.status_code {
            401 => Some("Unauthorized"),
            404 => Some("Not found"),
            405 => Some("Method not allowed"),
            500 => Some("An unexpected error occurred"),
            502 => Some("Bad Gateway"),
            503 => Some("Service unavailable"),
            _ => None,
        })
    }
}

/// The groups of the route's path. As a Lua list begins at 1, the whole match is not in it.
fn captures(exchange: &Exchange) -> Json {
    let captures = exchange.matched.as_ref().and_then(|matched| matched.captures.as_deref());
    let unnamed: Vec<_> = captures.iter().flat_map(|c| c.unnamed.iter().skip(1)).collect();
    let named = captures.iter().flat_map(|c| &c.named);
    let named: Map<_, _> = named.map(|(name, text)| (name.clone(), text.as_str().into())).collect();
    json!({ "unnamed": unnamed, "named": named })
}

/// What is absent is not shown, as in a Lua table.
fn drop_nulls(value: &mut Json) {
    if let Json::Object(map) = value {
        map.retain(|_, v| !v.is_null());
        map.values_mut().for_each(drop_nulls);
    }
}

async fn triggered(exchange: &mut Exchange, trigger: &str) -> bool {
    if Sought::of(trigger).found(&exchange.request.headers).is_some() {
        return true;
    }
    let query = value(exchange, "kong.request.get_query").await;
    !query.member(trigger).is_nil()
}

async fn get(exchange: &mut Exchange, name: &str) -> Json {
    value(exchange, name).await.to_json()
}

/// What a function of the PDK gives, or nil where it has nothing to give.
async fn value(exchange: &mut Exchange, name: &str) -> Value {
    match kong::find(name) {
        Some(function) => function.call(exchange, &[]).await.unwrap_or_default(),
        None => Value::Nil,
    }
}
