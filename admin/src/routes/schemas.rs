//! `/schemas/…`: what entities and plugins are made of, and whether a value fits
//! (`kong/api/routes/kong.lua`).

use http::StatusCode;
use silverback_model::{
    errors::Fault,
    schema::{Mode, Schema},
};

use crate::{Answer, Request, Service};

/// The schema of a kind of entity.
pub(super) fn entity(service: &Service, _: &Request, parameters: &[String]) -> Answer {
    match service.schema(&parameters[0]) {
        Some(schema) => Answer::ok(schema.to_json()),
        None => no_entity(&parameters[0]),
    }
}

/// The schema of a plugin.
pub(super) fn plugin(service: &Service, _: &Request, parameters: &[String]) -> Answer {
    let name = &parameters[0];
    match service.registry.get(name) {
        Some(plugin) => Answer::ok(plugin.schema.to_json()),
        None => {
            let text = format!("No plugin named '{name}'");
            Answer::message(StatusCode::NOT_FOUND, &text)
        }
    }
}

/// Whether an entity fits its schema.
pub(super) fn validate(service: &Service, request: &Request, parameters: &[String]) -> Answer {
    match service.schema(&parameters[0]) {
        Some(schema) => validated(schema, request),
        None => no_entity(&parameters[0]),
    }
}

/// Whether a plugin's configuration fits its schema.
pub(super) fn validate_plugin(service: &Service, request: &Request, _: &[String]) -> Answer {
    match service.schema("plugins") {
        Some(schema) => validated(schema, request),
        None => no_entity("plugins"),
    }
}

fn validated(schema: &Schema, request: &Request) -> Answer {
    let outcome = request.fields().map(|fields| schema.process(fields, Mode::Insert));
    match outcome {
        Err(refusal) => refusal.into(),
        Ok(Ok(_)) => Answer::message(StatusCode::OK, "schema validation successful"),
        Ok(Err(errors)) => Answer::fault(&Fault::schema_violation(errors)),
    }
}

fn no_entity(name: &str) -> Answer {
    Answer::message(StatusCode::NOT_FOUND, &format!("No entity named '{name}'"))
}
