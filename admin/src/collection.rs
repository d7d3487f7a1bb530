//! What every kind of entity has: lists, single entities, and what stands below or behind them
//! (`kong/api/endpoints.lua`).
//!
//! What a change is asked beyond the form of its request is for the store: whether it fits the
//! schema, whether it is unique, and whether there is a database to write it to.

pub(crate) mod lookup;
pub(crate) mod page;
mod special;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use silverback_model::{Record, schema::Schema};
use silverback_store::{Key, Options, ttl::TTL};
use uuid::Uuid;

use self::lookup::{Named, id_of, is_below};
use crate::{
    Answer, Refusal,
    call::{Call, Outcome},
    paths::{Endpoint, Relation},
};

/// Answers at a generated path.
pub(crate) async fn answer(call: &Call<'_>, endpoint: &Endpoint) -> Outcome {
    match endpoint {
        Endpoint::Collection(schema) if call.method == Method::POST => {
            create(call, schema, call.request.fields_for(schema)?).await
        }
        Endpoint::Collection(schema) => match special::by_custom_id(call, schema).await? {
            Some(answer) => Ok(answer),
            None => page::of_kind(call, schema).await,
        },
        Endpoint::Entity(schema) => entity(call, schema).await,
        Endpoint::Nested(relation) => nested(call, relation).await,
        Endpoint::NestedEntity(relation) => nested_entity(call, relation).await,
        Endpoint::Foreign(relation) => foreign(call, relation).await,
        Endpoint::Own(_) | Endpoint::Added(..) | Endpoint::Closed(..) => {
            Err(Answer::not_found().into())
        }
    }
}

async fn create(call: &Call<'_>, schema: &Schema, fields: Record) -> Outcome {
    let made = call.service.store.insert(&schema.name, fields, &Options::default()).await?;
    Ok(Answer::json(StatusCode::CREATED, show(call, schema, &made)))
}

async fn entity(call: &Call<'_>, schema: &Schema) -> Outcome {
    let mut fields = sent(call)?;
    let named = lookup::name(call, schema, call.parameter(0)).await?;
    special::prepare(call, schema, &named, call.parameter(0), &mut fields).await?;
    read_or_write(call, schema, &named, fields).await
}

/// The fields of a body; none where the method has none.
pub(crate) fn sent(call: &Call<'_>) -> Result<Record, Refusal> {
    match *call.method {
        Method::GET | Method::DELETE => Ok(Record::new()),
        _ => call.request.fields(),
    }
}

/// Does to an entity what the method says.
pub(crate) async fn read_or_write(
    call: &Call<'_>,
    schema: &Schema,
    named: &Named,
    mut fields: Record,
) -> Outcome {
    let (store, kind, key) = (&call.service.store, schema.name.as_str(), named.key());
    call.request.infer(&mut fields, schema);
    let options = Options::default();
    let found = match *call.method {
        Method::GET => store.select(kind, key).await?.ok_or_else(Answer::not_found)?,
        Method::DELETE => {
            store.delete(kind, key).await?;
            return Ok(Answer::empty(StatusCode::NO_CONTENT));
        }
        Method::PATCH => {
            special::keeps_id(call, schema, named, &fields).await?;
            store.update(kind, key, fields, &options).await?
        }
        _ => store.upsert(kind, key, fields, &options).await?,
    };
    Ok(Answer::ok(show(call, schema, &found)))
}

async fn nested(call: &Call<'_>, relation: &Relation) -> Outcome {
    let Relation { child, field, parent } = relation;
    let is_new = call.method == Method::POST;
    let mut fields = if is_new { call.request.fields_for(child)? } else { Record::new() };
    let parent = lookup::existing(call, parent, call.parameter(0)).await?;
    if is_new {
        fields.insert(field.clone(), json!({ "id": id_of(&parent) }));
        return create(call, child, fields).await;
    }
    page::below(call, relation, id_of(&parent)).await
}

async fn nested_entity(call: &Call<'_>, relation: &Relation) -> Outcome {
    let Relation { child, field, parent } = relation;
    let mut fields = sent(call)?;
    let parent = match lookup::existing(call, parent, call.parameter(0)).await {
        Ok(parent) => parent,
        Err(refusal) => return Err(special::no_parent(call, child, refusal)),
    };
    let segment = call.parameter(1);
    let named = match special::name_below(call, child, id_of(&parent), &mut fields).await? {
        Some(named) => named,
        None => lookup::name(call, child, segment).await?,
    };
    special::prepare(call, child, &named, segment, &mut fields).await?;
    if call.method == Method::PUT {
        fields.insert(field.clone(), json!({ "id": id_of(&parent) }));
        return read_or_write(call, child, &named, fields).await;
    }
    // Below the wrong parent there is nothing, not even to be removed.
    let found = call.service.store.select(&child.name, named.key()).await?;
    let found = found.filter(|found| is_below(found, field, id_of(&parent)));
    let found = found.ok_or_else(Answer::not_found)?;
    if call.method == Method::PATCH {
        fields.entry(field.clone()).or_insert_with(|| json!({ "id": id_of(&parent) }));
    }
    read_or_write(call, child, &Named::Id(id_of(&found).to_owned()), fields).await
}

async fn foreign(call: &Call<'_>, relation: &Relation) -> Outcome {
    let Relation { child, field, parent } = relation;
    let fields = sent(call)?;
    let child_entity = lookup::existing(call, child, call.parameter(0)).await?;
    let id = child_entity.get(field).and_then(|other| other.get("id")?.as_str());
    if let Some(id) = id {
        if call.method == Method::DELETE {
            return Err(Answer::method_not_allowed().into());
        }
        return read_or_write(call, parent, &Named::Id(id.to_owned()), fields).await;
    }
    if call.method != Method::PUT {
        return Err(Answer::not_found().into());
    }
    // What is made here is what the entity refers to from now on.
    let id = Uuid::new_v4().to_string();
    let answer = read_or_write(call, parent, &Named::Id(id.clone()), fields).await?;
    let reference = Record::from_iter([(field.clone(), json!({ "id": id }))]);
    let key = Key::Id(id_of(&child_entity));
    call.service.store.update(&child.name, key, reference, &Options::default()).await?;
    Ok(answer)
}

/// An entity as the API shows it: a certificate with the names that it is for
/// (`kong/db/dao/certificates.lua`). Without a database no life is shown that does not end.
pub(crate) fn show(call: &Call<'_>, schema: &Schema, record: &Record) -> Value {
    let mut shown = silverback_model::shown(record);
    if shown.get(TTL).is_some_and(Value::is_null) && !call.service.store.is_writable() {
        shown.shift_remove(TTL);
    }
    if schema.name == "certificates" {
        let entities = call.service.store.entities();
        let snis = entities.of("snis").children("certificate", id_of(record));
        let mut names: Vec<&str> = snis.filter_map(|sni| sni.get("name")?.as_str()).collect();
        names.sort_unstable();
        shown.insert("snis".to_owned(), json!(names));
    }
    Value::Object(shown)
}
