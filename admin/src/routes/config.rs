//! `/config`: the whole declarative configuration (`kong/api/routes/config.lua`).

use http::StatusCode;
use serde_json::{Value, json};
use silverback_model::declarative;

use crate::{
    Answer, Given, LoadError, Refusal, Request,
    answer::JSON,
    call::{Call, Outcome},
};

/// The configuration as a file that can be loaded again.
pub(super) fn show_file(call: &Call<'_>) -> Outcome {
    only_without_database(call)?;
    let file = declarative::export(&call.service.store.entities());
    Ok(Answer::ok(json!({ "config": declarative::to_yaml(&file) })))
}

/// With a database, entities are written one by one (`kong/api/routes/config.lua`).
fn only_without_database(call: &Call<'_>) -> Result<(), Refusal> {
    if call.service.store.is_writable() {
        let text = "this endpoint is only available when Kong is configured to not use a database";
        return Err(Answer::message(StatusCode::BAD_REQUEST, text).into());
    }
    Ok(())
}

/// Replaces the whole configuration, or changes nothing.
pub(super) fn load(call: &Call<'_>) -> Outcome {
    only_without_database(call)?;
    let Call { service, request, .. } = call;
    let given = given(request)?;
    if let Given::Text(text) = &given
        && request.argument("check_hash") == Some("1")
        && service.store.hash() == declarative::hash(text)
    {
        return Ok(Answer::empty(StatusCode::NOT_MODIFIED));
    }
    Ok(match (service.load)(given) {
        Ok(answer) => Answer::text(StatusCode::CREATED, JSON, answer),
        Err(error) => {
            let LoadError { fault, flattened } = *error;
            let flat = request.flag("flatten_errors");
            Answer::json(StatusCode::BAD_REQUEST, if flat { flattened } else { fault })
        }
    })
}

/// The configuration: the field `config`, the fields themselves, or the body.
fn given(request: &Request) -> Result<Given, Refusal> {
    let mut fields = request.fields()?;
    match fields.remove("config") {
        Some(Value::String(text)) => return Ok(Given::Text(text)),
        Some(Value::Object(fields)) => return Ok(Given::Fields(fields)),
        Some(_) => {}
        // Whatever else the fields say, they are the file.
        None if request.is_json() => return Ok(Given::Fields(fields)),
        None => {}
    }
    if request.body.is_empty() || request.is_multipart() {
        let text = "expected a declarative configuration";
        return Err(Answer::message(StatusCode::BAD_REQUEST, text).into());
    }
    Ok(Given::Text(String::from_utf8_lossy(&request.body).into_owned()))
}
