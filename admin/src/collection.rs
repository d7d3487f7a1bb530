//! What every kind of entity has: lists, single entities, and what stands below or behind them
//! (`kong/api/endpoints.lua`).
//!
//! Writing needs a database; without one it is refused as Kong refuses it, after the body has
//! been validated and the parents have been found (`kong/db/strategies/off/init.lua`).

use std::sync::Arc;

use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use silverback_model::{
    Record,
    errors::{Errors, Fault},
    schema::{Mode, Schema},
    set::{PageQuery, TagFilter, TagFilterError},
};
use uuid::Uuid;

use crate::{
    Answer, Refusal, Request, Service,
    paths::{Endpoint, Relation},
    routes,
};

/// How many entities a page may have at the most.
const PAGE_SIZE_MAX: f64 = 1000.0;

/// Answers at a generated path.
pub(crate) fn answer(
    service: &Service,
    endpoint: &Endpoint,
    request: &Request,
    method: &Method,
    parameters: &[String],
) -> Answer {
    let outcome = match endpoint {
        Endpoint::Collection(schema) => collection(service, schema, request, method),
        Endpoint::Entity(schema) => entity(service, schema, request, method, &parameters[0]),
        Endpoint::Nested(relation) => nested(service, relation, request, method, &parameters[0]),
        Endpoint::NestedEntity(relation) => {
            nested_entity(service, relation, request, method, parameters)
        }
        Endpoint::Foreign(relation) => foreign(service, relation, request, method, &parameters[0]),
        Endpoint::Own(_) => Err(Answer::not_found().into()),
    };
    outcome.unwrap_or_else(Answer::from)
}

/// An answer, or one that says what is wrong.
type Outcome = Result<Answer, Refusal>;

fn collection(
    service: &Service,
    schema: &Arc<Schema>,
    request: &Request,
    method: &Method,
) -> Outcome {
    if method == Method::POST {
        validate(schema, request.fields()?)?;
        return Err(unsupported("create", schema, None).into());
    }
    if schema.name == "consumers"
        && let Some(custom_id) = request.argument("custom_id")
    {
        return by_custom_id(service, schema, custom_id);
    }
    page(service, schema, request, &format!("/{}", schema.collection()), None)
}

/// `/consumers?custom_id=x` (`kong/api/routes/consumers.lua`).
fn by_custom_id(service: &Service, schema: &Schema, custom_id: &str) -> Outcome {
    if custom_id.is_empty() {
        let text = "custom_id must be an unempty string";
        return Err(Answer::message(StatusCode::BAD_REQUEST, text).into());
    }
    let entities = service.entities();
    let found = entities.of("consumers").by("custom_id", custom_id);
    let data: Vec<Value> = found.map(|record| show(service, schema, record)).into_iter().collect();
    Ok(Answer::ok(json!({ "data": data, "next": null })))
}

fn entity(
    service: &Service,
    schema: &Arc<Schema>,
    request: &Request,
    method: &Method,
    key: &str,
) -> Outcome {
    let found = select(service, schema, key)?;
    write_or_show(service, schema, request, method, key, found)
}

/// Shows an entity; says what a write of it would come to.
fn write_or_show(
    service: &Service,
    schema: &Arc<Schema>,
    request: &Request,
    method: &Method,
    key: &str,
    found: Option<Arc<Record>>,
) -> Outcome {
    let by = if is_uuid(key) { None } else { schema.endpoint_key.as_deref() };
    match *method {
        Method::GET => {
            let found = found.map(|entity| Answer::ok(show(service, schema, &entity)));
            Ok(found.unwrap_or_else(Answer::not_found))
        }
        Method::DELETE if found.is_none() => Ok(Answer::empty(StatusCode::NO_CONTENT)),
        Method::DELETE => Err(unsupported("remove", schema, by).into()),
        Method::PATCH => {
            let fields = request.fields()?;
            let existing = found.ok_or_else(|| missing(schema, key))?;
            let existing = silverback_model::shown(&existing);
            schema.process(fields, Mode::Update(&existing)).map_err(violation)?;
            Err(unsupported("update", schema, by).into())
        }
        _ => {
            let mut fields = request.fields()?;
            let named = by.unwrap_or("id");
            fields.insert(named.to_owned(), Value::from(key));
            validate(schema, fields)?;
            Err(unsupported("create or update", schema, by).into())
        }
    }
}

