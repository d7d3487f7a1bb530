//! Lists: a page of entities, and where the next one is.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use silverback_model::{
    errors::{Errors, Fault},
    schema::Schema,
    set::{PageQuery, TagFilter, TagFilterError},
};

use super::show;
use crate::{
    Answer, Refusal, Request, arguments,
    call::{Call, Outcome},
    paths::Relation,
};

/// How many entities a page may have at the most.
const PAGE_SIZE_MAX: f64 = 1000.0;

/// What stands in a URL as it is (`ngx.escape_uri`).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as a part of a URL.
pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// A page of a kind's entities.
pub(crate) async fn of_kind(call: &Call<'_>, schema: &Schema) -> Outcome {
    let tags = tag_filter(schema, call.request)?;
    let query = PageQuery {
        size: size(call.request)?,
        offset: offset(call.request)?,
        tags: tags.as_ref(),
        parent: None,
    };
    let page = call.service.store.page(&schema.name, &query).await?;
    let data = page.records.iter().map(|record| show(call, schema, record)).collect();
    let mut arguments = String::new();
    if let Some(tags) = tag_argument(call.request) {
        arguments += &format!("&tags={}", escaped(tags));
    }
    if let Some(size) = call.request.argument("size") {
        arguments += &format!("&size={}", escaped(size));
    }
    let path = format!("/{}", schema.collection());
    Ok(answer(data, page.next.as_deref(), &path, &arguments))
}

/// A page of the entities that refer to another. Tags are not looked at there, and `next` keeps
/// neither them nor the size, as in Kong.
pub(crate) async fn below(call: &Call<'_>, relation: &Relation, parent_id: &str) -> Outcome {
    let query = PageQuery {
        size: size(call.request)?,
        offset: offset(call.request)?,
        tags: None,
        parent: Some((&relation.field, parent_id)),
    };
    let page = call.service.store.page(&relation.child.name, &query).await?;
    let data = page.records.iter().map(|record| show(call, &relation.child, record)).collect();
    let path = format!(
        "/{}/{}/{}",
        relation.parent.collection(),
        escaped(call.parameter(0)),
        relation.nested_name()
    );
    Ok(answer(data, page.next.as_deref(), &path, ""))
}

/// The answer that a page is.
pub(crate) fn answer(data: Vec<Value>, next: Option<&str>, path: &str, arguments: &str) -> Answer {
    let mut answer = Answer::ok(json!({}));
    answer.add("data", data.into());
    answer.add("next", Value::Null);
    if let Some(offset) = next {
        answer.add("next", format!("{path}?offset={}{arguments}", escaped(offset)).into());
        answer.add("offset", offset.into());
    }
    answer
}

/// How many entities a page is asked to have.
pub(crate) fn size(request: &Request) -> Result<usize, Refusal> {
    let Some(text) = request.argument("size") else { return Ok(PageQuery::default().size) };
    let refuse = |text: &str| Answer::fault(&Fault::invalid_size(text));
    let size = arguments::number(text).and_then(|number| number.as_f64());
    let size = size.ok_or_else(|| refuse("size must be a number"))?;
    if !(1.0..=PAGE_SIZE_MAX).contains(&size) || size.fract() != 0.0 {
        return Err(refuse("size must be an integer between 1 and 1000").into());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(size as usize)
}

/// Where a page begins, as the page before has said it.
pub(crate) fn offset(request: &Request) -> Result<Option<&str>, Refusal> {
    match request.argument("offset") {
        Some("") => Err(Fault::invalid_offset("", "bad base64 encoding").into()),
        offset => Ok(offset),
    }
}

/// Where a page of a list begins that is counted through: a plain number.
pub(crate) fn place(request: &Request) -> Result<usize, Refusal> {
    let Some(text) = request.argument("offset") else { return Ok(0) };
    let place = text.parse::<u32>().map(|place| place as usize);
    place.map_err(|_| Fault::invalid_offset(text, "bad base64 encoding").into())
}

fn tag_argument(request: &Request) -> Option<&str> {
    request.argument("tags").or_else(|| request.argument("tags[]"))
}

fn tag_filter(schema: &Schema, request: &Request) -> Result<Option<TagFilter>, Refusal> {
    if !schema.fields.contains_key("tags") {
        return Ok(None);
    }
    let Some(text) = tag_argument(request) else { return Ok(None) };
    TagFilter::parse(text).map(Some).map_err(|error: TagFilterError| {
        Answer::fault(&Fault::invalid_options(Errors::of("tags", error.to_string()))).into()
    })
}
