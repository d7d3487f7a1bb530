//! What is configured: a struct for each kind of entity, one file each.
//!
//! The structs are for reading what a [`Schema`](crate::schema::Schema) has already processed:
//! they take its JSON, in which every field is present. Defaults come from the schemas, not
//! from serde: `Default` and absent fields give empty values.

use std::sync::{Arc, LazyLock};

use crate::schema::{HasSchema, Schema};

mod acl;
mod acme_storage;
mod basicauth_credential;
mod ca_certificate;
mod certificate;
mod consumer;
mod data_plane;
mod filter_chain;
mod hmacauth_credential;
mod jwt_secret;
mod key;
mod key_set;
mod keyauth_credential;
mod oauth2;
mod parameter;
mod plugin;
mod ratelimiting_metric;
mod route;
mod service;
mod session;
mod sni;
mod tag;
mod target;
mod upstream;
mod values;
mod vault;
mod workspace;

pub use acl::Acl;
pub use acme_storage::AcmeStorage;
pub use basicauth_credential::{BasicauthCredential, password_hash};
pub use ca_certificate::CaCertificate;
pub use certificate::Certificate;
pub use consumer::Consumer;
pub use data_plane::{CertDetails, DataPlane};
pub use filter_chain::{Filter, FilterChain};
pub use hmacauth_credential::HmacauthCredential;
pub use jwt_secret::JwtSecret;
pub use key::{Key, Pem};
pub use key_set::KeySet;
pub use keyauth_credential::KeyauthCredential;
pub use oauth2::{Oauth2AuthorizationCode, Oauth2Credential, Oauth2Token, secret_hash};
pub use parameter::Parameter;
pub use plugin::PluginEntity;
pub use ratelimiting_metric::RatelimitingMetric;
pub use route::{Endpoint, Route, with_expressions};
pub use service::Service;
pub use session::{Session, SessionMetadata};
pub use sni::Sni;
pub use tag::Tag;
pub use target::Target;
pub use upstream::{
    ActiveChecks, ActiveHealthy, ActiveUnhealthy, Healthchecks, PassiveChecks, PassiveHealthy,
    PassiveUnhealthy, Upstream,
};
pub(crate) use values::null_default;
pub use values::{Foreign, Protocol, Set};
pub use vault::{EnvVault, FileVault, Vault};
pub use workspace::Workspace;

/// The schema of every kind of entity, each after those that it refers to. That of plugins has no
/// subschemas: which plugins there are is for the node to say.
pub fn schemas() -> &'static [Arc<Schema>] {
    static SCHEMAS: LazyLock<Vec<Arc<Schema>>> = LazyLock::new(|| {
        [
            Workspace::schema,
            Parameter::schema,
            Tag::schema,
            Consumer::schema,
            Certificate::schema,
            CaCertificate::schema,
            Sni::schema,
            Service::schema,
            Route::schema,
            PluginEntity::schema,
            FilterChain::schema,
            Upstream::schema,
            Target::schema,
            Vault::schema,
            KeySet::schema,
            Key::schema,
            DataPlane::schema,
            Acl::schema,
            BasicauthCredential::schema,
            HmacauthCredential::schema,
            JwtSecret::schema,
            KeyauthCredential::schema,
            Oauth2Credential::schema,
            Oauth2AuthorizationCode::schema,
            Oauth2Token::schema,
            Session::schema,
            SessionMetadata::schema,
            AcmeStorage::schema,
            RatelimitingMetric::schema,
        ]
        .map(|schema| Arc::new(schema()))
        .to_vec()
    });
    &SCHEMAS
}

/// The schema of this name.
pub fn schema(name: &str) -> Option<Arc<Schema>> {
    schemas().iter().find(|schema| schema.name == name).cloned()
}
