//! What is asked of the router, and what it answers.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::HeaderMap;
use silverback_model::entities::Protocol;

use crate::path;

/// What routes look at in a request or a connection.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// The method, as the client wrote it. Empty for a stream.
    pub method: &'a str,
    /// The Host header, raw: with its port, in the client's own case. Empty if there is none.
    pub host: &'a str,
    /// The path after [`normalize`](crate::normalize), without a query. Empty for a stream.
    pub path: &'a str,
    /// What follows the `?`, raw. Empty if there is none.
    pub query: &'a str,
    /// The headers of the request. Empty for a stream.
    pub headers: &'a HeaderMap,
    /// `Http` or `Https` for requests, gRPC included; `Tcp`, `Tls` or `Udp` for streams.
    pub scheme: Protocol,
    /// The server name of the TLS hello.
    pub sni: Option<&'a str>,
    /// Where the connection comes from.
    pub source: Option<SocketAddr>,
    /// Where the connection came in.
    pub destination: Option<SocketAddr>,
}

/// The route that was found, and what matching it brought to light.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match<'a> {
    /// The position of the route in the list that the router was built from.
    pub route: u32,
    /// The text to send as `X-Forwarded-Prefix`: what of the path is cut off. None where
    /// nothing is: without `strip_path`, without paths, and for `/`. It is decoded text of the
    /// request, so it may hold what a header may not, line breaks included.
    pub prefix: Option<Cow<'a, str>>,
    /// The groups of the regex path that matched. None for a regex without groups too.
    pub captures: Option<Box<Captures>>,
    pub(crate) rewrite: path::Rewrite,
}

impl Match<'_> {
    /// The path for the upstream, percent-encoded where it must be, without a query. `path` is
    /// that of the look-up, `service_path` the service's, None meaning `/`.
    pub fn upstream_path(&self, path: &str, service_path: Option<&str>) -> String {
        self.rewrite.apply(path, service_path.unwrap_or("/"))
    }
}

/// The groups of a regular expression in a route's path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captures {
    /// By position, the whole match first. None for a group that took no part.
    pub unnamed: Vec<Option<String>>,
    /// By name, those that took part.
    pub named: Vec<(String, String)>,
}
