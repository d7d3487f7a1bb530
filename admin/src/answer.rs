//! What the Admin API answers: a status and JSON.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use silverback_model::errors::Fault;
use silverback_pdk::{LogLevel, kong};

/// The media type of JSON, as Kong writes it.
pub(crate) const JSON: &str = "application/json; charset=utf-8";

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Headers beyond those that every answer has.
    pub headers: HeaderMap,
    /// The body; none for 204 and 304.
    pub body: Option<Body>,
}

/// An answer that refuses: what functions give up with. Boxed, since the other way is the usual.
#[derive(Debug, Clone)]
pub struct Refusal(Box<Answer>);

impl From<Answer> for Refusal {
    fn from(answer: Answer) -> Refusal {
        Refusal(Box::new(answer))
    }
}

impl Refusal {
    /// The status of the answer.
    pub(crate) fn status(&self) -> u16 {
        self.0.status.as_u16()
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Answer {
        *refusal.0
    }
}

/// A body with its media type.
#[derive(Debug, Clone)]
pub enum Body {
    /// JSON.
    Json(Value),
    /// Any other text.
    Text(&'static str, String),
    /// Bytes, whose type the headers say.
    Raw(Bytes),
}

impl Answer {
    /// JSON with a status.
    pub fn json(status: StatusCode, body: Value) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: Some(Body::Json(body)) }
    }

    /// 200 with JSON.
    pub fn ok(body: Value) -> Answer {
        Answer::json(StatusCode::OK, body)
    }

    /// A status and no body.
    pub fn empty(status: StatusCode) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: None }
    }

    /// `{"message": text}` with a status.
    pub fn message(status: StatusCode, text: &str) -> Answer {
        Answer::json(status, json!({ "message": text }))
    }

    /// 404.
    pub fn not_found() -> Answer {
        Answer::message(StatusCode::NOT_FOUND, "Not found")
    }

    /// 405.
    pub fn method_not_allowed() -> Answer {
        Answer::message(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
    }

    /// 400 for a form or a query that is too long.
    pub(crate) fn too_many_arguments() -> Answer {
        Answer::message(StatusCode::BAD_REQUEST, "Too many arguments")
    }

    /// A status with a page, as Kong's web server shows it.
    pub fn page(status: StatusCode) -> Answer {
        match kong::default_page(status) {
            Some(page) => Answer::text(status, "text/html", page),
            None => Answer::empty(status),
        }
    }

    /// What is wrong, as Kong shows it. What is not the client's fault is logged, and not shown.
    pub fn fault(fault: &Fault) -> Answer {
        match StatusCode::from_u16(fault.status()) {
            Ok(status) if status != StatusCode::INTERNAL_SERVER_ERROR => {
                Answer::json(status, fault.to_json())
            }
            _ => {
                silverback_pdk::log(LogLevel::Err, "", &format!("Admin API: {fault}"));
                let text = "An unexpected error occurred";
                Answer::message(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }

    /// Text of another media type.
    pub fn text(status: StatusCode, media_type: &'static str, text: String) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: Some(Body::Text(media_type, text)) }
    }

    /// Adds a field to a JSON object.
    pub(crate) fn add(&mut self, name: &str, value: Value) {
        if let Some(Body::Json(Value::Object(fields))) = &mut self.body {
            fields.insert(name.to_owned(), value);
        }
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &str) -> Answer {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The bytes of the body and their media type.
    pub(crate) fn into_bytes(self) -> (StatusCode, HeaderMap, Vec<u8>) {
        let Answer { status, mut headers, body } = self;
        let (media_type, bytes) = match body {
            None => return (status, headers, Vec::new()),
            Some(Body::Raw(bytes)) => return (status, headers, bytes.to_vec()),
            Some(Body::Json(json)) => (JSON, json.to_string().into()),
            Some(Body::Text(media_type, text)) => (media_type, text.into_bytes()),
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        (status, headers, bytes)
    }
}
