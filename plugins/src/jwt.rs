//! jwt: who has a token that a consumer's key has signed may pass (`kong/plugins/jwt/`).

mod signature;
mod token;

use std::{
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{Method, StatusCode, header::WWW_AUTHENTICATE};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use silverback_macros::Config;
use silverback_model::schema::{Field, Schema};
use silverback_pdk::{Answer, Exchange, Plugin, Record, Value};

use self::{signature::Algorithm, token::Token};
use crate::{
    fields::{Sought, base64url_decode},
    identity::{
        Authenticator, Identity, Refusal, access, after_scheme, authenticate, call, consumer_of,
        find, scheme,
    },
    native::native,
};

pub(crate) fn plugin() -> Plugin {
    native::<Jwt>(1450).access_later(access::<Jwt>).build()
}

/// Lets requests pass that carry a JSON Web Token (RFC 7519) signed for one of the consumers.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "jwt", no_consumer, protocols_http, with = checked)]
struct Jwt {
    /// The query arguments in which a token is looked for.
    #[field(default = ["jwt"])]
    uri_param_names: Option<BTreeSet<String>>,
    /// The cookies in which a token is looked for.
    #[field(default = [])]
    cookie_names: Option<BTreeSet<String>>,
    /// The claim, or else the field of the token's header, that names the key.
    #[field(default = "iss")]
    key_claim_name: Option<String>,
    /// Whether shared secrets are kept in base64.
    #[field(required, default = false)]
    secret_is_base64: bool,
    /// The times that are checked.
    #[field(elements(one_of("exp", "nbf")))]
    claims_to_verify: Option<BTreeSet<String>>,
    /// The id or username of the consumer as whom requests without a good token pass. None: they
    /// are refused.
    anonymous: Option<String>,
    /// Whether OPTIONS requests need a token as well.
    #[field(required, default = true)]
    run_on_preflight: bool,
    /// How far in the future a token may expire, in seconds; 0: any time.
    #[field(default = 0, between(0, 31_536_000))]
    maximum_expiration: Option<f64>,
    /// The headers in which a token is looked for, behind "Bearer".
    #[field(default = ["authorization"])]
    header_names: Option<BTreeSet<String>>,
    /// The realm that a refusal names.
    #[field(required = false)]
    realm: Option<String>,
}

/// A time can only be limited if it is checked.
fn checked(schema: Schema) -> Schema {
    schema.conditional(
        "config.maximum_expiration",
        Field::partial().gt(0),
        "config.claims_to_verify",
        Field::partial().contains("exp"),
    )
}

impl Authenticator for Jwt {
    fn anonymous(&self) -> Option<&str> {
        self.anonymous.as_deref()
    }

    fn applies(&self, exchange: &Exchange) -> bool {
        self.run_on_preflight || exchange.request.method != Method::OPTIONS
    }

    async fn identify(&self, exchange: &mut Exchange) -> Result<(), Refusal> {
        let text = self.one_token(exchange).await?;
        let token = Token::read(&text).map_err(|e| self.invalid(&format!("Bad token; {e}")))?;
        let claim = self.key_claim_name.as_deref().unwrap_or("iss");
        let key = match token.member(claim) {
            None => return Err(self.invalid(&format!("No mandatory '{claim}' in claims"))),
            Some(Json::String(key)) if !key.is_empty() => key,
            Some(_) => return Err(self.invalid(&format!("Invalid '{claim}' in claims"))),
        };
        let Some(credential) = find(exchange, "jwt_secrets", "key", key).await? else {
            return Err(self.invalid(&format!("No credentials found for given '{claim}'")));
        };
        self.check_signature(&token, &credential)?;
        self.check_times(&token)?;
        let Some(consumer) = consumer_of(exchange, &credential).await? else {
            let text = format!("Could not find consumer for '{claim}={key}'");
            let answer = Answer::json(StatusCode::UNAUTHORIZED, &json!({ "message": text }));
            return Err(answer.into());
        };
        authenticate(exchange, &Identity::of(Some(consumer), Some(credential), "key"));
        exchange.shared.insert("authenticated_jwt_token".to_owned(), Value::text(&text));
        Ok(())
    }
}

impl Jwt {
    /// The token, if there is one and no other.
    async fn one_token(&self, exchange: &mut Exchange) -> Result<String, Refusal> {
        let mut found = self.tokens(exchange).await;
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(self.refuse(&json!({"message": "Unauthorized"}), None)),
            (Some(_), false) => Err(self.invalid("Multiple tokens provided")),
            (Some(token), true) => match token.as_str() {
                Some(token) => Ok(token.to_owned()),
                None => Err(self.invalid("Unrecognizable token")),
            },
        }
    }

    /// What is found where tokens are looked for, each but once.
    async fn tokens(&self, exchange: &mut Exchange) -> Vec<Value> {
        let mut tokens = Vec::new();
        let mut add = |token: Value| {
            if token.as_str() != Some("") && !tokens.contains(&token) {
                tokens.push(token);
            }
        };
        if exchange.request.query.is_some() {
            let query = call(exchange, "kong.request.get_query").await;
            for name in self.uri_param_names.iter().flatten() {
                match query.member(name) {
                    Value::Nil => {}
                    Value::Array(values) => values.into_iter().for_each(&mut add),
                    value => add(value),
                }
            }
        }
        let cookies = self.cookie_names.iter().flatten().filter_map(|n| cookie(exchange, n));
        cookies.for_each(&mut add);
        for name in self.header_names.iter().flatten() {
            let value = Sought::of(name).first(&exchange.request.headers);
            let value = value.and_then(|value| value.to_str().ok());
            let token = value.and_then(|value| after_scheme(value, ["Bearer", "bearer"]));
            if let Some(token) = token.filter(|token| token.starts_with([' ', '\t'])) {
                add(token.trim_start().into());
            }
        }
        tokens
    }

    /// Whether the credential's key has signed the token, by the algorithm that goes with the key.
    fn check_signature(&self, token: &Token<'_>, credential: &Record) -> Result<(), Refusal> {
        let field = |name| credential.get(name).and_then(Json::as_str);
        let algorithm = Algorithm::from_name(field("algorithm").unwrap_or("HS256"));
        let Some(algorithm) = algorithm.filter(|algorithm| *algorithm == token.algorithm) else {
            return Err(self.invalid("Invalid algorithm"));
        };
        let key = match algorithm {
            Algorithm::Hs(_) if self.secret_is_base64 => field("secret").and_then(base64url_decode),
            Algorithm::Hs(_) => field("secret").map(|secret| secret.as_bytes().to_vec()),
            Algorithm::Public(_) | Algorithm::P521 => {
                field("rsa_public_key").and_then(signature::public_key)
            }
        };
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return Err(self.invalid("Invalid key/secret"));
        };
        if algorithm.verify(&key, token.signed.as_bytes(), &token.signature) {
            Ok(())
        } else {
            Err(self.invalid("Invalid signature"))
        }
    }

    /// Checks the times that are to be checked: those of RFC 7519, section 4.1.
    fn check_times(&self, token: &Token<'_>) -> Result<(), Refusal> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as f64;
        let mut errors = Map::new();
        for name in self.claims_to_verify.iter().flatten() {
            let error = match (token.claims.get(name).and_then(Json::as_f64), name.as_str()) {
                (None, _) => "must be a number",
                (Some(exp), "exp") if exp <= now => "token expired",
                (Some(nbf), "nbf") if nbf > now => "token not valid yet",
                (Some(_), _) => continue,
            };
            errors.insert(name.clone(), error.into());
        }
        let most = self.maximum_expiration.unwrap_or_default();
        let exp = token.claims.get("exp").and_then(Json::as_f64);
        if errors.is_empty() && most > 0.0 && exp.is_none_or(|exp| exp - now > most) {
            errors.insert("exp".to_owned(), "exceeds maximum allowed expiration".into());
        }
        if errors.is_empty() { Ok(()) } else { Err(self.refuse(&errors.into(), INVALID)) }
    }

    fn invalid(&self, message: &str) -> Refusal {
        self.refuse(&json!({ "message": message }), INVALID)
    }

    /// A refusal is JSON whatever the client accepts.
    fn refuse(&self, body: &Json, error: Option<&str>) -> Refusal {
        let realm = self.realm.as_ref();
        let mut scheme = scheme("Bearer", self.realm.as_deref());
        if let Some(error) = error {
            let base = String::from_utf8_lossy(scheme.as_bytes());
            let comma = if realm.is_some() { "," } else { "" };
            scheme = format!("{base}{comma} error=\"{error}\"").try_into().unwrap_or(scheme);
        }
        Answer::json(StatusCode::UNAUTHORIZED, body).with(WWW_AUTHENTICATE, scheme).into()
    }
}

/// The error that a refusal names where there was a token (RFC 6750, section 3.1).
const INVALID: Option<&str> = Some("invalid_token");

/// The first cookie of that name; as in nginx, case does not count.
fn cookie(exchange: &Exchange, name: &str) -> Option<Value> {
    let mut lines = exchange.request.headers.get_all("cookie").iter();
    lines.find_map(|line| {
        // What other cookies are written in is no matter.
        let line = String::from_utf8_lossy(line.as_bytes());
        line.split(';').find_map(|cookie| {
            let (key, value) = cookie.trim().split_once('=')?;
            key.eq_ignore_ascii_case(name).then(|| value.into())
        })
    })
}

#[cfg(test)]
mod tests;
