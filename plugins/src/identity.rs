//! What the upstream is told of who was authenticated: the same headers for every
//! authentication plugin (`set_consumer` in Kong's `kong/plugins/*/{handler,access}.lua`).

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use silverback_pdk::{Answer, Exchange, Flow, LogLevel, Record, kong};

const CONSUMER_ID: HeaderName = HeaderName::from_static("x-consumer-id");
const CONSUMER_CUSTOM_ID: HeaderName = HeaderName::from_static("x-consumer-custom-id");
const CONSUMER_USERNAME: HeaderName = HeaderName::from_static("x-consumer-username");
const CREDENTIAL_IDENTIFIER: HeaderName = HeaderName::from_static("x-credential-identifier");
const ANONYMOUS: HeaderName = HeaderName::from_static("x-anonymous-consumer");

/// Says who it is: in the exchange, and to the upstream. Whatever the client said is removed.
/// `identifier` is the field of the credential that names it.
pub(crate) fn authenticate(
    exchange: &mut Exchange,
    consumer: Option<Arc<Record>>,
    credential: Option<Arc<Record>>,
    identifier: &str,
) {
    let of_consumer = |field| text(consumer.as_deref(), field);
    let headers = [
        (CONSUMER_ID, of_consumer("id")),
        (CONSUMER_CUSTOM_ID, of_consumer("custom_id")),
        (CONSUMER_USERNAME, of_consumer("username")),
        (CREDENTIAL_IDENTIFIER, text(credential.as_deref(), identifier)),
        (ANONYMOUS, credential.is_none().then(|| HeaderValue::from_static("true"))),
    ];
    for (name, value) in headers {
        match value {
            Some(value) => exchange.request.headers.insert(name, value),
            None => exchange.request.headers.remove(name),
        };
    }
    exchange.client.consumer = consumer;
    exchange.client.credential = credential;
}

/// A field that can stand in a header.
fn text(record: Option<&Record>, field: &str) -> Option<HeaderValue> {
    let text = record?.get(field)?.as_str()?;
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

/// Lets the request pass as the anonymous consumer that `anonymous` names by id or username.
pub(crate) async fn authenticate_anonymous(exchange: &mut Exchange, anonymous: &str) -> Flow {
    let view = exchange.view.clone();
    let mut found = view.find("consumers", "id", anonymous).get().await;
    if matches!(found, Ok(None)) {
        found = view.find("consumers", "username", anonymous).get().await;
    }
    match found {
        Ok(Some(consumer)) => {
            authenticate(exchange, Some(consumer), None, "id");
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
