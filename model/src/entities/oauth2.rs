//! What the oauth2 plugin keeps (kong/plugins/oauth2/daos.lua).

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::pbkdf2;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use serde_json::Value;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::Record;
use crate::entities::{Consumer, Foreign, PluginEntity, Service, Set, null_default};
use crate::schema::{Schema, Transformation};

/// An application that asks for tokens on behalf of users.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "oauth2_credentials",
    endpoint_key = "client_id",
    workspaceable,
    cache_key("client_id"),
    admin_api_name = "oauth2",
    with = rules
)]
#[serde(default)]
pub struct Oauth2Credential {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// The consumer whose credential it is.
    #[field(on_delete = "cascade")]
    pub consumer: Foreign<Consumer>,
    /// The application's name.
    pub name: String,
    /// Its id.
    #[field(required = false, unique, auto)]
    pub client_id: Option<String>,
    /// Its secret, hashed if `hash_secret` says so.
    #[field(required = false, auto, encrypted)]
    pub client_secret: Option<String>,
    /// Whether the secret is kept as a hash.
    #[field(default = false)]
    pub hash_secret: bool,
    /// Where users may be sent back to.
    #[field(required = false, elements(custom = crate::schema::values::redirect_uri))]
    #[serde(deserialize_with = "null_default")]
    pub redirect_uris: Vec<String>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
    /// Whether it can keep a secret: `confidential` or `public`.
    #[field(default = "confidential", one_of("confidential", "public"))]
    pub client_type: String,
}

/// A code that an application trades for a token.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "oauth2_authorization_codes",
    ttl,
    workspaceable,
    generate_admin_api = false,
    db_export = false
)]
#[serde(default)]
pub struct Oauth2AuthorizationCode {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// The service it is good for, absent if for all.
    #[field(default = null, on_delete = "cascade")]
    pub service: Option<Foreign<Service>>,
    /// The application.
    #[field(on_delete = "cascade")]
    pub credential: Foreign<Oauth2Credential>,
    /// The code.
    #[field(required = false, unique, auto)]
    pub code: Option<String>,
    /// The user, as the application that authenticates them calls them.
    #[field(required = false)]
    pub authenticated_userid: Option<String>,
    /// What the token will be good for.
    pub scope: Option<String>,
    /// The PKCE challenge.
    #[field(required = false)]
    pub challenge: Option<String>,
    /// How the challenge was made.
    #[field(required = false, one_of("S256"))]
    pub challenge_method: Option<String>,
    /// The plugin that gave it out.
    #[field(default = null, on_delete = "cascade")]
    pub plugin: Option<Foreign<PluginEntity>>,
}

/// A token that an application shows.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "oauth2_tokens",
    endpoint_key = "access_token",
    cache_key("access_token"),
    ttl,
    workspaceable
)]
#[serde(default)]
pub struct Oauth2Token {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// The service it is good for, absent if for all.
    #[field(default = null, on_delete = "cascade")]
    pub service: Option<Foreign<Service>>,
    /// The application.
    #[field(on_delete = "cascade")]
    pub credential: Foreign<Oauth2Credential>,
    /// Always `bearer`.
    #[field(default = "bearer", one_of("bearer"))]
    pub token_type: String,
    /// Seconds from its creation until it expires; 0 means never.
    pub expires_in: i64,
    /// The token.
    #[field(required = false, unique, auto)]
    pub access_token: Option<String>,
    /// The token that brings a new one.
    #[field(required = false, unique)]
    pub refresh_token: Option<String>,
    /// The user, as the application that authenticates them calls them.
    #[field(required = false)]
    pub authenticated_userid: Option<String>,
    /// What it is good for.
    pub scope: Option<String>,
}

/// The secret is kept as a hash if so wished (kong/plugins/oauth2/secret.lua).
fn rules(schema: Schema) -> Schema {
    let hash = |args: &[Value]| match args {
        [Value::Bool(true), Value::String(secret)] => {
            let hash = secret_hash(secret).ok_or("no source of randomness")?;
            Ok(Record::from_iter([("client_secret".to_owned(), hash.into())]))
        }
        _ => Ok(Record::new()),
    };
    schema.transformation(Transformation::new(&["hash_secret"], &["client_secret"], hash))
}

/// Rounds of PBKDF2.
const ROUNDS: NonZeroU32 = NonZeroU32::new(10_000).expect("not zero");

/// A secret's hash in PHC format: PBKDF2 with SHA-512, a salt of 16 bytes, 32 bytes long. `None`
/// without a source of randomness.
pub fn secret_hash(secret: &str) -> Option<String> {
    let mut salt = [0; 16];
    SystemRandom::new().fill(&mut salt).ok()?;
    let mut hash = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, ROUNDS, &salt, secret.as_bytes(), &mut hash);
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    Some(format!("$pbkdf2-sha512$i={ROUNDS},l=32${salt}${hash}"))
}
