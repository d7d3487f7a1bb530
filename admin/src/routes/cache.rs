//! `/cache`: what is looked up by the keys of Kong's entity cache (`kong/api/routes/cache.lua`).
//!
//! Entities are kept in memory in step with the store, and so are the answers to look-ups: what a
//! key finds is what requests are served by. Where a server keeps them, throwing out means to ask
//! it again.

use std::sync::Arc;

use http::StatusCode;
use silverback_model::{Record, errors::Fault};
use silverback_store::Key;

use crate::{
    Answer, Service,
    call::{Call, Outcome},
    collection::show,
};

/// The entity of a key such as `consumers:<id>:::::<workspace>` (`kong/db/dao/init.lua`:
/// cache_key).
pub(super) async fn probe(call: &Call<'_>) -> Outcome {
    let mut parts = call.parameter(0).split(':');
    let kind = parts.next().unwrap_or_default();
    let Some(schema) = call.service.schema(kind) else { return Err(Answer::not_found().into()) };
    let values: Vec<&str> = parts.take(schema.cache_key.len().max(1)).collect();
    match find(call.service, kind, schema.cache_key.is_empty(), &values).await? {
        Some(found) => Ok(Answer::ok(show(call, schema, &found))),
        None => Err(Answer::not_found().into()),
    }
}

async fn find(
    service: &Service,
    kind: &str,
    by_id: bool,
    values: &[&str],
) -> Result<Option<Arc<Record>>, Fault> {
    match values.first() {
        None => Ok(None),
        Some(id) if by_id => match crate::collection::lookup::is_id(id) {
            true => service.store.select(kind, Key::Id(id)).await,
            false => Ok(None),
        },
        Some(_) => service.store.select(kind, Key::Cache(values)).await,
    }
}

/// Has everything read again.
pub(super) async fn purge(call: &Call<'_>) -> Outcome {
    call.service.store.forget(None).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// Has everything of a key's kind read again: which look-ups it was found by, a key does not say.
pub(super) async fn forget(call: &Call<'_>) -> Outcome {
    let kind = call.parameter(0).split(':').next().unwrap_or_default();
    if call.service.schema(kind).is_some() {
        call.service.store.forget(Some(kind)).await?;
    }
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}
