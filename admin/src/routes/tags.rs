//! `/tags`: which entities carry which tag (`kong/api/routes/tags.lua`, `kong/db/dao/tags.lua`).

use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use silverback_model::errors::{Errors, Fault};
use silverback_model::set::TagFilter;

use crate::{
    Answer, Request,
    call::{Call, Outcome},
    collection::page,
};

/// All tags of all entities.
pub(super) async fn all(call: &Call<'_>) -> Outcome {
    tagged(call, None).await
}

/// The entities that carry a tag.
pub(super) async fn one(call: &Call<'_>) -> Outcome {
    let tag = call.parameter(0);
    if let Some(field) = call.service.schema("tags").and_then(|schema| schema.fields.get("tag")) {
        field.check(&Value::from(tag)).map_err(|error| {
            let text = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
            Fault::invalid_unique("tag", text)
        })?;
    }
    tagged(call, Some(tag)).await
}

/// Tags are written with the entities that carry them.
pub(super) fn refuse(_: &Call<'_>) -> Outcome {
    let text = "does not support insert/upsert/update/delete operations";
    Err(Fault::schema_violation(Errors::of("tags", text)).into())
}

/// What is said of a tag in a path that is no text: such a path is in no table.
pub(crate) fn refused(request: &Request) -> Option<Answer> {
    let tag = request.path.strip_prefix("/tags/")?;
    let tag = tag.strip_suffix('/').unwrap_or(tag);
    if tag.contains('/') || ![Method::GET, Method::HEAD].contains(&request.method) {
        return None;
    }
    let bytes: Vec<u8> = percent_decode_str(tag).collect();
    let at = str::from_utf8(&bytes).err()?.valid_up_to() + 1;
    let text = format!("invalid utf-8 character sequence detected at position {at}");
    Some(Answer::fault(&Fault::invalid_unique("tag", text)))
}

async fn tagged(call: &Call<'_>, wanted: Option<&str>) -> Outcome {
    let (size, offset) = (page::size(call.request)?, page::place(call.request)?);
    let mut data = Vec::new();
    let filter = wanted.map(|wanted| TagFilter::All(vec![wanted.to_owned()]));
    for schema in call.service.schemas.iter().filter(|s| s.fields.contains_key("tags")) {
        let note = |record: std::sync::Arc<serde_json::Map<String, Value>>| {
            let tags = record.get("tags").and_then(Value::as_array).into_iter().flatten();
            for tag in tags.filter(|tag| wanted.is_none_or(|wanted| *tag == wanted)) {
                let id = record.get("id").cloned().unwrap_or_default();
                data.push(json!({ "entity_name": schema.name, "entity_id": id, "tag": tag }));
            }
        };
        call.service.store.each_tagged(&schema.name, filter.as_ref(), note).await?;
    }
    // Stable: the tags of an entity stay in their order.
    data.sort_by(|a, b| a["entity_id"].as_str().cmp(&b["entity_id"].as_str()));
    let next = (data.len() > offset + size).then(|| (offset + size).to_string());
    let data = data.into_iter().skip(offset).take(size).collect();
    let path = wanted.map_or("/tags".to_owned(), |tag| format!("/tags/{}", page::escaped(tag)));
    Ok(page::answer(data, next.as_deref(), &path, ""))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn tags_are_text() {
        let check = |method: Method, path: &str, position: Option<usize>| {
            let answer = refused(&Request::new(method, path, HeaderMap::new(), Vec::new()));
            assert_eq!(answer.is_some(), position.is_some(), "{path}");
            if let (Some(answer), Some(position)) = (answer, position) {
                assert_eq!(answer.status, StatusCode::BAD_REQUEST);
                let text = format!("sequence detected at position {position}");
                assert!(format!("{:?}", answer.body).contains(&text), "{:?}", answer.body);
            }
        };
        check(Method::GET, "/tags/%ff", Some(1));
        check(Method::HEAD, "/tags/ab%c3%28/", Some(3));
        check(Method::DELETE, "/tags/%ff", None);
        check(Method::GET, "/tags/a%20b", None);
        check(Method::GET, "/tags/a/%ff", None);
        check(Method::GET, "/services/%ff", None);
    }
}
