//! hmac-auth: who signs requests with the secret of a consumer may pass
//! (`kong/plugins/hmac-auth/`).

use std::{
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Version;
use regex::Regex;
use ring::{digest, hmac};
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::{Exchange, LogLevel, Plugin, Value};
use subtle::ConstantTimeEq;

use crate::{
    fields::base64_decode,
    identity::{
        Authenticator, Identity, Refusal, access, authenticate, call, consumer_of, find, header,
        scheme, unauthorized,
    },
    native::native,
};

pub(crate) fn plugin() -> Plugin {
    native::<HmacAuth>(1030).access_later(access::<HmacAuth>).build()
}

/// Lets requests pass that are signed with the secret of one of the consumers, after
/// draft-cavage-http-signatures.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "hmac-auth", no_consumer, protocols_http)]
struct HmacAuth {
    /// Whether the signature is taken out of the request that the upstream gets.
    #[field(required, default = false)]
    hide_credentials: bool,
    /// How far the request's date may be from ours, in seconds.
    #[field(default = 300, gt = 0)]
    clock_skew: Option<f64>,
    /// The id or username of the consumer as whom requests without a good signature pass. None:
    /// they are refused.
    anonymous: Option<String>,
    /// Whether the body must have the digest that the Digest header says.
    #[field(required, default = false)]
    validate_request_body: bool,
    /// The headers that must be signed, in the case in which clients write them.
    #[field(default = [])]
    enforce_headers: Option<Vec<String>>,
    /// The algorithms that may be used.
    #[field(
        default = ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"],
        elements(one_of("hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"))
    )]
    algorithms: Option<Vec<String>>,
    /// The realm that a refusal names.
    #[field(required = false)]
    realm: Option<String>,
}

/// No date that counts.
const NO_DATE: &str = "HMAC signature cannot be verified, a valid date or x-date header is \
                       required for HMAC Authentication";
/// Nothing that could be compared.
const NOT_VALID: &str = "HMAC signature cannot be verified";
/// Compared, and found different.
const NOT_SAME: &str = "HMAC signature does not match";

impl Authenticator for HmacAuth {
    fn anonymous(&self) -> Option<&str> {
        self.anonymous.as_deref()
    }

    async fn identify(&self, exchange: &mut Exchange) -> Result<(), Refusal> {
        let headers = &exchange.request.headers;
        if !headers.contains_key("authorization") && !headers.contains_key("proxy-authorization") {
            return Err(self.refuse(exchange, "Unauthorized"));
        }
        if !self.is_recent(exchange, "x-date") && !self.is_recent(exchange, "date") {
            return Err(self.refuse(exchange, NO_DATE));
        }
        let signature = self.take(exchange).and_then(|s| Some((self.algorithm(&s)?, s)));
        let Some((algorithm, signature)) = signature else {
            return Err(self.refuse(exchange, NOT_VALID));
        };
        let username = &signature.username;
        let credential = find(exchange, "hmacauth_credentials", "username", username).await?;
        let Some(credential) = credential else {
            return Err(self.refuse(exchange, NOT_VALID));
        };
        let secret = credential.get("secret").and_then(|secret| secret.as_str());
        if !secret.is_some_and(|secret| signature.is_by(exchange, secret, algorithm)) {
            return Err(self.refuse(exchange, NOT_SAME));
        }
        if self.validate_request_body && !has_its_digest(exchange).await {
            return Err(self.refuse(exchange, NOT_SAME));
        }
        let consumer = consumer_of(exchange, &credential).await?;
        authenticate(exchange, &Identity::of(consumer, Some(credential), "username"));
        Ok(())
    }
}

impl HmacAuth {
    fn is_recent(&self, exchange: &Exchange, name: &str) -> bool {
        let date = header(exchange, name).and_then(|date| httpdate::parse_http_date(&date).ok());
        let Some(date) = date else { return false };
        let seconds =
            |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as f64;
        (seconds(SystemTime::now()) - seconds(date)).abs() <= self.clock_skew.unwrap_or(300.0)
    }

    /// The signature of Proxy-Authorization, or else that of Authorization. The header it was
    /// looked for in last is removed if it is to be hidden.
    fn take(&self, exchange: &mut Exchange) -> Option<Signature> {
        let read = |name| header(exchange, name).and_then(|value| Signature::read(&value));
        let (name, signature) = match read("proxy-authorization") {
            Some(signature) => ("proxy-authorization", Some(signature)),
            None => ("authorization", read("authorization")),
        };
        if self.hide_credentials {
            exchange.request.headers.remove(name);
        }
        signature
    }

