//! A certificate authority to trust (kong/db/schema/entities/ca_certificates.lua).

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::Value;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::Record;
use crate::entities::{Set, null_default};
use crate::schema::values::{certificate_info, sha256_hex};
use crate::schema::{Schema, Transformation};

/// A certificate authority to trust.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "ca_certificates", with = rules)]
#[serde(default)]
pub struct CaCertificate {
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
    /// One certificate in PEM.
    #[field(typedef = certificate)]
    pub cert: String,
    /// SHA-256 of the certificate, in hexadecimal; made by the gateway.
    #[field(unique)]
    pub cert_digest: Option<String>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// What else ca_certificates.lua asks: one certificate, of an authority, that is still valid. Its
/// digest is made here.
fn rules(schema: Schema) -> Schema {
    let digest = Transformation::new(&["cert"], &[], |args| {
        let pem = args.first().and_then(Value::as_str).unwrap_or_default();
        let digest = sha256_hex(pem).ok_or("cannot create digest value of certificate")?;
        Ok(Record::from_iter([("cert_digest".to_owned(), digest.into())]))
    });
    schema.transformation(digest).custom_check(&["cert"], |entity| {
        let pem = entity.get("cert").and_then(Value::as_str).unwrap_or_default();
        if pem.matches(BEGIN).count() > 1 {
            return Err("please submit only one certificate at a time".to_owned());
        }
        let Some(info) = certificate_info(pem) else { return Ok(()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        if info.not_after < i64::try_from(now).unwrap_or(i64::MAX) {
            return Err("certificate expired, \"Not After\" time is in the past".to_owned());
        }
        if info.is_ca {
            return Ok(());
        }
        Err("certificate does not appear to be a CA because it is missing the \"CA\" basic \
             constraint"
            .to_owned())
    })
}
