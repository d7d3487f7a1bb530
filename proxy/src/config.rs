//! What the data plane needs to know of the node's configuration. The binary fills it in from
//! kong.conf; here nothing reads files, arguments or the environment.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use silverback_pdk::{Node, WorkerHook};
use silverback_router::Flavor;
use silverback_tls::{Choice, Trust, Versions};

use crate::{
    dns::DnsSettings,
    logs::{LogFormat, LogTarget},
};

/// What the data plane needs to know. `Config::new` has Kong's defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// Facts about this node, the number of workers and the limits for bodies among them.
    pub node: Arc<Node>,
    /// Where requests and streams come in (`proxy_listen`, `stream_listen`).
    pub listeners: Vec<Listener>,
    /// How routes are ordered (`router_flavor`).
    pub flavor: Flavor,
    /// Which of the gateway's own headers clients see (`headers`).
    pub headers: Headers,
    /// Headers that answers get beside (`nginx_proxy_add_header`).
    pub added_headers: Vec<AddedHeader>,
    /// Whether requests with the header Kong-Debug are told their route and service
    /// (`allow_debug_header`).
    pub debug_header: bool,
    /// Whether upstreams see X-Kong-Request-Id (`headers_upstream`).
    pub request_id_upstream: bool,
    /// How the Server header and Via name this gateway: "silverback/0.1.0".
    pub server: HeaderValue,
    /// Where the client's address is taken from behind trusted proxies.
    pub real_ip: RealIp,
    /// The port that clients see, by the port that listens (`port_maps`).
    pub port_maps: Vec<(u16, u16)>,
    /// Idle connections to upstreams.
    pub keepalive: Keepalive,
    /// What a client may do.
    pub limits: Limits,
    /// TLS, both ways.
    pub tls: TlsSettings,
    /// Where a line for each request goes (`proxy_access_log`); none writes nothing.
    pub access_log: Option<LogTarget>,
    /// What such a line holds; none is Kong's own format.
    pub access_log_format: Option<LogFormat>,
    /// What a line for a stream holds; none is Kong's own format, `basic`.
    pub stream_access_log_format: Option<LogFormat>,
    /// Where a line for each stream goes (`proxy_stream_access_log`), which may be the same file;
    /// none writes nothing.
    pub stream_access_log: Option<LogTarget>,
    /// How names are resolved.
    pub dns: DnsSettings,
    /// How long to wait for requests under way when the node stops
    /// (`nginx_main_worker_shutdown_timeout`).
    pub drain_timeout: Duration,
    /// What plugin hosts do on workers beside handling requests.
    pub hooks: Vec<Arc<dyn WorkerHook>>,
}

impl Config {
    /// A configuration with Kong's defaults and no listeners.
    pub fn new(node: Node) -> Config {
        Config {
            node: Arc::new(node),
            listeners: Vec::new(),
            flavor: Flavor::default(),
            headers: Headers::default(),
            added_headers: Vec::new(),
            debug_header: false,
            request_id_upstream: true,
            server: HeaderValue::from_static(concat!("silverback/", env!("CARGO_PKG_VERSION"))),
            real_ip: RealIp::default(),
            port_maps: Vec::new(),
            keepalive: Keepalive::default(),
            limits: Limits::default(),
            tls: TlsSettings::default(),
            access_log: None,
            access_log_format: None,
            stream_access_log_format: None,
            stream_access_log: None,
            dns: DnsSettings::default(),
            drain_timeout: Duration::from_secs(10),
            hooks: Vec::new(),
        }
    }
}

impl Config {
    /// The port that clients see where this one listens.
    pub(crate) fn outer_port(&self, port: u16) -> u16 {
        let mapped = self.port_maps.iter().find(|(inner, _)| *inner == port);
        mapped.map_or(port, |(_, outer)| *outer)
    }
}

/// An address that requests or streams come in at (an entry of `proxy_listen` or
/// `stream_listen`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address; port 0 is any free one.
    pub address: SocketAddr,
    /// Whether what comes in is a stream, proxied as it is, rather than HTTP.
    pub stream: bool,
    /// Whether clients speak TLS.
    pub ssl: bool,
    /// Whether HTTP/2 is offered beside HTTP/1.1. (Not spoken yet: clients are offered HTTP/1.1.)
    pub http2: bool,
    /// Whether each connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// The length of the accept queue.
    pub backlog: Option<u32>,
    /// Whether an IPv6 address leaves IPv4 alone.
    pub ipv6only: bool,
    /// Probes on idle connections.
    pub so_keepalive: SoKeepalive,
}

impl Listener {
    /// A plain listener.
    pub fn new(address: SocketAddr) -> Listener {
        Listener {
            address,
            stream: false,
            ssl: false,
            http2: false,
            proxy_protocol: false,
            backlog: None,
            ipv6only: true,
            so_keepalive: SoKeepalive::default(),
        }
    }
}

/// Probes on idle connections (`so_keepalive`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SoKeepalive {
    /// As the system has it.
    #[default]
    Default,
    /// None.
    Off,
    /// Probes; what is none is as the system has it.
    On {
        /// Silence before the first probe.
        idle: Option<Duration>,
        /// Silence between two.
        interval: Option<Duration>,
        /// How many go unanswered before the connection is given up.
        count: Option<u32>,
    },
}

/// A header that answers get, after plugins had their say, beside those of the same name (nginx's
/// `add_header`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
    /// Whether all answers get it: else only those that give or have done what was asked, and
    /// redirections.
    pub always: bool,
}

impl AddedHeader {
    /// Whether an answer of this status gets it.
    pub fn is_for(&self, status: StatusCode) -> bool {
        const GOOD: [u16; 10] = [200, 201, 204, 206, 301, 302, 303, 304, 307, 308];
        self.always || GOOD.contains(&status.as_u16())
    }
}

