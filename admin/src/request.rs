//! What the Admin API is asked: method, path, query and body, decoded as Kong decodes them
//! (`kong/api/api_helpers.lua`, `kong/tools/http.lua`).

use http::{HeaderMap, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::{Answer, Refusal};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

/// A request, decoded.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as it came.
    pub path: String,
    /// The query's arguments in order.
    pub query: Vec<(String, Option<String>)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Request {
    /// Decodes the target.
    pub fn new(method: Method, target: &str, headers: HeaderMap, body: Vec<u8>) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request { method, path: path.to_owned(), query: arguments(query), headers, body }
    }

    /// The path's segments, percent-decoded; one slash at the end does not count. None for a
    /// path that no table of paths can hold, such as one with an empty segment.
    pub fn segments(&self) -> Option<Vec<String>> {
        let path = self.path.strip_prefix('/')?;
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Some(Vec::new());
        }
        path.split('/').map(|s| if s.is_empty() { None } else { decode(s, false) }).collect()
    }

    /// The last value of a query argument: none if it is not there, empty if it has no value.
    pub fn argument(&self, name: &str) -> Option<&str> {
        let (_, value) = self.query.iter().rev().find(|(k, _)| k == name)?;
        Some(value.as_deref().unwrap_or_default())
    }

    /// Whether a query argument means yes: true, 1, on or yes.
    pub fn flag(&self, name: &str) -> bool {
        self.argument(name)
            .is_some_and(|v| ["true", "1", "on", "yes"].contains(&v.to_lowercase().as_str()))
    }

    fn media_type(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// Whether a body's type is one that the API reads; without a body any is right. YAML is read
    /// by `/config` alone (`kong/api/api_helpers.lua`: before_filter).
    pub(crate) fn has_known_type(&self, takes_yaml: bool) -> bool {
        let known: &[&str] = if takes_yaml { &["application/yaml", "text/yaml"] } else { &[] };
        let media_type = self.media_type();
        if media_type.is_empty() {
            return self.body.is_empty();
        }
        let known = known.iter().chain(&[JSON, FORM, MULTIPART]);
        known.into_iter().any(|known| media_type.starts_with(known))
    }

    /// Whether the body is a form in parts.
    pub(crate) fn is_multipart(&self) -> bool {
        self.media_type().starts_with(MULTIPART)
    }

    /// Whether the body says that it is JSON.
    pub fn is_json(&self) -> bool {
        self.media_type().starts_with(JSON)
    }

    /// The body's fields: of JSON, a urlencoded or a multipart form. Empty for other media types.
    ///
    /// # Errors
    /// An answer that says that the body is not what its type says.
    pub fn fields(&self) -> Result<Map<String, Value>, Refusal> {
        let media_type = self.media_type();
        if self.is_json() {
            return match serde_json::from_slice(&self.body) {
                Ok(Value::Object(fields)) => Ok(fields),
                _ => Err(Answer::message(StatusCode::BAD_REQUEST, "Cannot parse JSON body").into()),
            };
        }
        let text = |value: String| Value::String(value);
        if media_type.starts_with(FORM) {
            let body = String::from_utf8_lossy(&self.body);
            return Ok(arguments(&body)
                .into_iter()
                .map(|(k, v)| (k, text(v.unwrap_or_default())))
                .collect());
        }
        if media_type.starts_with(MULTIPART) {
            let parts = multipart(media_type, &self.body);
            return Ok(parts.into_iter().map(|(k, v)| (k, text(v))).collect());
        }
        Ok(Map::new())
    }
}

/// `a=1&b`: names with their values, where they have one.
fn arguments(text: &str) -> Vec<(String, Option<String>)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => (lossy(name), Some(lossy(value))),
            None => (lossy(pair), None),
        })
        .collect()
}

fn lossy(text: &str) -> String {
    decode(text, true).unwrap_or_else(|| text.to_owned())
}

/// Percent-decoded text, or none if it is not UTF-8. `+` is a space in queries and forms.
fn decode(text: &str, plus: bool) -> Option<String> {
    let text = if plus { text.replace('+', " ") } else { text.to_owned() };
    Some(percent_decode_str(&text).decode_utf8().ok()?.into_owned())
}

/// The parts of a multipart form, by name.
fn multipart(media_type: &str, body: &[u8]) -> Vec<(String, String)> {
    let Some(boundary) = parameter(media_type, "boundary") else { return Vec::new() };
    let body = String::from_utf8_lossy(body);
    let delimiter = format!("--{boundary}");
    body.split(delimiter.as_str())
        .skip(1)
        .filter_map(|part| {
            let part = part.strip_prefix("\r\n").or_else(|| part.strip_prefix('\n'))?;
            let (head, value) = part.split_once("\r\n\r\n").or_else(|| part.split_once("\n\n"))?;
            let value = value.strip_suffix("\r\n").or(value.strip_suffix('\n')).unwrap_or(value);
            let disposition =
                head.lines().find(|l| l.to_lowercase().starts_with("content-disposition:"))?;
            Some((parameter(disposition, "name")?, value.to_owned()))
        })
        .collect()
}

/// The value of `; name=value` or `; name="value"`.
fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|item| {
        let (key, value) = item.split_once('=')?;
        (key.trim().eq_ignore_ascii_case(name)).then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(target: &str, media_type: &str, body: &str) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, media_type.parse().unwrap());
        Request::new(Method::POST, target, headers, body.into())
    }

    #[test]
    fn paths_are_cut_at_slashes() {
        let segments = |target| request(target, "text/plain", "").segments();
        assert_eq!(segments("/"), Some(vec![]));
        assert_eq!(segments("/a/b%20c/"), Some(vec!["a".into(), "b c".into()]));
        assert_eq!(segments("//a"), None);
    }

    #[test]
    fn bodies_are_read_by_their_type() {
        let check = |media_type, body, expect: Value| {
            let fields = request("/config", media_type, body).fields().unwrap();
            assert_eq!(Value::Object(fields), expect, "{media_type}");
        };
        check("application/json", r#"{"a":1}"#, json!({"a": 1}));
        check("application/x-www-form-urlencoded", "a=b%20c&d=+e", json!({"a": "b c", "d": " e"}));
        let form = "--X\r\nContent-Disposition: form-data; name=\"config\"; filename=\"k.yml\"\r\n\
                    \r\na: 1\r\nb: 2\r\n--X--\r\n";
        check("multipart/form-data; boundary=X", form, json!({"config": "a: 1\r\nb: 2"}));
        check("text/yaml", "a: 1", json!({}));
        let refused: Answer = request("/", "application/json", "[1").fields().unwrap_err().into();
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn flags_are_read_as_kong_reads_them() {
        let request = request("/config?check_hash=1&flatten_errors=On&x", "text/plain", "");
        assert!(request.flag("check_hash") && request.flag("flatten_errors"));
        assert_eq!(request.argument("x"), Some(""));
        assert_eq!(request.argument("y"), None);
    }
}
