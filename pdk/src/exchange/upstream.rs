//! What the upstream will be asked, and what happened when it was.

use std::{net::SocketAddr, time::Duration, time::Instant};

use http::HeaderValue;

use super::Scheme;

/// What the upstream will be asked. The method, query, headers and body are the request's.
#[derive(Debug, Default)]
pub struct Upstream {
    /// http or https.
    pub scheme: Scheme,
    /// The path, without the query.
    pub path: String,
    /// Where to, if a plugin says so; else where the service says.
    pub target: Option<Target>,
    /// The Host header: the client's with preserve_host, a plugin's, or none: the target's.
    pub host_header: Option<HeaderValue>,
    /// What a plugin has it told of the client in the place of what the gateway would say
    /// (`ngx.var.upstream_x_forwarded_for` and the like): lower-case names, "" for nothing.
    pub told: Vec<(&'static str, HeaderValue)>,
    /// Whether the answer is to be read whole before the response phases begin.
    pub buffered: bool,
    /// How often to try again, if a plugin says so.
    pub retries: Option<u16>,
    /// How long to wait, if a plugin says so.
    pub timeouts: Option<Timeouts>,
    /// Whether to verify the upstream's certificate, if a plugin says so.
    pub tls_verify: Option<bool>,
    /// How deep a chain may be, if a plugin says so.
    pub tls_verify_depth: Option<u16>,
    /// What was tried, in order.
    pub tries: Vec<Try>,
}

/// Where a plugin sends the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `kong.service.set_upstream`: the upstream of this name.
    Upstream(String),
    /// `kong.service.set_target`: a host and a port.
    Address {
        /// A name or an address.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
}

/// How long to wait for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// Between two writes.
    pub write: Duration,
    /// Between two reads.
    pub read: Duration,
}

/// One try at a target.
#[derive(Debug, Clone)]
pub struct Try {
    /// The target's address.
    pub address: SocketAddr,
    /// When it was chosen.
    pub began: Instant,
    /// The state and status Kong's log shows for a failed try; none for one that succeeded.
    pub failure: Option<(&'static str, u16)>,
}
