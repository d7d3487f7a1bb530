//! Paths that plugins add to the Admin API, or take the place of.

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, Method};
use serde_json::{Map, Value};

use crate::Answer;

/// What the plugins of a host add.
pub trait Additions {
    /// The paths, by their numbers.
    fn paths(&self) -> &[AddedPath];

    /// Answers a request to the path of that number. What fails is logged, and answered by
    /// nothing.
    fn answer<'a>(
        &'a self,
        number: usize,
        call: AddedCall<'a>,
    ) -> LocalBoxFuture<'a, Option<Answer>>;
}

/// A path of a plugin's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedPath {
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
