//! `/config`: the whole declarative configuration (`kong/api/routes/config.lua`).

use http::StatusCode;
use serde_json::{Value, json};
use silverback_model::declarative;

use crate::{Answer, Given, LoadError, Refusal, Request, Service};

/// The configuration as a file that can be loaded again.
pub(super) fn show_file(service: &Service, _: &Request, _: &[String]) -> Answer {
    let file = declarative::export(&service.entities());
    Answer::ok(json!({ "config": declarative::to_yaml(&file) }))
}

/// Replaces the whole configuration, or changes nothing.
pub(super) fn load(service: &Service, request: &Request, _: &[String]) -> Answer {
    let given = match given(request) {
        Ok(given) => given,
        Err(refusal) => return refusal.into(),
    };
    if let Given::Text(text) = &given
        && request.argument("check_hash") == Some("1")
        && service.store.hash() == declarative::hash(text)
    {
        return Answer::empty(StatusCode::NOT_MODIFIED);
    }
    match (service.load)(given) {
        Ok(answer) => Answer::json(StatusCode::CREATED, answer),
        Err(error) => {
            let LoadError { fault, flattened } = *error;
            let flat = request.flag("flatten_errors");
            Answer::json(StatusCode::BAD_REQUEST, if flat { flattened } else { fault })
        }
    }
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
