//! What the upstream is told of who was authenticated: the same headers for every
//! authentication plugin (`set_consumer` in Kong's `kong/plugins/*/{handler,access}.lua`).

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use http::{HeaderName, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use serde_json::Value as Json;
use silverback_model::field;
use silverback_pdk::{Answer, Exchange, Flow, LogLevel, Record, Value, kong};

const CONSUMER_ID: HeaderName = HeaderName::from_static("x-consumer-id");
const CONSUMER_CUSTOM_ID: HeaderName = HeaderName::from_static("x-consumer-custom-id");
const CONSUMER_USERNAME: HeaderName = HeaderName::from_static("x-consumer-username");
const CREDENTIAL_IDENTIFIER: HeaderName = HeaderName::from_static("x-credential-identifier");
const ANONYMOUS: HeaderName = HeaderName::from_static("x-anonymous-consumer");

/// What clients may not say of themselves.
const CLAIMS: [HeaderName; 10] = [
    CONSUMER_ID,
    CONSUMER_CUSTOM_ID,
    CONSUMER_USERNAME,
    HeaderName::from_static("x-consumer-groups"),
    HeaderName::from_static("x-authenticated-groups"),
    HeaderName::from_static("x-authenticated-scope"),
    HeaderName::from_static("x-authenticated-userid"),
    CREDENTIAL_IDENTIFIER,
    HeaderName::from_static("x-credential-username"),
    ANONYMOUS,
];

/// A plugin that finds out who asks.
pub(crate) trait Authenticator {
    /// The id or username of the consumer as whom requests pass that no one can be found for.
    /// With one, several authentication plugins are alternatives.
    fn anonymous(&self) -> Option<&str>;

    /// Whether the request has to say who it comes from.
    fn applies(&self, _exchange: &Exchange) -> bool {
        true
    }

    /// Finds out who it is and says so with [`authenticate`].
    async fn identify(&self, exchange: &mut Exchange) -> Result<(), Refusal>;

    /// The same for what can be said without waiting. False if it can't, and nothing has changed.
    fn identify_at_once(&self, _exchange: &mut Exchange) -> bool {
        false
    }
}

/// Why a request is not let through.
pub(crate) enum Refusal {
    /// It does not say who it comes from, or not so that it could be believed.
    Answer(Box<Answer>),
    /// That can't be found out. The anonymous consumer is not for this.
    Fault(String),
}

impl From<Answer> for Refusal {
    fn from(answer: Answer) -> Refusal {
        Refusal::Answer(Box::new(answer))
    }
}

/// What [`access`] comes to without waiting, if it does.
pub(crate) fn access_at_once<T: Authenticator>(
    plugin: &T,
    exchange: &mut Exchange,
) -> Option<Flow> {
    let turn = plugin.anonymous().is_none() && plugin.applies(exchange);
    (turn && plugin.identify_at_once(exchange)).then_some(Flow::Next)
}

/// The access handler of all authentication plugins.
pub(crate) fn access<'a, T: Authenticator>(
    plugin: &'a T,
    exchange: &'a mut Exchange,
) -> LocalBoxFuture<'a, Flow> {
    Box::pin(async move {
        if !plugin.applies(exchange) {
            forget_claims(exchange);
            return Flow::Next;
        }
        if plugin.anonymous().is_some() && exchange.client.credential.is_some() {
            return Flow::Next;
        }
        match (plugin.identify(exchange).await, plugin.anonymous()) {
            (Ok(()), _) => Flow::Next,
            (Err(Refusal::Fault(text)), _) => Flow::Fail(text),
            (Err(Refusal::Answer(_)), Some(name)) => authenticate_anonymous(exchange, name).await,
            (Err(Refusal::Answer(answer)), None) => Flow::Exit(*answer),
        }
    })
}

/// Removes what the client says of who it is. What an earlier plugin has found out stays: whether
/// one has.
fn forget_claims(exchange: &mut Exchange) -> bool {
    if exchange.client.consumer.is_some() || exchange.client.credential.is_some() {
        return true;
    }
    let headers = &mut exchange.request.headers;
    // A look at the names costs less than looking for each claim, and there is seldom one.
    if headers.keys().any(|name| may_be_claim(name.as_str())) {
        for name in &CLAIMS {
            headers.remove(name);
        }
    }
    false
}

/// Whether a name begins as those of [`CLAIMS`] do.
fn may_be_claim(name: &str) -> bool {
    matches!(name.as_bytes(), [b'x', b'-', b'a' | b'c', b'n' | b'o' | b'r' | b'u', ..])
}

/// Who asks, as the exchange and the upstream are told.
#[derive(Debug)]
pub(crate) struct Identity {
    consumer: Option<Arc<Record>>,
    /// None: the anonymous consumer.
    credential: Option<Arc<Record>>,
    /// The values of [`TOLD`].
    told: [Option<HeaderValue>; 4],
}

/// What the upstream is told of everyone, as far as it is known.
const TOLD: [HeaderName; 4] =
    [CONSUMER_ID, CONSUMER_CUSTOM_ID, CONSUMER_USERNAME, CREDENTIAL_IDENTIFIER];