fn nested(
    service: &Service,
    relation: &Relation,
    request: &Request,
    method: &Method,
    parent_key: &str,
) -> Outcome {
    let parent = select(service, &relation.parent, parent_key)?.ok_or_else(Answer::not_found)?;
    let id = parent.get("id").and_then(Value::as_str).unwrap_or_default();
    if method == Method::POST {
        let mut fields = request.fields()?;
        fields.insert(relation.field.clone(), json!({ "id": id }));
        validate(&relation.child, fields)?;
        return Err(unsupported("create", &relation.child, None).into());
    }
    let path = format!(
        "/{}/{}/{}",
        relation.parent.collection(),
        utf8_percent_encode(parent_key, NON_ALPHANUMERIC),
        nested_name(&relation.child)
    );
    if relation.child.name == "targets" {
        return routes::page_of_targets(service, request, &path, id).map(Answer::ok);
    }
    page(service, &relation.child, request, &path, Some((&relation.field, id)))
}

fn nested_entity(
    service: &Service,
    relation: &Relation,
    request: &Request,
    method: &Method,
    keys: &[String],
) -> Outcome {
    let parent = select(service, &relation.parent, &keys[0])?.ok_or_else(Answer::not_found)?;
    let found = select(service, &relation.child, &keys[1])?
        .filter(|child| foreign_id(child, &relation.field) == parent.get("id"));
    // Below the wrong parent there is nothing, not even to be removed.
    if found.is_none() && method != Method::PUT {
        return Err(Answer::not_found().into());
    }
    write_or_show(service, &relation.child, request, method, &keys[1], found)
}

fn foreign(
    service: &Service,
    relation: &Relation,
    request: &Request,
    method: &Method,
    key: &str,
) -> Outcome {
    let child = select(service, &relation.child, key)?.ok_or_else(Answer::not_found)?;
    let id = foreign_id(&child, &relation.field).and_then(Value::as_str);
    let id = id.ok_or_else(Answer::not_found)?;
    if method == Method::DELETE {
        return Err(Answer::method_not_allowed().into());
    }
    let found = service.entities().of(&relation.parent.name).get(id).cloned();
    write_or_show(service, &relation.parent, request, method, id, found)
}

// === looking up ===

fn nested_name(schema: &Schema) -> &str {
    schema.admin_api_nested_name.as_deref().unwrap_or_else(|| schema.collection())
}

fn foreign_id<'a>(child: &'a Record, field: &str) -> Option<&'a Value> {
    child.get(field)?.get("id")
}

fn is_uuid(key: &str) -> bool {
    key.len() == 36 && Uuid::parse_str(key).is_ok()
}

/// The entity that a path's segment names: by id, or by the kind's endpoint key.
pub(crate) fn select(
    service: &Service,
    schema: &Schema,
    key: &str,
) -> Result<Option<Arc<Record>>, Refusal> {
    let entities = service.entities();
    if is_uuid(key) {
        return Ok(entities.of(&schema.name).get(&key.to_lowercase()).cloned());
    }
    // A certificate goes by the names that it is for.
    if schema.name == "certificates" {
        let sni = entities.of("snis").by("name", key);
        let id = sni.and_then(|sni| foreign_id(sni, "certificate")?.as_str());
        return Ok(id.and_then(|id| entities.of(&schema.name).get(id)).cloned());
    }
    match &schema.endpoint_key {
        Some(field) => Ok(entities.of(&schema.name).by(field, key).cloned()),
        None => {
            let wrong = Record::from_iter([("id".to_owned(), "expected a valid UUID".into())]);
            Err(Answer::fault(&Fault::invalid_primary_key(wrong)).into())
        }
    }
}

