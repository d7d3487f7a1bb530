//! What the Admin API is asked: method, path, query and body, decoded as Kong decodes them
//! (`kong/api/api_helpers.lua`, `kong/tools/http.lua`).

use http::{HeaderMap, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use silverback_model::schema::Schema;

use crate::{
    Answer, Refusal,
    arguments::{self, ARGUMENTS_MAX, Argument},
};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

/// A request, decoded.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query as they came.
    pub target: String,
    /// The path as it came.
    pub path: String,
    /// The query's arguments in order.
    pub query: Vec<Argument>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Request {
    /// Decodes the target.
    pub fn new(method: Method, target: &str, headers: HeaderMap, body: Vec<u8>) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (query, path) = (arguments::pairs(query), path.to_owned());
        Request { method, target: target.to_owned(), path, query, headers, body }
    }

    /// The path's segments, percent-decoded; one slash at the end does not count. None for a
    /// path that no table of paths can hold, such as one with an empty segment.
    pub fn segments(&self) -> Option<Vec<String>> {
        let path = self.path.strip_prefix('/')?;
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Some(Vec::new());
        }
        path.split('/').map(|s| if s.is_empty() { None } else { decode(s) }).collect()
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

    /// The answer to a body whose type the API does not read; without a body any is right. YAML is
    /// read by `/config` alone (`kong/api/api_helpers.lua`: before_filter).
    pub(crate) fn refused_type(&self, takes_yaml: bool) -> Option<Answer> {
        if self.headers.get_all(header::CONTENT_TYPE).iter().count() > 1 {
            let text = "Multiple Content-Type headers not allowed";
            return Some(Answer::message(StatusCode::BAD_REQUEST, text));
        }
        let yaml: &[&str] = if takes_yaml { &["application/yaml", "text/yaml"] } else { &[] };
        let media_type = self.media_type();
        let is_known = if self.headers.contains_key(header::CONTENT_TYPE) {
            let mut known = yaml.iter().chain(&[JSON, FORM, MULTIPART]);
            known.any(|known| media_type.starts_with(known))
        } else {
            self.body.is_empty()
        };
        (!is_known).then(|| Answer::page(StatusCode::UNSUPPORTED_MEDIA_TYPE))
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
    /// An empty list of JSON is an object without fields, as some clients write it.
    ///
    /// # Errors
    /// An answer that says that the body is not what its type says, or has too many arguments.
    pub fn fields(&self) -> Result<Map<String, Value>, Refusal> {
        if self.is_json() {
            return match serde_json::from_slice(&self.body) {
                Ok(Value::Object(fields)) => Ok(fields),
                Ok(Value::Array(list)) if list.is_empty() => Ok(Map::new()),
                _ => Err(Answer::message(StatusCode::BAD_REQUEST, "Cannot parse JSON body").into()),
            };
        }
        let media_type = self.media_type();
        let arguments = if media_type.starts_with(FORM) {
            arguments::pairs(&String::from_utf8_lossy(&self.body))
        } else if media_type.starts_with(MULTIPART) {
            arguments::multipart(media_type, &self.body)
        } else {
            Vec::new()
        };
        if arguments.len() > ARGUMENTS_MAX {
            return Err(Answer::too_many_arguments().into());
        }
        Ok(arguments::nested(arguments))
    }

    /// The body's fields for a schema: what a form says as text is what the schema asks for.
    ///
    /// # Errors
    /// As [`Request::fields`].
    pub fn fields_for(&self, schema: &Schema) -> Result<Map<String, Value>, Refusal> {
        let mut fields = self.fields()?;
        self.infer(&mut fields, schema);
        Ok(fields)
    }

    /// Makes of a form's texts what the schema asks for. What is no text is left as it is.
    pub(crate) fn infer(&self, fields: &mut Map<String, Value>, schema: &Schema) {
        if !self.is_json() {
            arguments::infer(fields, schema);
        }
    }
}

/// Percent-decoded text, or none if it is not UTF-8.
fn decode(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
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
        check("application/json", "[]", json!({}));
        check("application/json; charset=utf-8", "{}", json!({}));
        let form = "--X\r\nContent-Disposition: form-data; name=\"a.b\"\r\n\r\n1\r\n--X--\r\n";
        check("multipart/form-data; boundary=X", form, json!({"a": {"b": "1"}}));
        check("text/yaml", "a: 1", json!({}));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let check = |media_type, body: &str| {
            let refused = request("/", media_type, body).fields().unwrap_err();
            assert_eq!(Answer::from(refused).status, StatusCode::BAD_REQUEST, "{body:?}");
        };
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        for body in ["", "[1", "[1]", "[{}]", "null", "5", "\"x\"", "{\"a\":1e999}", &deep] {
            check("application/json", body);
        }
        check("application/x-www-form-urlencoded", &"a=1&".repeat(1001));
    }

    #[test]
    fn flags_are_read_as_kong_reads_them() {
        let request = request("/config?check_hash=1&flatten_errors=On&x", "text/plain", "");
        assert!(request.flag("check_hash") && request.flag("flatten_errors"));
        assert_eq!(request.argument("x"), Some(""));
        assert_eq!(request.argument("y"), None);
    }
}
