//! A key that a consumer signs tokens with (kong/plugins/jwt/daos.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

use crate::entities::{Consumer, Foreign, Set, null_default};
use crate::schema::values::{private_key, public_key};
use crate::schema::{Field, Schema};

/// A key that a consumer signs tokens with.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "jwt_secrets",
    endpoint_key = "key",
    workspaceable,
    cache_key("key"),
    admin_api_name = "jwts",
    admin_api_nested_name = "jwt",
    with = rules
)]
#[serde(default)]
pub struct JwtSecret {
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
    /// The claim that names this credential.
    #[field(required = false, unique, auto)]
    pub key: Option<String>,
    /// The shared secret of the HS algorithms.
    #[field(auto)]
    pub secret: Option<String>,
    /// The public key in PEM, of the other algorithms.
    pub rsa_public_key: Option<String>,
    /// How tokens are signed.
    #[field(
        default = "HS256",
        one_of(
            "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512",
            "PS256", "PS384", "PS512", "EdDSA"
        )
    )]
    pub algorithm: Option<String>,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
}

/// Algorithms with a public key need one.
fn rules(schema: Schema) -> Schema {
    let algorithms = ["^RS256$", "^RS384$", "^RS512$", "^PS256$", "^PS384$", "^PS512$", "^EdDSA$"];
    let with_key = Field::partial().match_any(algorithms, "");
    let key = Field::partial().required().custom(|pem| {
        public_key(pem)
            .or_else(|_| private_key(pem))
            .map(drop)
            .map_err(|_| "invalid key".to_owned())
    });
    schema.conditional("algorithm", with_key, "rsa_public_key", key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::{HasSchema, Mode};

    #[test]
    fn algorithms_are_those_of_kong() {
        let check = |algorithm: &str, expect: bool| {
            let input = json!({"consumer": {"id": Uuid::nil()}, "algorithm": algorithm});
            let input = input.as_object().cloned().unwrap_or_default();
            let made = JwtSecret::schema().process(input, Mode::Insert);
            assert_eq!(made.is_ok(), expect, "{algorithm}: {made:?}");
        };
        check("HS512", true);
        check("ES384", true);
        check("ES512", true);
        check("none", false);
    }
}
