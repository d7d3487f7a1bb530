//! Paths that plugins add to the Admin API, or take the place of.

use bytes::Bytes;
use http::{StatusCode, header};
use silverback_pdk::AddedCall;

use crate::{
    Answer,
    answer::Body,
    arguments,
    call::{Call, Outcome},
    collection,
};

/// Answers at a plugin's path.
pub(crate) async fn answer(call: &Call<'_>, number: usize) -> Outcome {
    let Call { service, request, .. } = call;
    let kind = service.added().get(number).and_then(|added| added.kind.as_deref());
    let schema = kind.and_then(|kind| service.schema(kind));
    let mut fields = collection::sent(call)?;
    let mut query = arguments::nested(request.query.clone());
    if let Some(schema) = schema {
        request.infer(&mut fields, schema);
        arguments::infer(&mut query, schema);
    }
    let given = AddedCall {
        method: &request.method,
        target: request.target.clone(),
        headers: &request.headers,
        body: Bytes::from(request.body.clone()),
        parameters: call.parameters,
        query,
        fields,
        is_json: request.is_json(),
    };
    let answer = match &service.additions {
        Some(additions) => additions.answer(number, given).await,
        None => None,
    };
    Ok(answer.map_or_else(failed, made))
}

/// Where the plugin's code has failed.
fn failed() -> Answer {
    Answer::message(StatusCode::INTERNAL_SERVER_ERROR, "An unexpected error occurred")
}

fn made(answer: silverback_pdk::Answer) -> Answer {
    let mut headers = answer.headers;
    headers.remove(header::CONTENT_LENGTH);
    match answer.body {
        Some(body) => Answer { status: answer.status, headers, body: Some(Body::Raw(body)) },
        None if headers.is_empty() => Answer::page(answer.status),
        None => Answer { headers, ..Answer::empty(answer.status) },
    }
}
