//! Paths that plugins add to the Admin API, or take the place of.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value};

use crate::{
    Answer, arguments,
    call::{Call, Outcome},
    collection,
};

/// What plugins add.
pub trait Additions {
    /// The paths, by their numbers.
    fn paths(&self) -> Vec<Added>;

    /// Answers a request to the path of that number.
    fn answer<'a>(&'a self, number: usize, given: AddedCall<'a>) -> Answering<'a>;
}

/// An answer to wait for.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

/// A path of a plugin's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// As `/endpoints` shows it: `/consumers/{consumers}/things`.
    pub pattern: String,
    /// The methods that it answers.
    pub methods: Vec<Method>,
    /// The kind of entity whose schema says what its arguments mean.
    pub kind: Option<String>,
}

/// A request to a plugin's path, decoded.
#[derive(Debug)]
pub struct AddedCall<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query as they came.
    pub target: String,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body as it came.
    pub body: Bytes,
    /// The parameters of the path, in order.
    pub parameters: &'a [String],
    /// The query's arguments.
    pub query: Map<String, Value>,
    /// The body's fields.
    pub fields: Map<String, Value>,
    /// Whether the body is JSON.
    pub is_json: bool,
}

/// No plugin adds anything.
pub struct NoAdditions;

impl Additions for NoAdditions {
    fn paths(&self) -> Vec<Added> {
        Vec::new()
    }

    fn answer<'a>(&'a self, _: usize, _: AddedCall<'a>) -> Answering<'a> {
        Box::pin(async { Answer::not_found() })
    }
}

/// Answers at a plugin's path.
pub(crate) async fn answer(call: &Call<'_>, number: usize) -> Outcome {
    let Call { service, request, .. } = call;
    let kind = service.added.get(number).and_then(|added| added.kind.as_deref());
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
    Ok(service.additions.answer(number, given).await)
}

impl Answer {
    /// An answer with a body and headers of its own.
    pub fn raw(status: StatusCode, headers: HeaderMap, body: Bytes) -> Answer {
        Answer { status, headers, body: Some(crate::answer::Body::Raw(body)) }
    }
}