/// Which of the gateway's own headers clients see (`headers` in kong.conf; `server_tokens` there
/// is `server` and `via` here, `latency_tokens` the three latencies).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    /// Server, where no upstream named itself.
    pub server: bool,
    /// Via.
    pub via: bool,
    /// X-Kong-Upstream-Latency.
    pub upstream_latency: bool,
    /// X-Kong-Proxy-Latency.
    pub proxy_latency: bool,
    /// X-Kong-Response-Latency.
    pub response_latency: bool,
    /// X-Kong-Upstream-Status.
    pub upstream_status: bool,
    /// X-Kong-Request-Id.
    pub request_id: bool,
}

impl Headers {
    /// `headers = off`.
    pub const OFF: Headers = Headers {
        server: false,
        via: false,
        upstream_latency: false,
        proxy_latency: false,
        response_latency: false,
        upstream_status: false,
        request_id: false,
    };
}

impl Default for Headers {
    fn default() -> Headers {
        Headers {
            server: true,
            via: true,
            upstream_latency: true,
            proxy_latency: true,
            response_latency: true,
            upstream_status: false,
            request_id: true,
        }
    }
}

/// Where the client's address is taken from when the peer is one of `trusted_ips`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealIp {
    /// `real_ip_header`; `X-Real-IP` by default. None is `proxy_protocol`: the address of the
    /// connection's PROXY header.
    pub header: Option<HeaderName>,
    /// `real_ip_recursive`: the last address that is not trusted, rather than the last.
    pub recursive: bool,
}

impl Default for RealIp {
    fn default() -> RealIp {
        RealIp { header: Some(HeaderName::from_static("x-real-ip")), recursive: false }
    }
}

/// Idle connections to upstreams, for each worker and destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// How many are kept (`upstream_keepalive_pool_size`); 0 keeps none.
    pub pool_size: usize,
    /// How many requests one serves (`upstream_keepalive_max_requests`); 0: no limit.
    pub max_requests: u64,
    /// How long one is kept (`upstream_keepalive_idle_timeout`); zero: no limit.
    pub idle_timeout: Duration,
}

impl Default for Keepalive {
    fn default() -> Keepalive {
        Keepalive { pool_size: 512, max_requests: 10_000, idle_timeout: Duration::from_secs(60) }
    }
}

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long the head of a request may take (`client_header_timeout`).
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request (`keepalive_timeout`); zero: each
    /// serves one request.
    pub idle_timeout: Duration,
    /// How long the TLS handshake and a PROXY header may take.
    pub handshake_timeout: Duration,
    /// How long there may be nothing of a body (`client_body_timeout`).
    pub body_timeout: Duration,
    /// How long a client may take nothing of its answer (`send_timeout`).
    pub send_timeout: Duration,
    /// Bytes of a request's head.
    pub head_size: usize,
    /// Bytes of a line of it.
    pub head_line_size: usize,
    /// Headers of a request.
    pub head_lines: usize,
    /// Requests on one connection (`keepalive_requests`).
    pub requests_per_connection: u64,
    /// Connections at one time on each worker (`worker_connections`).
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            header_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(75),
            handshake_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            head_size: 64 * 1024,
            head_line_size: 8 * 1024,
            head_lines: 1000,
            requests_per_connection: 10_000,
            connections: 16_384,
        }
    }
}

/// TLS, both ways. Certificates and keys are PEM texts.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// What is shown to clients for which no certificate entity fits (`ssl_cert`, `ssl_cert_key`).
    pub default_certificates: Vec<(String, String)>,
    /// What clients are spoken to in (`ssl_protocols`).
    pub versions: Versions,
    /// In which ciphers (`ssl_ciphers`); none is all that are good.
    pub ciphers: Option<Choice>,
    /// Whether the order of the ciphers counts, rather than the client's
    /// (`ssl_prefer_server_ciphers`).
    pub prefer_server_ciphers: bool,
    /// Whether clients get tickets to resume their sessions by (`ssl_session_tickets`).
    pub session_tickets: bool,
    /// How long a session can be resumed (`ssl_session_timeout`).
    pub session_timeout: Duration,
    /// How many bytes of sessions are kept for clients without a ticket
    /// (`ssl_session_cache_size`); 0 keeps none.
    pub session_cache: usize,
    /// How upstreams are spoken to.
    pub upstream: UpstreamTls,
}

/// TLS to upstreams, where their services and plugins don't say.
#[derive(Debug, Clone, Default)]
pub struct UpstreamTls {
    /// Who is trusted, and to which depth (`nginx_proxy_proxy_ssl_trusted_certificate` or else
    /// `lua_ssl_trusted_certificate`, `nginx_proxy_proxy_ssl_verify_depth`).
    pub trust: Trust,
    /// Whether they are verified (`nginx_proxy_proxy_ssl_verify`).
    pub verify: bool,
    /// What is shown to them (`client_ssl_cert`).
    pub client_certificate: Option<(String, String)>,
    /// The versions (`nginx_proxy_proxy_ssl_protocols`).
    pub versions: Versions,
    /// The ciphers (`nginx_proxy_proxy_ssl_ciphers`); none is all that are good.
    pub ciphers: Option<Choice>,
}

impl Default for TlsSettings {
    fn default() -> TlsSettings {
        TlsSettings {
            default_certificates: Vec::new(),
            versions: Versions::default(),
            ciphers: None,
            prefer_server_ciphers: false,
            session_tickets: true,
            session_timeout: Duration::from_secs(86_400),
            session_cache: 10 << 20,
            upstream: UpstreamTls::default(),
        }
    }
}
