//! `/schemas/…`: what entities and plugins are made of, and whether a value fits
//! (`kong/api/routes/kong.lua`).

use http::StatusCode;
use silverback_model::{
    errors::Fault,
    schema::{Mode, Schema},
};
use silverback_pdk::Plugin;

use crate::{
    Answer, Refusal,
    call::{Call, Outcome},
};

/// The schema of a kind of entity.
pub(super) fn entity(call: &Call<'_>) -> Outcome {
    Ok(Answer::ok(schema_of(call, call.parameter(0))?.to_json()))
}

/// The schema of a plugin.
pub(super) fn plugin(call: &Call<'_>) -> Outcome {
    Ok(Answer::ok(registered(call)?.schema.to_json()))
}

/// The schema of a kind of vault.
pub(super) fn vault(call: &Call<'_>) -> Outcome {
    let name = call.parameter(0);
    let schema = schema_of(call, "vaults")?.subschemas.get(name);
    let schema = schema.ok_or_else(|| not_found(format!("No vault named '{name}'")))?;
    Ok(Answer::ok(schema.to_json()))
}

/// The schema of a filter of WebAssembly, of which there are none.
pub(super) fn filter(call: &Call<'_>) -> Outcome {
    Err(not_found(format!("Filter '{}' not found", call.parameter(0))))
}

/// Whether an entity fits its schema.
pub(super) fn validate(call: &Call<'_>) -> Outcome {
    validated(call, call.parameter(0))
}

/// Whether a plugin's configuration fits its schema.
pub(super) fn validate_plugin(call: &Call<'_>) -> Outcome {
    validated(call, "plugins")
}

/// Whether a vault's configuration fits its schema.
pub(super) fn validate_vault(call: &Call<'_>) -> Outcome {
    validated(call, "vaults")
}

fn validated(call: &Call<'_>, kind: &str) -> Outcome {
    let mut fields = call.request.fields()?;
    let schema = schema_of(call, kind)?;
    call.request.infer(&mut fields, schema);
    schema.process(fields, Mode::Insert).map_err(Fault::schema_violation)?;
    Ok(Answer::message(StatusCode::OK, "schema validation successful"))
}

fn schema_of<'a>(call: &Call<'a>, kind: &str) -> Result<&'a Schema, Refusal> {
    let schema = call.service.schema(kind).map(|schema| &**schema);
    schema.ok_or_else(|| not_found(format!("No entity named '{kind}'")))
}

/// The plugin that the path names.
pub(super) fn registered<'a>(call: &Call<'a>) -> Result<&'a Plugin, Refusal> {
    let name = call.parameter(0);
    let plugin = call.service.registry.get(name).map(|plugin| &**plugin);
    plugin.ok_or_else(|| not_found(format!("No plugin named '{name}'")))
}

#[expect(clippy::needless_pass_by_value, reason = "made for it")]
fn not_found(text: String) -> Refusal {
    Answer::message(StatusCode::NOT_FOUND, &text).into()
}
