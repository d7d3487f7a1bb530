//! The targets of an upstream: newest first, by id or address (`kong/api/routes/upstreams.lua`,
//! `kong/db/dao/targets.lua`).

use std::{collections::HashSet, sync::Arc};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use silverback_model::{Record, entities::Target, schema::Schema, set::PageQuery};
use silverback_store::{Key, Options};

use crate::{
    Answer, Refusal,
    call::{Call, Outcome},
    collection::{
        lookup::{self, Named, id_of, is_below, is_id},
        page, read_or_write, sent, show,
    },
};

/// A page of targets, newest first.
pub(super) async fn list(call: &Call<'_>) -> Outcome {
    let upstream = upstream(call).await?;
    let (targets, next) = newest(call, id_of(&upstream)).await?;
    let data = targets.into_iter().map(Value::Object).collect();
    let path = format!("/upstreams/{}/targets", page::escaped(call.parameter(0)));
    Ok(page::answer(data, next.as_deref(), &path, ""))
}

/// A page of targets as they lie in the store.
pub(super) async fn raw(call: &Call<'_>) -> Outcome {
    let upstream = upstream(call).await?;
    let query = PageQuery {
        size: page::size(call.request)?,
        offset: page::offset(call.request)?,
        tags: None,
        parent: Some(("upstream", id_of(&upstream))),
    };
    let found = call.service.store.page("targets", &query).await?;
    let data = found.records.iter().map(|target| Value::Object(placed(target)));
    let path = format!("/upstreams/{}/targets/all", page::escaped(call.parameter(0)));
    Ok(page::answer(data.collect(), found.next.as_deref(), &path, ""))
}

/// A new target.
pub(super) async fn create(call: &Call<'_>) -> Outcome {
    let schema = schema(call, "targets")?;
    let mut fields = call.request.fields_for(schema)?;
    let upstream = upstream(call).await?;
    fields.insert("upstream".to_owned(), json!({ "id": id_of(&upstream) }));
    let made = call.service.store.insert("targets", fields, &Options::default()).await?;
    Ok(Answer::json(StatusCode::CREATED, show(call, schema, &made)))
}

/// One target. PUT changes it as PATCH does, and makes none.
pub(super) async fn one(call: &Call<'_>) -> Outcome {
    let fields = sent(call)?;
    let upstream = upstream(call).await?;
    let target = existing(call, &upstream).await?;
    let named = Named::Id(id_of(&target).to_owned());
    let call = match *call.method {
        Method::PUT => &Call { method: &Method::PATCH, ..*call },
        _ => call,
    };
    read_or_write(call, schema(call, "targets")?, &named, fields).await
}

/// The upstream that the path names.
///
/// # Errors
/// 404 if there is none.
pub(super) async fn upstream(call: &Call<'_>) -> Result<Arc<Record>, Refusal> {
    lookup::existing(call, schema(call, "upstreams")?, call.parameter(0)).await
}

/// The target of an upstream that the path names: by id, or by its address, the newest of several.
///
/// # Errors
/// 404 if there is none.
pub(super) async fn existing(call: &Call<'_>, upstream: &Record) -> Result<Record, Refusal> {
    let (segment, upstream) = (call.parameter(1), id_of(upstream));
    let found = if is_id(segment) {
        let found = call.service.store.select("targets", Key::Id(segment)).await?;
        let found = found.filter(|target| is_below(target, "upstream", upstream));
        found.map(|target| placed(&target))
    } else {
        let mut all = all(call, upstream).await?.into_iter();
        all.find(|target| name(target) == segment)
    };
    found.ok_or_else(|| Answer::not_found().into())
}

/// A page of an upstream's targets, the newest first; of those with one address the newest only.
/// Offsets are plain numbers.
pub(super) async fn newest(
    call: &Call<'_>,
    upstream: &str,
) -> Result<(Vec<Record>, Option<String>), Refusal> {
    let (size, offset) = (page::size(call.request)?, page::place(call.request)?);
    let mut newest = all(call, upstream).await?;
    let mut seen = HashSet::new();
    newest.retain(|target| seen.insert(name(target).to_owned()));
    let next = (newest.len() > offset + size).then(|| (offset + size).to_string());
    Ok((newest.into_iter().skip(offset).take(size).collect(), next))
}

/// All targets of an upstream, the newest first; of one age those of the greater id.
async fn all(call: &Call<'_>, upstream: &str) -> Result<Vec<Record>, Refusal> {
    let (mut all, mut offset) = (Vec::new(), None);
    loop {
        let query = PageQuery {
            size: 1000,
            offset: offset.as_deref(),
            tags: None,
            parent: Some(("upstream", upstream)),
        };
        let page = call.service.store.page("targets", &query).await?;
        all.extend(page.records.iter().map(|target| placed(target)));
        offset = page.next;
        if offset.is_none() {
            break;
        }
    }
    let age = |target: &Record| target.get("created_at").and_then(Value::as_f64).unwrap_or(0.0);
    all.sort_by(|a, b| age(b).total_cmp(&age(a)).then_with(|| id_of(b).cmp(id_of(a))));
    Ok(all)
}

/// A target as it is shown: with its port, also where a declarative file gives none.
fn placed(target: &Record) -> Record {
    let mut shown = silverback_model::shown(target);
    if let Some((host, port)) = Target::place(name(target)) {
        shown.insert("target".to_owned(), format!("{host}:{port}").into());
    }
    shown
}

/// Where a target is, `host:port`.
pub(super) fn name(target: &Record) -> &str {
    target.get("target").and_then(Value::as_str).unwrap_or_default()
}

fn schema<'a>(call: &Call<'a>, kind: &str) -> Result<&'a Schema, Refusal> {
    let schema = call.service.schema(kind).map(|schema| &**schema);
    schema.ok_or_else(|| Answer::not_found().into())
}
