//! What was asked.

use http::{HeaderMap, Method, Version};
use uuid::Uuid;

use super::Body;

/// What was asked, as plugins have changed it. The headers are both what plugins read and what
/// the upstream will get.
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// The method; a plugin may change it for the upstream.
    pub method: Method,
    /// The version of HTTP that the client spoke.
    pub version: Version,
    /// http or https, by the connection.
    pub scheme: Scheme,
    /// The target as it came, path and query, never changed.
    pub target: String,
    /// The query without its question mark: the client's, or what a plugin put in its place.
    /// None where there is no question mark at all.
    pub query: Option<String>,
    /// The name in the Host header, lower case and without port; empty if there was none.
    pub host: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// Bytes of the request, head and body, as far as they have been read.
    pub size: u64,
}

impl Request {
    /// The path of the target as it came, without the query.
    pub fn raw_path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }
}

/// http or https.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scheme {
    /// In clear.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// "http" or "https".
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that goes without saying.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// A request's id: 32 lower-case hexadecimal digits, as `X-Kong-Request-Id` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// A fresh one.
    pub fn random() -> RequestId {
        let mut text = [0; 32];
        Uuid::new_v4().simple().encode_lower(&mut text);
        RequestId(text)
    }

    /// Its digits, as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The route that was found, and what matching it brought to light.
#[derive(Debug, Clone, Default)]
pub struct Matched {
    /// The route, as the view counts them.
    pub route: u32,
    /// The text of the path that the route's path matched: `X-Forwarded-Prefix`. None if the
    /// route has no paths.
    pub prefix: Option<String>,
    /// The groups of a regular expression.
    pub captures: Option<Box<Captures>>,
}

/// The groups of a regular expression in a route's path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captures {
    /// By position, the whole match first.
    pub unnamed: Vec<String>,
    /// By name.
    pub named: Vec<(String, String)>,
}
