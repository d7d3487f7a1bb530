//! A token, taken apart (RFC 7519, and RFC 7515 for its form).

use serde_json::{Map, Value};

use super::signature::Algorithm;
use crate::fields::base64url_decode;

/// A token, taken apart but not yet believed.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// How it says that it is signed.
    pub(super) algorithm: Algorithm,
    /// What it says.
    pub(super) claims: Map<String, Value>,
    /// What is signed.
    pub(super) signed: &'a str,
    /// The signature.
    pub(super) signature: Vec<u8>,
    header: Map<String, Value>,
}

impl Token<'_> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// Which part of it can't be read, in Kong's words.
    pub(super) fn read(text: &str) -> Result<Token<'_>, &'static str> {
        let mut parts = text.splitn(3, '.');
        let (Some(header), Some(claims), Some(signature)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err("invalid JSON");
        };
        let signed = text.get(..header.len() + 1 + claims.len()).unwrap_or_default();
        let (header, claims) = (json(header)?, json(claims)?);
        let Value::Object(header) = header else { return Err("invalid alg") };
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::from_name);
        let algorithm = algorithm.ok_or("invalid alg")?;
        let Value::Object(claims) = claims else { return Err("invalid claims") };
        let signature = base64url_decode(signature).ok_or("invalid signature")?;
        Ok(Token { algorithm, claims, signed, signature, header })
    }

    /// A claim, or else a field of the header. As in Lua, false counts as absent.
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        let mut places = [&self.claims, &self.header].into_iter().filter_map(|m| m.get(name));
        places.find(|value| **value != Value::Bool(false))
    }
}

fn json(part: &str) -> Result<Value, &'static str> {
    let bytes = base64url_decode(part).ok_or("invalid JSON")?;
    serde_json::from_slice(&bytes).map_err(|_| "invalid JSON")
}
