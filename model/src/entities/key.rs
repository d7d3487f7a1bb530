//! A key by itself, as JWK or PEM (kong/db/schema/entities/keys.lua).

use serde::Deserialize;
use serde_json::Value;
use silverback_macros::{Config, Entity};
use uuid::Uuid;

use crate::entities::{Foreign, KeySet, Set, null_default};
use crate::is_reference;
use crate::schema::Schema;
use crate::schema::values::{matching_keys, private_key, public_key};

/// A key by itself, as JWK or PEM.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "keys",
    endpoint_key = "name",
    workspaceable,
    cache_key("kid", "set"),
    with = rules
)]
#[serde(default)]
pub struct Key {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// The key set it belongs to.
    #[field(required = false, on_delete = "cascade")]
    pub set: Option<Foreign<KeySet>>,
    /// A unique name.
    #[field(required = false, unique)]
    pub name: Option<String>,
    /// The key's id.
    #[field(unique = false)]
    pub kid: String,
    /// The key as JSON Web Key.
    #[field(referenceable, encrypted)]
    pub jwk: Option<String>,
    /// The key as PEM.
    #[field(required = false)]
    pub pem: Option<Pem>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// When it was updated, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub updated_at: i64,
}

/// The halves of a key in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Config)]
#[record(at_least_one_of("private_key", "public_key"))]
#[serde(default)]
pub struct Pem {
    /// The private key.
    #[field(required = false, referenceable, encrypted)]
    pub private_key: Option<String>,
    /// The public key.
    #[field(required = false, referenceable)]
    pub public_key: Option<String>,
}

/// What else keys.lua asks: one of the two formats, of a key that can be read.
fn rules(mut schema: Schema) -> Schema {
    if let Some(pem) = schema.fields.get_mut("pem") {
        *pem = pem.clone().custom_value(check_pem);
    }
    schema.mutually_exclusive(["jwk", "pem"]).at_least_one_of(["jwk", "pem"]).custom_check(
        &["jwk", "pem", "kid"],
        |entity| match entity.get("jwk") {
            Some(Value::String(jwk)) if !is_reference(jwk) => check_jwk(jwk, entity.get("kid")),
            _ => Ok(()),
        },
    )
}

fn check_jwk(jwk: &str, kid: Option<&Value>) -> Result<(), String> {
    let jwk: Value =
        serde_json::from_str(jwk).map_err(|_| "could not json decode jwk string".to_owned())?;
    if jwk.get("kid") != kid {
        return Err("kid in jwk.kid must be equal to keys.kid".to_owned());
    }
    let needed: &[&str] = match jwk.get("kty").and_then(Value::as_str) {
        Some("RSA") => &["n", "e"],
        Some("EC") => &["crv", "x", "y"],
        Some("OKP") => &["crv", "x"],
        Some("oct") => &["k"],
        _ => return Err("could not load JWK, likely not a valid key".to_owned()),
    };
    let is_part = |name: &&str| {
        let part = jwk.get(*name).and_then(Value::as_str);
        part.is_some_and(|text| !text.is_empty())
    };
    if needed.iter().all(is_part) {
        return Ok(());
    }
    Err("could not load JWK, likely not a valid key".to_owned())
}

fn check_pem(value: &Value) -> Result<(), String> {
    let half = |name: &str| value.get(name).and_then(Value::as_str);
    let (public, private) = (half("public_key"), half("private_key"));
    if [public, private].into_iter().flatten().any(is_reference) {
        return Ok(());
    }
    let public = public.map(public_key).transpose();
    let public = public.map_err(|_| "could not load public key".to_owned())?;
    let private = private.map(private_key).transpose();
    let private = private.map_err(|_| "could not load private key".to_owned())?;
    match (public, private) {
        (Some(public), Some(private)) if !matching_keys(&public, &private) => {
            Err("public key does not match private key".to_owned())
        }
        _ => Ok(()),
    }
}
