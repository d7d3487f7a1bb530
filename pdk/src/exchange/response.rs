//! What will be answered.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::Body;

/// What will be answered. Headers that plugins set before the answer exists wait here and are
/// joined by the upstream's.
#[derive(Default)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// Who made it; none as long as there is no answer.
    pub source: Option<Source>,
    /// Whether it is sent in chunks although its length is known.
    pub chunked: bool,
    /// Whether a plugin gives an upstream's earlier answer: the gateway signs it as the upstream's.
    pub from_cache: bool,
    /// The upstream's own status, where it answered.
    pub upstream_status: Option<StatusCode>,
    /// The upstream's whole body, in the response phase.
    pub buffered: Option<Bytes>,
    /// Bytes of the answer, head and body, as far as they have been sent.
    pub size: u64,
}

/// Who made an answer (`kong.response.get_source`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The upstream.
    Service,
    /// A plugin.
    Exit,
    /// The gateway, for an error.
    Error,
}

impl Source {
    /// "service", "exit" or "error".
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Service => "service",
            Source::Exit => "exit",
            Source::Error => "error",
        }
    }
}

/// An answer that a plugin or the gateway makes in the upstream's place.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Headers, put in the place of those of the same name.
    pub headers: HeaderMap,
    /// The body. None lets the gateway write the page that goes with the status, as Kong's web
    /// server does for an exit without a body.
    pub body: Option<Bytes>,
    /// Who made it.
    pub source: Source,
    /// Whether it is sent in chunks, as what `ngx.say` has said: its length is not told.
    pub chunked: bool,
}

impl Answer {
    /// A plugin's answer with a body.
    pub fn new(status: StatusCode, body: impl Into<Bytes>) -> Answer {
        Answer { body: Some(body.into()), ..Answer::bare(status) }
    }

    /// A plugin's answer without a body of its own: the page that goes with the status.
    pub fn bare(status: StatusCode) -> Answer {
        let (headers, source) = (HeaderMap::new(), Source::Exit);
        Answer { status, headers, body: None, source, chunked: false }
    }

    /// A plugin's answer of JSON, typed so.
    pub fn json(status: StatusCode, body: &serde_json::Value) -> Answer {
        let mut answer = Answer::new(status, body.to_string());
        let json = http::HeaderValue::from_static("application/json; charset=utf-8");
        answer.headers.insert(http::header::CONTENT_TYPE, json);
        answer
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: http::HeaderName, value: http::HeaderValue) -> Answer {
        self.headers.insert(name, value);
        self
    }
}
