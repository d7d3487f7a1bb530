//! A certificate with its key, shown to clients or upstreams
//! (kong/db/schema/entities/certificates.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::Record;
use crate::entities::{Set, null_default};
use crate::schema::Schema;
use crate::schema::values::{key_of_certificate, matching_keys, private_key};

/// A certificate with its key, shown to clients or upstreams.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "certificates", workspaceable, with = rules)]
#[serde(default)]
pub struct Certificate {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// When it was updated, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub updated_at: i64,
    /// The chain in PEM, the leaf first.
    #[field(typedef = certificate, referenceable)]
    pub cert: String,
    /// The private key in PEM.
    #[field(typedef = key, referenceable, encrypted)]
    pub key: String,
    /// A second chain, of another kind of key.
    #[field(typedef = certificate, required = false, referenceable)]
    pub cert_alt: Option<String>,
    /// The private key of the second chain.
    #[field(typedef = key, required = false, referenceable, encrypted)]
    pub key_alt: Option<String>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
    /// Server names it is for; these become SNI entities.
    #[field(required = false, transient, elements(typedef = wildcard_host))]
    #[serde(deserialize_with = "null_default")]
    pub snis: Vec<String>,
}

/// What else certificates.lua asks: keys fit certificates, and the two chains differ in kind.
fn rules(schema: Schema) -> Schema {
    schema
        .mutually_required(["cert_alt", "key_alt"])
        .custom_check(&["cert", "key"], |entity| {
            fits(entity, "cert", "key", "certificate does not match key")
        })
        .custom_check(&["cert_alt", "key_alt"], |entity| {
            let err = "alternative certificate does not match key";
            fits(entity, "cert_alt", "key_alt", err)
        })
        .custom_check(&["cert", "cert_alt"], |entity| {
            let kind = |name| key_of_certificate(text(entity, name)?).map(|key| key.kind);
            match (kind("cert"), kind("cert_alt")) {
                (Some(one), Some(other)) if one == other => {
                    Err("certificate and alternative certificate need to have different type \
                     (e.g. RSA and ECDSA), the provided certificates were both of the same type"
                        .to_owned())
                }
                _ => Ok(()),
            }
        })
}

fn text<'a>(entity: &'a Record, name: &str) -> Option<&'a str> {
    entity.get(name)?.as_str()
}

fn fits(entity: &Record, certificate: &str, key: &str, err: &str) -> Result<(), String> {
    let certificate = text(entity, certificate).and_then(key_of_certificate);
    let key = text(entity, key).and_then(|pem| private_key(pem).ok());
    match (certificate, key) {
        (Some(one), Some(other)) if !matching_keys(&one, &other) => Err(err.to_owned()),
        _ => Ok(()),
    }
}
