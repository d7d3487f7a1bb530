//! key-auth: who holds one of our keys may pass (`kong/plugins/key-auth/`).

use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::{Exchange, Plugin, Value};

use crate::{
    fields::Sought,
    identity::{
        Authenticator, Refusal, access, authenticate, call, call_with, consumer_of, find,
        unauthorized,
    },
    native::native_made,
};

pub(crate) fn plugin() -> Plugin {
    native_made(1250, |settings, _| Ok(KeyAuth::new(settings)))
        .access_later(access::<KeyAuth>)
        .build()
}

/// Lets requests pass that carry a key of one of the consumers, in a header, the query or the
/// body.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "key-auth", no_consumer, protocols_http)]
struct Settings {
    /// The names under which a key is looked for, as headers, query arguments or fields.
    #[field(required, default = ["apikey"], elements(typedef = header_name))]
    key_names: Vec<String>,
    /// Whether the key is taken out of the request that the upstream gets.
    #[field(required, default = false)]
    hide_credentials: bool,
    /// The id or username of the consumer as whom requests without a good key pass. None: they
    /// are refused.
    anonymous: Option<String>,
    /// Whether keys are looked for in headers.
    #[field(required, default = true)]
    key_in_header: bool,
    /// Whether keys are looked for in the query.
    #[field(required, default = true)]
    key_in_query: bool,
    /// Whether keys are looked for in the body: urlencoded, multipart or JSON.
    #[field(required, default = false)]
    key_in_body: bool,
    /// Whether OPTIONS requests need a key as well.
    #[field(required, default = true)]
    run_on_preflight: bool,
    /// The realm that a refusal names.
    #[field(required = false)]
    realm: Option<String>,
}

/// An instance.
struct KeyAuth {
    settings: Settings,
    /// The names as headers.
    headers: Vec<Sought>,
}

/// Where a name was looked up.
enum Place {
    Missing,
    Key(String),
    Twice,
}

impl Authenticator for KeyAuth {
    fn anonymous(&self) -> Option<&str> {
        self.settings.anonymous.as_deref()
    }

    fn applies(&self, exchange: &Exchange) -> bool {
        self.settings.run_on_preflight || exchange.request.method != Method::OPTIONS
    }

    /// Finds the key, its credential and its consumer.
    async fn identify(&self, exchange: &mut Exchange) -> Result<(), Refusal> {
        let key = self.take_key(exchange).await?;
        let credential = match find(exchange, "keyauth_credentials", "key", &key).await? {
            Some(credential) => credential,
            None => return Err(self.refuse(exchange, "Unauthorized")),
        };
        let consumer = consumer_of(exchange, &credential).await?;
        authenticate(exchange, consumer, Some(credential), "id");
        Ok(())
    }
}

impl KeyAuth {
    fn new(settings: Settings) -> KeyAuth {
        KeyAuth { headers: settings.key_names.iter().map(|n| Sought::of(n)).collect(), settings }
    }

    /// The key, taken out of the request if it is to be hidden.
    async fn take_key(&self, exchange: &mut Exchange) -> Result<String, Refusal> {
        let settings = &self.settings;
        let query = if settings.key_in_query && exchange.request.query.is_some() {
            call(exchange, "kong.request.get_query").await
        } else {
            Value::Nil
        };
        let mut body = None;
        for (name, sought) in settings.key_names.iter().zip(&self.headers) {
            let mut place = Place::Missing;
            if settings.key_in_header {
                place = in_headers(&exchange.request.headers, sought);
            }
            if matches!(place, Place::Missing) {
                place = in_values(&query.member(name));
            }
            if matches!(place, Place::Missing) && settings.key_in_body {
                if body.is_none() {
                    body = Some(call(exchange, "kong.request.get_body").await);
                }
                place = in_values(&body.as_ref().map(|b| b.member(name)).unwrap_or_default());
            }
            match place {
                Place::Missing => {}
                Place::Twice => return Err(self.refuse(exchange, "Duplicate API key found")),
                Place::Key(key) => {
                    if settings.hide_credentials {
                        self.hide(exchange, name, sought, body).await;
                    }
                    if key.is_empty() {
                        break;
                    }
                    return Ok(key);
                }
            }
        }
        Err(self.refuse(exchange, "No API key found in request"))
    }

    /// Removes the key wherever it may stand.
    async fn hide(
        &self,
        exchange: &mut Exchange,
        name: &str,
        sought: &Sought,
        body: Option<Value>,
    ) {
        let argument = [Value::text(name)];
        call_with(exchange, "kong.service.request.clear_query_arg", &argument).await;
        sought.remove(&mut exchange.request.headers);
        if !self.settings.key_in_body {
            return;
        }
        let body = match body {
            Some(body) => body,
            None => call(exchange, "kong.request.get_body").await,
        };
        if let Value::Map(pairs) = body {
            let rest = pairs.into_iter().filter(|(k, _)| k.as_str() != Some(name)).collect();
            call_with(exchange, "kong.service.request.set_body", &[Value::Map(rest)]).await;
        }
    }

    fn refuse(&self, exchange: &Exchange, text: &str) -> Refusal {
        let scheme = match &self.settings.realm {
            Some(realm) => HeaderValue::try_from(format!("Key realm=\"{realm}\"")),
            None => Ok(HeaderValue::from_static("Key")),
        };
        let scheme = scheme.unwrap_or_else(|_| HeaderValue::from_static("Key"));
        unauthorized(exchange, text, &scheme).into()
    }
}

fn in_headers(headers: &HeaderMap, sought: &Sought) -> Place {
    let Some(name) = sought.found(headers) else { return Place::Missing };
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Place::Missing,
        (Some(key), None) => Place::Key(String::from_utf8_lossy(key.as_bytes()).into_owned()),
        (Some(_), Some(_)) => Place::Twice,
    }
}

fn in_values(value: &Value) -> Place {
    match value {
        Value::Array(values) if values.len() > 1 => Place::Twice,
        Value::Array(values) => values.first().map_or(Place::Missing, in_values),
        Value::Map(_) => Place::Twice,
        other => other.as_str().map_or(Place::Missing, |key| Place::Key(key.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use serde_json::json;

    use super::*;
    use crate::testing::{Case, run};

    #[test]
    fn underscores_find_dashes() {
        let check = |name: &str, sent: &str, expect: &str| {
            let case = Case::new(&json!({"key_names": [name]})).headers(&[(sent, "k")]);
            assert_eq!(run(&plugin(), case), expect, "{name} {sent}");
            let hiding = json!({"key_names": [name], "hide_credentials": true});
            let case = Case::new(&hiding).headers(&[(sent, "k")]);
            let (phases, mut exchange) = case.start(&plugin());
            phases.access.unwrap().run(&mut exchange).now_or_never().unwrap();
            let there = exchange.request.headers.contains_key(sent);
            assert_eq!(there, expect == "401 Key", "{name} {sent}");
        };
        check("api_key", "api-key", "next alice");
        check("api_key", "api_key", "next alice");
        check("api-key", "api_key", "401 Key");
        check("api_key", "apikey", "401 Key");
    }
}