impl Identity {
    /// `identifier` is the field of the credential that names it.
    pub(crate) fn of(
        consumer: Option<Arc<Record>>,
        credential: Option<Arc<Record>>,
        identifier: &str,
    ) -> Identity {
        let told = [
            text(consumer.as_deref(), "id"),
            text(consumer.as_deref(), "custom_id"),
            text(consumer.as_deref(), "username"),
            text(credential.as_deref(), identifier),
        ];
        Identity { consumer, credential, told }
    }
}

/// Says who it is: in the exchange, and to the upstream. Whatever the client said is removed.
pub(crate) fn authenticate(exchange: &mut Exchange, identity: &Identity) {
    let known_before = forget_claims(exchange);
    let headers = &mut exchange.request.headers;
    for (name, value) in TOLD.iter().zip(&identity.told) {
        match value {
            Some(value) => _ = headers.insert(name, value.clone()),
            // Without an earlier plugin's claims there is nothing left to remove.
            None if known_before => _ = headers.remove(name),
            None => {}
        }
    }
    if identity.credential.is_none() {
        headers.insert(ANONYMOUS, HeaderValue::from_static("true"));
    } else if known_before {
        headers.remove(ANONYMOUS);
    }
    exchange.client.consumer.clone_from(&identity.consumer);
    exchange.client.credential.clone_from(&identity.credential);
}

/// A field that can stand in a header.
fn text(record: Option<&Record>, name: &str) -> Option<HeaderValue> {
    let text = field(record?, name)?.as_str()?;
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

/// Lets the request pass as the anonymous consumer that `anonymous` names by id or username.
async fn authenticate_anonymous(exchange: &mut Exchange, anonymous: &str) -> Flow {
    let view = exchange.view.clone();
    let mut found = view.find("consumers", "id", anonymous).get().await;
    if matches!(found, Ok(None)) {
        found = view.find("consumers", "username", anonymous).get().await;
    }
    match found {
        Ok(Some(consumer)) => {
            authenticate(exchange, &Identity::of(Some(consumer), None, "id"));
            Flow::Next
        }
        Ok(None) => {
            let text = format!("anonymous consumer {anonymous} is configured but doesn't exist");
            silverback_pdk::log(LogLevel::Err, "", &text);
            Flow::Exit(kong::refusal(exchange, StatusCode::INTERNAL_SERVER_ERROR, &text))
        }
        Err(error) => Flow::Fail(error),
    }
}

/// A refusal that says which scheme would be accepted.
pub(crate) fn unauthorized(exchange: &Exchange, text: &str, scheme: &HeaderValue) -> Answer {
    kong::refusal(exchange, StatusCode::UNAUTHORIZED, text).with(WWW_AUTHENTICATE, scheme.clone())
}

/// The scheme of a refusal, with the realm where there is one.
pub(crate) fn scheme(name: &'static str, realm: Option<&str>) -> HeaderValue {
    let with_realm = realm.map(|realm| HeaderValue::try_from(format!("{name} realm=\"{realm}\"")));
    with_realm.and_then(Result::ok).unwrap_or(HeaderValue::from_static(name))
}

/// The entity with this value in a unique field; a store that can't answer refuses.
pub(crate) async fn find(
    exchange: &Exchange,
    kind: &str,
    field: &str,
    value: &str,
) -> Result<Option<Arc<Record>>, Refusal> {
    exchange.view.find(kind, field, value).get().await.map_err(Refusal::Fault)
}

/// The consumer whose credential it is.
pub(crate) async fn consumer_of(
    exchange: &Exchange,
    credential: &Record,
) -> Result<Option<Arc<Record>>, Refusal> {
    find(exchange, "consumers", "id", owner(credential)).await
}

/// The id of the consumer whose credential it is.
pub(crate) fn owner(credential: &Record) -> &str {
    let consumer = field(credential, "consumer").and_then(Json::as_object);
    consumer.and_then(|consumer| field(consumer, "id")?.as_str()).unwrap_or_default()
}

/// The first line of a header, if it is text.
pub(crate) fn header(exchange: &Exchange, name: &str) -> Option<String> {
    let value = exchange.request.headers.get(name)?;
    std::str::from_utf8(value.as_bytes()).ok().map(str::to_owned)
}

/// What follows a scheme in a header that carries a credential. As in Kong, the scheme begins with
/// a capital or a small letter and need not stand at the beginning.
pub(crate) fn after_scheme<'a>(header: &'a str, names: [&str; 2]) -> Option<&'a str> {
    let (at, name) = names.iter().filter_map(|name| Some((header.find(name)?, name))).min()?;
    header.get(at + name.len()..)
}

/// What a function of the PDK gives, or nil where it has nothing to give.
pub(crate) async fn call(exchange: &mut Exchange, name: &str) -> Value {
    call_with(exchange, name, &[]).await
}

/// The same with arguments.
pub(crate) async fn call_with(exchange: &mut Exchange, name: &str, args: &[Value]) -> Value {
    let Some(function) = kong::find(name) else { return Value::Nil };
    function.call(exchange, args).await.unwrap_or_else(|stop| {
        silverback_pdk::log(LogLevel::Info, "", &format!("{name}: {stop}"));
        Value::Nil
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_claim_is_taken_for_one() {
        for name in &CLAIMS {
            assert!(may_be_claim(name.as_str()), "{name}");
        }
        for name in ["accept", "x-real-ip", "x-forwarded-for", "x-request-id", "apikey"] {
            assert!(!may_be_claim(name), "{name}");
        }
    }
}
