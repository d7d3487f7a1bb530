//! A name and password of a consumer (kong/plugins/basic-auth/daos.lua).

use serde::Deserialize;
use serde_json::Value;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::Record;
use crate::entities::{Consumer, Foreign, Set, null_default};
use crate::schema::{Schema, Transformation};

/// A name and password of a consumer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "basicauth_credentials",
    endpoint_key = "username",
    workspaceable,
    cache_key("username"),
    admin_api_name = "basic-auths",
    admin_api_nested_name = "basic-auth",
    with = rules
)]
#[serde(default)]
pub struct BasicauthCredential {
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
    /// The name.
    #[field(unique)]
    pub username: String,
    /// SHA-1 of the password followed by the consumer's id, in hexadecimal.
    #[field(encrypted)]
    pub password: String,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
}

/// The password is kept as a hash, salted with the consumer's id
/// (kong/plugins/basic-auth/crypto.lua).
fn rules(schema: Schema) -> Schema {
    let hash = |args: &[Value]| {
        let [Value::String(password), Value::String(consumer)] = args else {
            return Err("password and consumer are needed".to_owned());
        };
        let hash = password_hash(consumer, password);
        Ok(Record::from_iter([("password".to_owned(), hash.into())]))
    };
    schema.transformation(Transformation::new(&["password"], &["consumer.id"], hash))
}

/// SHA-1 of the password followed by the consumer's id, in hexadecimal: what a credential keeps.
pub fn password_hash(consumer_id: &str, password: &str) -> String {
    let salted = format!("{password}{consumer_id}");
    let algorithm = &ring::digest::SHA1_FOR_LEGACY_USE_ONLY;
    let digest = ring::digest::digest(algorithm, salted.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
