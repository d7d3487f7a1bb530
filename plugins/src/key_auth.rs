//! key-auth: who holds one of our keys may pass (`kong/plugins/key-auth/`).

mod holders;

use std::cell::RefCell;

use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use serde_json::Value as Json;
use silverback_macros::Config;
use silverback_model::field;
use silverback_pdk::{Exchange, Plugin, Value};

use self::holders::Holders;
use crate::{
    fields::Sought,
    identity::{
        Authenticator, Identity, Refusal, access, access_at_once, authenticate, call, call_with,
        consumer_of, find, unauthorized,
    },
    native::native_made,
};

pub(crate) fn plugin() -> Plugin {
    native_made(1250, |settings, _| Ok(KeyAuth::new(settings)))
        .access_quick_or_later(access_at_once::<KeyAuth>, access::<KeyAuth>)
        .build()
}

/// The entities that keys are in.
const KIND: &str = "keyauth_credentials";

thread_local! {
    /// Whom keys belong to, as far as this worker has met them.
    static HOLDERS: RefCell<Holders> = RefCell::default();
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
        // Read before them: what changes meanwhile is of another edition.
        let edition = exchange.view.edition(&[KIND, "consumers"]);
        let credential = match find(exchange, KIND, "key", &key).await? {
            Some(credential) => credential,
            None => return Err(self.refuse(exchange, "Unauthorized")),
        };
        let consumer = consumer_of(exchange, &credential).await?;
        let lasts = field(&credential, "ttl").is_none_or(Json::is_null);
        let holder = Identity::of(consumer, Some(credential), "id");
        authenticate(exchange, &holder);
        if let Some(edition) = edition.filter(|_| lasts) {
            HOLDERS.with_borrow_mut(|holders| holders.keep(edition, key, holder));
        }
        Ok(())
    }

    /// What most requests need: the key is in the first header that it is looked for in, and its
    /// holder has been found before.
    fn identify_at_once(&self, exchange: &mut Exchange) -> bool {
        let Some(sought) = self.headers.first() else { return false };
        if !self.settings.key_in_header || self.settings.hide_credentials {
            return false;
        }
        let Some(key) = only_text(&exchange.request.headers, sought) else { return false };
        let Some(edition) = exchange.view.edition(&[KIND, "consumers"]) else { return false };
        let holder = HOLDERS.with_borrow(|holders| holders.get(edition, key).cloned());
        if let Some(holder) = &holder {
            authenticate(exchange, holder);
        }
        holder.is_some()
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

/// The value of a header that is there once, if it is a text of its own.
fn only_text<'a>(headers: &'a HeaderMap, sought: &Sought) -> Option<&'a str> {
    let mut values = headers.get_all(sought.found(headers)?).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    std::str::from_utf8(value.as_bytes()).ok()
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
