//! request-size-limiting: refuses bodies that are too large
//! (`kong/plugins/request-size-limiting/`).

use futures_util::future::LocalBoxFuture;
use http::{StatusCode, header};
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::{BodyError, Exchange, Flow, Plugin, kong};

use crate::native::native;

pub(crate) fn plugin() -> Plugin {
    native::<RequestSizeLimiting>(951).access_later(RequestSizeLimiting::access).build()
}

/// Refuses requests whose body is too large. A body that does not say its length is read, and
/// refused as soon as it is too large.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "request-size-limiting", protocols_http)]
struct RequestSizeLimiting {
    /// The most that a body may hold, in `size_unit`.
    #[field(default = 128)]
    allowed_payload_size: Option<i64>,
    /// The unit of `allowed_payload_size`; a kilobyte is 1024 bytes.
    #[field(required, default = "megabytes", one_of("megabytes", "kilobytes", "bytes"))]
    size_unit: String,
    /// Whether requests must have a Content-Length header or be sent in chunks.
    #[field(required, default = false)]
    require_content_length: bool,
}

impl RequestSizeLimiting {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
        Box::pin(async move {
            let limit = self.limit();
            let headers = &exchange.request.headers;
            let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
            if let Some(length) = length.and_then(|length| length.parse::<u64>().ok()) {
                return if length > limit { too_large(exchange) } else { Flow::Next };
            }
            let chunked = headers.get(header::TRANSFER_ENCODING).is_some_and(|v| v == "chunked");
            if self.require_content_length && !chunked {
                let text = "A valid Content-Length header is required";
                let status = StatusCode::LENGTH_REQUIRED;
                return Flow::Exit(kong::refusal(exchange, status, text));
            }
            match exchange.request.body.read_within(limit).await {
                Ok(Some(_)) => Flow::Next,
                Ok(None) | Err(BodyError::TooLarge { .. }) => too_large(exchange),
                Err(error) => Flow::Fail(error.to_string()),
            }
        })
    }

    /// In bytes. Nothing may hold less than nothing.
    fn limit(&self) -> u64 {
        let unit = match self.size_unit.as_str() {
            "bytes" => 1,
            "kilobytes" => 1 << 10,
            _ => 1 << 20,
        };
        let size = self.allowed_payload_size.unwrap_or(128);
        u64::try_from(size).unwrap_or_default().saturating_mul(unit)
    }
}

/// A client that waits to be told to go on is told that it needn't.
fn too_large(exchange: &Exchange) -> Flow {
    let expect = exchange.request.headers.get(header::EXPECT);
    let waits = expect.is_some_and(|e| e.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let status = if waits { StatusCode::EXPECTATION_FAILED } else { StatusCode::PAYLOAD_TOO_LARGE };
    Flow::Exit(kong::refusal(exchange, status, "Request size limit exceeded"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Case, run};

    #[test]
    fn lengths_decide() {
        let bytes = json!({"allowed_payload_size": 10, "size_unit": "bytes"});
        let kilo = json!({"allowed_payload_size": 1, "size_unit": "kilobytes"});
        let strict = json!({"allowed_payload_size": 10, "size_unit": "bytes",
                            "require_content_length": true});
        let cases = [
            (&bytes, vec![("content-length", "10")], "", "next"),
            (&bytes, vec![("content-length", "11")], "", "413"),
            (&bytes, vec![("content-length", "11"), ("expect", "100-Continue")], "", "417"),
            (&kilo, vec![("content-length", "1024")], "", "next"),
            (&kilo, vec![("content-length", "1025")], "", "413"),
            (&json!({}), vec![("content-length", "134217728")], "", "next"),
            (&json!({}), vec![("content-length", "134217729")], "", "413"),
            (&bytes, vec![], "0123456789a", "413"),
            (&bytes, vec![], "0123456789", "next"),
            (&bytes, vec![], "", "next"),
            (&strict, vec![], "", "411"),
            (&strict, vec![("transfer-encoding", "chunked")], "abc", "next"),
        ];
        for (config, headers, body, expect) in cases {
            let case = Case::new(config).headers(&headers).body(body);
            assert_eq!(run(&plugin(), case), expect, "{config} {headers:?} {body}");
        }
    }
}