fn missing(schema: &Schema, key: &str) -> Answer {
    let by_name = if is_uuid(key) { None } else { schema.endpoint_key.as_deref() };
    let key = |field: &str| Record::from_iter([(field.to_owned(), Value::from(key))]);
    Answer::fault(&match by_name {
        Some(field) => Fault::not_found_by_field(key(field)),
        None => Fault::not_found(key("id")),
    })
}

/// An entity as the API shows it: a certificate with the names that it is for
/// (`kong/db/dao/certificates.lua`).
fn show(service: &Service, schema: &Schema, record: &Record) -> Value {
    let mut shown = silverback_model::shown(record);
    if schema.name == "certificates" {
        let id = record.get("id").and_then(Value::as_str).unwrap_or_default();
        let entities = service.entities();
        let snis = entities.of("snis").children("certificate", id);
        let names = snis.filter_map(|sni| sni.get("name").cloned()).collect();
        shown.insert("snis".to_owned(), names);
    }
    Value::Object(shown)
}

fn validate(schema: &Schema, fields: Record) -> Result<(), Refusal> {
    schema.process(fields, Mode::Insert).map_err(violation)?;
    Ok(())
}

fn violation(errors: Errors) -> Answer {
    Answer::fault(&Fault::schema_violation(errors))
}

fn unsupported(operation: &str, schema: &Schema, by: Option<&str>) -> Answer {
    let by = by.map(|field| format!(" by '{field}'")).unwrap_or_default();
    Answer::fault(&Fault::operation_unsupported(format!(
        "cannot {operation} '{}' entities{by} when not using a database",
        schema.name
    )))
}

// === lists ===

/// A page of a kind's entities, and where the next one is. Below a parent, tags are not looked
/// at, as in Kong.
fn page(
    service: &Service,
    schema: &Schema,
    request: &Request,
    path: &str,
    parent: Option<(&str, &str)>,
) -> Outcome {
    let tags = if parent.is_none() { tag_filter(schema, request)? } else { None };
    let query = PageQuery {
        size: page_size(request)?,
        offset: request.argument("offset"),
        tags: tags.as_ref(),
        parent,
    };
    let entities = service.entities();
    let page = entities.of(&schema.name).page(&query);
    let page = page
        .map_err(|error| Answer::fault(&Fault::invalid_offset(&error.0, "bad base64 encoding")))?;
    let data: Vec<Value> =
        page.records.iter().map(|record| show(service, schema, record)).collect();
    let mut answer = json!({ "data": data, "next": null });
    if let Some(offset) = page.next {
        let mut next = format!("{path}?offset={offset}");
        for name in ["size", "tags"] {
            if let Some(value) = request.argument(name) {
                next += &format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
            }
        }
        answer["next"] = Value::from(next);
        answer["offset"] = Value::from(offset);
    }
    Ok(Answer::ok(answer))
}

pub(crate) fn page_size(request: &Request) -> Result<usize, Refusal> {
    let Some(text) = request.argument("size") else { return Ok(PageQuery::default().size) };
    let refuse = |text: &str| Answer::fault(&Fault::invalid_size(text));
    let size: f64 = text.trim().parse().map_err(|_| refuse("size must be a number"))?;
    if !(1.0..=PAGE_SIZE_MAX).contains(&size) || size.fract() != 0.0 {
        return Err(refuse("size must be an integer between 1 and 1000").into());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(size as usize)
}

fn tag_filter(schema: &Schema, request: &Request) -> Result<Option<TagFilter>, Refusal> {
    if !schema.fields.contains_key("tags") {
        return Ok(None);
    }
    let text = request.argument("tags").or_else(|| request.argument("tags[]"));
    let Some(text) = text else { return Ok(None) };
    TagFilter::parse(text).map(Some).map_err(|error: TagFilterError| {
        Answer::fault(&Fault::invalid_options(Errors::of("tags", error.to_string()))).into()
    })
}
