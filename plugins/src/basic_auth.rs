//! basic-auth: who knows the name and password of a consumer may pass
//! (`kong/plugins/basic-auth/`).

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use silverback_macros::Config;
use silverback_model::entities::password_hash;
use silverback_pdk::{Exchange, Plugin, Record};
use subtle::ConstantTimeEq;

use crate::{
    fields::base64_decode,
    identity::{
        Authenticator, Identity, Refusal, access, after_scheme, authenticate, consumer_of, find,
        header, owner, scheme, unauthorized,
    },
    native::native,
};

pub(crate) fn plugin() -> Plugin {
    native::<BasicAuth>(1100).access_later(access::<BasicAuth>).build()
}

/// Lets requests pass that carry the name and password of one of the consumers (RFC 7617).
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "basic-auth", no_consumer, protocols_http)]
struct BasicAuth {
    /// The id or username of the consumer as whom requests without a good password pass. None:
    /// they are refused.
    anonymous: Option<String>,
    /// Whether the password is taken out of the request that the upstream gets.
    #[field(required, default = false)]
    hide_credentials: bool,
    /// The realm that a refusal names.
    #[field(required, default = "service")]
    realm: String,
}

impl Authenticator for BasicAuth {
    fn anonymous(&self) -> Option<&str> {
        self.anonymous.as_deref()
    }

    /// Proxy-Authorization counts first; Authorization where that names nobody.
    async fn identify(&self, exchange: &mut Exchange) -> Result<(), Refusal> {
        let headers = &exchange.request.headers;
        if !headers.contains_key("authorization") && !headers.contains_key("proxy-authorization") {
            return Err(self.refuse(exchange));
        }
        let mut login = self.take(exchange, "proxy-authorization");
        let mut credential = load(exchange, login.as_ref()).await?;
        if credential.is_none() {
            login = self.take(exchange, "authorization");
            credential = load(exchange, login.as_ref()).await?;
        }
        // A password is hashed for names that nobody has, too: time does not tell them apart.
        let stored = credential.as_deref().and_then(|credential| credential.get("password"));
        let stored = stored.and_then(|hash| hash.as_str()).unwrap_or_default();
        let id = credential.as_deref().map_or(NOBODY, owner);
        let given = password_hash(id, login.as_ref().map_or("", |login| &login.password));
        let good = bool::from(stored.as_bytes().ct_eq(given.as_bytes()));
        match credential.filter(|_| good && login.is_some()) {
            None => Err(self.refuse(exchange)),
            Some(credential) => {
                let consumer = consumer_of(exchange, &credential).await?;
                authenticate(exchange, &Identity::of(consumer, Some(credential), "username"));
                Ok(())
            }
        }
    }
}

/// A salt as long as that of a consumer.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// What a header says.
#[derive(Debug, PartialEq)]
struct Login {
    username: String,
    password: String,
}

impl BasicAuth {
    /// What a header says; it is removed if it is to be hidden, whatever it says.
    fn take(&self, exchange: &mut Exchange, name: &str) -> Option<Login> {
        let login = header(exchange, name).and_then(|value| read(&value));
        if self.hide_credentials {
            exchange.request.headers.remove(name);
        }
        login
    }

    fn refuse(&self, exchange: &Exchange) -> Refusal {
        let scheme = scheme("Basic", Some(&self.realm));
        let text = silverback_pdk::kong::default_message(StatusCode::UNAUTHORIZED);
        unauthorized(exchange, &text, &scheme).into()
    }
}

async fn load(exchange: &Exchange, login: Option<&Login>) -> Result<Option<Arc<Record>>, Refusal> {
    match login {
        Some(login) => find(exchange, "basicauth_credentials", "username", &login.username).await,
        None => Ok(None),
    }
}

fn read(header: &str) -> Option<Login> {
    let encoded = after_scheme(header, ["Basic", "basic"])?.trim_start();
    let decoded = String::from_utf8(base64_decode(encoded)?).ok()?;
    let (username, password) = decoded.split_once(':').filter(|(name, _)| !name.is_empty())?;
    Some(Login { username: username.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, run};

    #[test]
    fn headers_are_read() {
        let check = |header: &str, expect: Option<(&str, &str)>| {
            let expect = expect.map(|(username, password)| Login {
                username: username.into(),
                password: password.into(),
            });
            assert_eq!(read(header), expect, "{header}");
        };
        check("Basic bmluYTphOmI6Yw==", Some(("nina", "a:b:c")));
        check("basic   bmluYTphOmI6Yw==", Some(("nina", "a:b:c")));
        check("BasicbmluYTphOmI6Yw==", Some(("nina", "a:b:c")));
        check("BASIC bmluYTphOmI6Yw==", None);
        check("Bearer abc", None);
        check("Basic !!!", None);
        check("Basic bm8tY29sb24taGVyZQ==", None);
        check("Basic OnB3", None);
    }

    #[test]
    fn names_and_passwords_are_checked() {
        let plain = serde_json::json!({});
        let hidden = serde_json::json!({"hide_credentials": true});
        let refused = "401 Basic realm=\"service\"";
        let cases = [
            (&plain, vec![], refused),
            (&plain, vec![("authorization", "Basic YWxpY2U6cHc=")], "next alice authorization"),
            (&hidden, vec![("authorization", "Basic YWxpY2U6cHc=")], "next alice"),
            (&plain, vec![("authorization", "Basic YWxpY2U6bm8=")], refused),
            (&plain, vec![("authorization", "Basic YWxpY2U6")], refused),
            (&plain, vec![("authorization", "Basic bm9ib2R5OnB3")], refused),
            (&plain, vec![("authorization", "Basic ")], refused),
            (
                &plain,
                vec![
                    ("proxy-authorization", "Basic bm9ib2R5OnB3"),
                    ("authorization", "Basic YWxpY2U6cHc="),
                ],
                "next alice authorization proxy-authorization",
            ),
            (
                &hidden,
                vec![("x-consumer-groups", "admins"), ("authorization", "Basic YWxpY2U6cHc=")],
                "next alice",
            ),
        ];
        for (config, headers, expect) in cases {
            assert_eq!(run(&plugin(), Case::new(config).headers(&headers)), expect, "{headers:?}");
        }
    }

    #[test]
    fn the_anonymous_consumer_is_for_the_unknown_not_for_faults() {
        let config = serde_json::json!({"anonymous": "alice"});
        assert_eq!(run(&plugin(), Case::new(&config)), "next alice anonymous");
        let fault = Case::new(&config).headers(&[("authorization", "Basic ZmF1bHQ6cHc=")]);
        assert_eq!(run(&plugin(), fault), "fail the store is away");
    }
}
