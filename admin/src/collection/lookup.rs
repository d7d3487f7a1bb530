//! Which entity a path's segment names: by id, or by the kind's endpoint key.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::Value;
use silverback_model::{Record, schema::Schema};
use silverback_store::Key;
use uuid::Uuid;

use crate::{Answer, Refusal, call::Call};

/// What names an entity, as [`Key`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// Its id.
    Id(String),
    /// A unique field (first) with its value (second).
    Unique(String, String),
}

impl Named {
    /// The key for the store.
    pub(crate) fn key(&self) -> Key<'_> {
        match self {
            Named::Id(id) => Key::Id(id),
            Named::Unique(field, value) => Key::Unique(field, value),
        }
    }
}

/// Whether a segment is an id.
pub(crate) fn is_id(segment: &str) -> bool {
    segment.len() == 36 && Uuid::try_parse(segment).is_ok()
}

/// The id of an entity.
pub(crate) fn id_of(record: &Record) -> &str {
    record.get("id").and_then(Value::as_str).unwrap_or_default()
}

/// Whether a field of an entity refers to the entity of this id.
pub(crate) fn is_below(record: &Record, field: &str, id: &str) -> bool {
    record.get(field).and_then(|parent| parent.get("id")?.as_str()) == Some(id)
}

/// What a segment names. A certificate goes by the names that it is for
/// (`kong/api/routes/certificates.lua`). What is neither an id nor can be another key is taken
/// for an id, and refused as such by the store.
///
/// # Errors
/// If no certificate has the name, unless PUT is about to make one.
pub(crate) async fn name(
    call: &Call<'_>,
    schema: &Schema,
    segment: &str,
) -> Result<Named, Refusal> {
    if !is_id(segment) && schema.name == "certificates" {
        return certificate(call, segment).await;
    }
    Ok(match Key::of(schema, segment) {
        Some(Key::Unique(field, value)) => Named::Unique(field.to_owned(), value.to_owned()),
        _ => Named::Id(segment.to_owned()),
    })
}

async fn certificate(call: &Call<'_>, name: &str) -> Result<Named, Refusal> {
    let sni = call.service.store.select("snis", Key::Unique("name", name)).await?;
    let id = sni.as_ref().and_then(|sni| sni.get("certificate")?.get("id")?.as_str());
    match id {
        Some(id) => Ok(Named::Id(id.to_owned())),
        None if call.method == Method::PUT => Ok(Named::Id(Uuid::new_v4().to_string())),
        None => Err(Answer::message(StatusCode::NOT_FOUND, "SNI not found").into()),
    }
}

/// The entity that a segment names.
///
/// # Errors
/// 404 if there is none.
pub(crate) async fn existing(
    call: &Call<'_>,
    schema: &Schema,
    segment: &str,
) -> Result<Arc<Record>, Refusal> {
    let named = name(call, schema, segment).await?;
    let found = call.service.store.select(&schema.name, named.key()).await?;
    found.ok_or_else(|| Answer::not_found().into())
}
