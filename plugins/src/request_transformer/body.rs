//! Changes the members of a body: JSON, urlencoded or multipart.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value as Json};
use silverback_pdk::{Body, kong};

use super::{Changes, Values, multipart, table::Table, template::Environment};

/// The form that a body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Multipart,
    Urlencoded,
}

impl Form {
    /// By the content type; none: the body is left alone.
    pub(super) fn of(headers: &HeaderMap) -> Option<Form> {
        let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.to_lowercase();
        let has = |name: &str| content_type.contains(name);
        if has("application/json") {
            Some(Form::Json)
        } else if has("multipart/form-data") {
            Some(Form::Multipart)
        } else if has("application/x-www-form-urlencoded") {
            Some(Form::Urlencoded)
        } else {
            None
        }
    }
}

/// Changes the body, if it has members that can be.
///
/// # Errors
/// If it can't be read, or a template fails.
pub(super) async fn change(
    changes: &Changes,
    environment: &mut Environment<'_>,
) -> Result<(), String> {
    let request = &mut environment.exchange.request;
    let Some(form) = Form::of(&request.headers) else { return Ok(()) };
    let most = environment.exchange.view.node().body_max;
    let most = if most == 0 { u64::MAX } else { most };
    let read = environment.exchange.request.body.read(most).await;
    let body = read.map_err(|error| error.to_string())?;
    let values = changes.values(environment)?;
    let headers = &environment.exchange.request.headers;
    let changed = match form {
        Form::Json => change_json(&body, values),
        Form::Urlencoded => change_urlencoded(&body, values),
        Form::Multipart => multipart::change(&body, headers, values),
    };
    if let Some(changed) = changed {
        let request = &mut environment.exchange.request;
        request.headers.remove(header::TRANSFER_ENCODING);
        let length = HeaderValue::from(changed.len() as u64);
        request.headers.insert(header::CONTENT_LENGTH, length);
        request.body = Body::from_bytes(changed);
    }
    Ok(())
}

fn change_urlencoded(body: &Bytes, values: Values) -> Option<Vec<u8>> {
    let mut table = Table::of(&kong::decode_arguments(body));
    let changed = table.change(values);
    changed.then(|| kong::encode_arguments(&table.into_value()).into_bytes())
}

/// None where nothing has changed: what is no object, and broken JSON, pass as they came.
fn change_json(body: &Bytes, values: Values) -> Option<Vec<u8>> {
    let mut members = match body.is_empty() {
        true => Map::new(),
        false => match serde_json::from_slice(body).ok()? {
            Json::Object(members) => members,
            _ => return None,
        },
    };
    let changed = change_members(&mut members, values, body.is_empty());
    changed.then(|| serde_json::to_vec(&members).unwrap_or_default())
}

fn change_members(members: &mut Map<String, Json>, values: Values, is_new: bool) -> bool {
    let mut changed = !values.remove.is_empty() && !is_new;
    for name in values.remove {
        members.shift_remove(&name);
    }
    for (old, new) in values.rename {
        if let Some(new) = new.filter(|new| *new != old)
            && members.get(&old).is_some_and(counts)
            && let Some(value) = members.shift_remove(&old)
        {
            members.insert(new, value);
            changed = true;
        }
    }
    for (name, value) in values.replace {
        if let Some(value) = value
            && members.get(&name).is_some_and(counts)
        {
            members.insert(name, value.into());
            changed = true;
        }
    }
    for (name, value) in values.add {
        if let Some(value) = value
            && !members.get(&name).is_some_and(counts)
        {
            members.insert(name, value.into());
            changed = true;
        }
    }
    for (name, value) in values.append {
        let Some(value) = value.map(Json::from) else { continue };
        changed = true;
        let list = match members.get_mut(&name) {
            Some(Json::Array(list)) => {
                list.push(value);
                continue;
            }
            Some(text @ Json::String(_)) => vec![text.take(), value],
            _ => vec![value],
        };
        members.insert(name, list.into());
    }
    changed
}

/// As in Lua, false counts as absent.
fn counts(value: &Json) -> bool {
    *value != Json::Bool(false)
}
