//! What few kinds have of their own: consumers (`kong/api/routes/consumers.lua`), certificates
//! (`certificates.lua`), plugins (`plugins.lua`), and groups of consumers
//! (`kong/plugins/acl/api.lua`).

use http::{Method, StatusCode};
use serde_json::{Value, json};
use silverback_model::{Record, errors::Fault, schema::Schema};
use silverback_store::Key;
use uuid::Uuid;

use super::{
    lookup::{Named, id_of, is_id},
    show,
};
use crate::{Answer, Refusal, call::Call};

/// `/consumers?custom_id=x`: the consumer of that id, in a list.
pub(super) async fn by_custom_id(
    call: &Call<'_>,
    schema: &Schema,
) -> Result<Option<Answer>, Refusal> {
    let custom_id = call.request.argument("custom_id").filter(|_| schema.name == "consumers");
    let Some(custom_id) = custom_id else { return Ok(None) };
    if custom_id.is_empty() {
        let text = "custom_id must be an unempty string";
        return Err(Answer::message(StatusCode::BAD_REQUEST, text).into());
    }
    let found = call.service.store.select("consumers", Key::Unique("custom_id", custom_id)).await?;
    let data: Vec<Value> = found.iter().map(|record| show(call, schema, record)).collect();
    Ok(Some(Answer::ok(json!({ "data": data, "next": null }))))
}

/// Completes the fields of a change before they are read by the schema.
pub(super) async fn prepare(
    call: &Call<'_>,
    schema: &Schema,
    named: &Named,
    segment: &str,
    fields: &mut Record,
) -> Result<(), Refusal> {
    match schema.name.as_str() {
        "plugins" if call.method == Method::PATCH => name_plugin(call, named, fields).await,
        "certificates" if [Method::PATCH, Method::PUT].contains(call.method) => {
            name_certificate(call, segment, fields);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// An entity has its id for good: a change that names another finds nothing to change.
pub(super) async fn keeps_id(
    call: &Call<'_>,
    schema: &Schema,
    named: &Named,
    fields: &Record,
) -> Result<(), Refusal> {
    let Some(id) = fields.get("id").and_then(Value::as_str).filter(|id| is_id(id)) else {
        return Ok(());
    };
    match call.service.store.select(&schema.name, named.key()).await? {
        Some(found) if !id.eq_ignore_ascii_case(id_of(&found)) => {
            let key = Record::from_iter([("id".to_owned(), id_of(&found).into())]);
            Err(Fault::not_found(key).into())
        }
        _ => Ok(()),
    }
}

/// A change of a plugin that does not say which one it is of says so from now on: what its
/// configuration means depends on it.
async fn name_plugin(call: &Call<'_>, named: &Named, fields: &mut Record) -> Result<(), Refusal> {
    if !fields.get("name").is_none_or(Value::is_null) {
        return Ok(());
    }
    let plugin = call.service.store.select("plugins", named.key()).await?;
    let plugin = plugin.ok_or_else(Answer::not_found)?;
    if let Some(name) = plugin.get("name") {
        fields.insert("name".to_owned(), name.clone());
    }
    Ok(())
}

/// PUT by a name adds it to the names that the certificate is for, if there are others; without
/// others it is for none. One name is a list of one.
fn name_certificate(call: &Call<'_>, segment: &str, fields: &mut Record) {
    let puts = call.method == Method::PUT;
    let own = (puts && !is_id(segment)).then(|| Value::from(segment));
    match fields.get_mut("snis") {
        Some(Value::Array(names)) => names.extend(own.filter(|own| !names.contains(own))),
        Some(name @ Value::String(_)) if name.as_str() != Some("") => {
            let mut names = vec![name.take()];
            names.extend(own.filter(|own| !names.contains(own)));
            *name = Value::Array(names);
        }
        None if puts => {
            fields.insert("snis".to_owned(), Value::Null);
        }
        _ => {}
    }
}

/// Below a consumer a group goes by its name. PUT gives the consumer that group.
pub(super) async fn name_below(
    call: &Call<'_>,
    schema: &Schema,
    parent_id: &str,
    fields: &mut Record,
) -> Result<Option<Named>, Refusal> {
    let group = call.parameter(1);
    if schema.name != "acls" || is_id(group) {
        return Ok(None);
    }
    let found = call.service.store.select("acls", Key::Cache(&[parent_id, group])).await?;
    let puts = call.method == Method::PUT;
    if puts && fields.get("group").is_none_or(Value::is_null) {
        fields.insert("group".to_owned(), group.into());
    }
    match found {
        Some(found) => Ok(Some(Named::Id(id_of(&found).to_owned()))),
        None if puts => Ok(Some(Named::Id(Uuid::new_v4().to_string()))),
        None => Err(identified_not_found().into()),
    }
}

/// The answer where there is no parent: for a group by its name, Kong's general error.
pub(super) fn no_parent(call: &Call<'_>, schema: &Schema, refusal: Refusal) -> Refusal {
    if schema.name == "acls" && !is_id(call.parameter(1)) && refusal.status() == 404 {
        return identified_not_found().into();
    }
    refusal
}

/// 404 as `kong.response.error` gives it.
fn identified_not_found() -> Answer {
    let request_id = Uuid::new_v4().simple().to_string();
    let body = json!({ "message": "Not found", "request_id": request_id });
    Answer::json(StatusCode::NOT_FOUND, body)
}