    /// The algorithm of a signature, if it is allowed and all is signed that must be.
    fn algorithm(&self, signature: &Signature) -> Option<hmac::Algorithm> {
        let mut enforced = self.enforce_headers.iter().flatten();
        let allowed = self.algorithms.iter().flatten().any(|name| *name == signature.algorithm);
        if !allowed || !enforced.all(|name| signature.headers.contains(name)) {
            return None;
        }
        match signature.algorithm.as_str() {
            "hmac-sha1" => Some(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            "hmac-sha256" => Some(hmac::HMAC_SHA256),
            "hmac-sha384" => Some(hmac::HMAC_SHA384),
            "hmac-sha512" => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    fn refuse(&self, exchange: &Exchange, text: &str) -> Refusal {
        unauthorized(exchange, text, &scheme("hmac", self.realm.as_deref())).into()
    }
}

/// What a header says of a signature.
#[derive(Debug)]
struct Signature {
    username: String,
    algorithm: String,
    /// What is signed, in order, in the case in which it is signed.
    headers: Vec<String>,
    /// In base64.
    signature: String,
}

impl Signature {
    fn read(header: &str) -> Option<Signature> {
        static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
        let shape = SHAPE.get_or_init(|| {
            let fields = ["username", "algorithm", "headers", "signature"];
            let fields = fields.map(|name| format!("{name}=\"(.+)\"")).join(r",\s*");
            Regex::new(&format!(r"[Hh]mac\s*{fields}")).ok()
        });
        let (_, [username, algorithm, headers, signature]) =
            shape.as_ref()?.captures(header)?.extract();
        Some(Signature {
            username: username.to_owned(),
            algorithm: algorithm.to_owned(),
            headers: headers.split(' ').map(str::to_owned).collect(),
            signature: signature.to_owned(),
        })
    }

    /// Whether it was made with this secret. The comparison takes the same time for all.
    fn is_by(&self, exchange: &Exchange, secret: &str, algorithm: hmac::Algorithm) -> bool {
        let key = hmac::Key::new(algorithm, secret.as_bytes());
        let signature = base64_decode(&self.signature);
        signature.is_some_and(|s| hmac::verify(&key, &self.signed(exchange), &s).is_ok())
    }

    /// What is signed: a line for each header.
    fn signed(&self, exchange: &Exchange) -> Vec<u8> {
        let request = &exchange.request;
        let lines = self.headers.iter().map(|name| {
            let value = request.headers.get(name.as_str());
            match (value, name.as_str()) {
                (Some(value), _) => [name.as_bytes(), b": ", value.as_bytes()].concat(),
                (None, "@request-target") => {
                    let method = request.method.as_str().to_lowercase();
                    format!("{name}: {method} {}", request.target).into_bytes()
                }
                (None, "request-line") => {
                    format!("{} {} {}", request.method, request.target, protocol(request.version))
                        .into_bytes()
                }
                (None, _) => format!("{name}:").into_bytes(),
            }
        });
        lines.collect::<Vec<_>>().join(&b'\n')
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// Whether the body has the digest that the Digest header says. Without one, it must be empty.
async fn has_its_digest(exchange: &mut Exchange) -> bool {
    let body = match call(exchange, "kong.request.get_raw_body").await {
        Value::Text(body) | Value::Binary(body) => body,
        _ => {
            silverback_pdk::log(LogLevel::Info, "hmac-auth", "the body can't be read");
            return false;
        }
    };
    match header(exchange, "digest") {
        None => body.is_empty(),
        Some(digest) => {
            let hash = STANDARD.encode(digest::digest(&digest::SHA256, &body));
            format!("SHA-256={hash}").as_bytes().ct_eq(digest.as_bytes()).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::testing::{Case, SECRET, run};

    const DATE: &str = "Wed, 05 Mar 2025 10:20:30 GMT";

    /// A header that signs `signed`.
    fn authorization(username: &str, names: &str, signed: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signature = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
        format!(
            "hmac username=\"{username}\", algorithm=\"hmac-sha256\", headers=\"{names}\", \
             signature=\"{signature}\""
        )
    }

    fn config(more: &Json) -> Json {
        let mut config = json!({"clock_skew": 3_155_760_000_u64});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    }

    #[test]
    fn signatures_are_checked() {
        let date = format!("date: {DATE}");
        let good = authorization("alice", "date", &date);
        let line = format!("{date}\nGET /a?b=1 HTTP/1.1");
        let target = format!("{date}\n@request-target: get /a?b=1\nx-none:");
        let refused = "401 hmac";
        let cases = [
            (json!({}), good.clone(), "next alice authorization"),
            (json!({"hide_credentials": true}), good.clone(), "next alice"),
            (json!({}), authorization("nobody", "date", &date), refused),
            (json!({}), authorization("alice", "date", "date: another"), refused),
            (
                json!({}),
                authorization("alice", "date request-line", &line),
                "next alice authorization",
            ),
            (
                json!({}),
                authorization("alice", "date @request-target x-none", &target),
                "next alice authorization",
            ),
            (json!({"enforce_headers": ["host"]}), good.clone(), refused),
            (json!({"algorithms": ["hmac-sha512"]}), good.clone(), refused),
            (json!({"clock_skew": 300}), good, refused),
            (json!({"realm": "signed"}), "Bearer x".to_owned(), "401 hmac realm=\"signed\""),
        ];
        for (more, authorization, expect) in cases {
            let case = Case::new(&config(&more)).request("GET", "/a?b=1");
            let case = case.headers(&[("date", DATE), ("authorization", &authorization)]);
            assert_eq!(run(&plugin(), case), expect, "{more} {authorization}");
        }
    }

    #[test]
    fn bodies_have_their_digest() {
        let config = config(&json!({"validate_request_body": true, "hide_credentials": true}));
        let digest = "SHA-256=qLiLgv6QoWBI64hR/jgkBTlc05Xa+qfKm+kOwA+Cpys=";
        let good = authorization("alice", "date", &format!("date: {DATE}"));
        let check = |headers: &[(&str, &str)], body: &'static str, expect: &str| {
            let case = Case::new(&config).headers(&[("date", DATE), ("authorization", &good)]);
            assert_eq!(run(&plugin(), case.headers(headers).body(body)), expect, "{body}");
        };
        check(&[("digest", digest)], "{\"amount\":10}", "next alice");
        check(&[("digest", digest)], "{\"amount\":99}", "401 hmac");
        check(&[], "{\"amount\":10}", "401 hmac");
        check(&[], "", "next alice");
    }
}
