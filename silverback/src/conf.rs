//! Silverback's configuration: kong.conf, `KONG_*` variables, command line.
//!
//! Kong 3.x's keys, types, defaults and precedence (kong.conf.default, kong/conf_loader). All that
//! is wrong is found here, at load time, and said with its place; what has no meaning here is
//! accepted with a notice. The path of a value: [`file`] and [`load`] find its text, [`keys`] says
//! what it may be, [`value`] parses it, and `build` makes the typed [`Conf`] of all of them.

mod build;
mod configuration;
mod env_file;
pub(crate) mod file;
pub(crate) mod keys;
pub(crate) mod listen;
pub(crate) mod load;
pub(crate) mod pluginserver;
mod secrets;
pub(crate) mod settings;
mod template;
pub(crate) mod tls;
pub(crate) mod value;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use silverback_proxy::AddedHeader;
use silverback_tls::Versions;

pub(crate) use env_file::ENV_FILE;
pub(crate) use listen::{Listener, SoKeepalive};
pub(crate) use load::{LoadArgs, environment};
pub(crate) use pluginserver::PluginServer;
pub(crate) use settings::{ConfErrors, Settings};
pub(crate) use template::commented_file;
pub(crate) use tls::{Material, Pairs, Tls, UpstreamTls};

/// A whole, valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conf {
    /// Working directory, absolute.
    pub prefix: PathBuf,
    /// Id of this node, a UUID, if one was given.
    pub node_id: Option<String>,
    /// What is logged.
    pub log_level: LogLevel,
    /// Where logs go.
    pub logs: Logs,

    /// Listeners of the HTTP proxy.
    pub proxy_listen: Vec<Listener>,
    /// Listeners of the stream proxy.
    pub stream_listen: Vec<Listener>,
    /// Listeners of the Admin API.
    pub admin_listen: Vec<Listener>,
    /// Listeners of the Status API.
    pub status_listen: Vec<Listener>,
    /// Outer port of each inner one, where a port mapper stands in front: (outer, inner).
    pub port_maps: Vec<(u16, u16)>,

    /// Number of workers; `None` is one per processor.
    pub workers: Option<usize>,
    /// Open files that the process may have; `None` is as many as the system allows.
    pub open_files: Option<u64>,
    /// Connections of clients that each worker may have; `None` is Kong's 16384.
    pub worker_connections: Option<u64>,
    /// Whether `start` leaves the gateway in the background.
    pub daemon: bool,
    /// User and group to run as when started by root.
    pub user: Option<(String, String)>,

    /// TLS of the proxy's listeners, HTTP and stream.
    pub tls: Tls,
    /// TLS to upstreams.
    pub upstream_tls: UpstreamTls,
    /// Certificates of the Admin API.
    pub admin_certificates: Pairs,
    /// Certificates of the Status API.
    pub status_certificates: Pairs,
    /// Certificate for upstreams that ask for one.
    pub client_certificate: Option<(Material, Material)>,

    /// Where entities are kept.
    pub database: Database,
    /// The declarative configuration to start with, absolute.
    pub declarative_config: Option<PathBuf>,
    /// The declarative configuration to start with, as text.
    pub declarative_config_string: Option<String>,

    /// Plugins that may be used: names, `bundled`, or nothing if off.
    pub plugins: Vec<String>,
    /// Plugin servers.
    pub pluginservers: Vec<PluginServer>,
    /// Vaults that may be used: names, `bundled`, or nothing if off.
    pub vaults: Vec<String>,

    /// Whose X-Forwarded-* headers are believed.
    pub trusted: Trusted,
    /// Headers added to answers.
    pub headers: ResponseHeaders,
    /// Headers that users have their answers get beside.
    pub added_headers: Vec<AddedHeader>,
    /// Whether X-Kong-Request-Id is added to requests.
    pub upstream_request_id: bool,
    /// Limits of what clients send.
    pub limits: Limits,
    /// Limits of what clients of the Admin API send.
    pub admin_limits: BodyLimits,
    /// Reuse of upstream connections.
    pub upstream_keepalive: UpstreamKeepalive,
    /// Error answers.
    pub errors: Errors,
    /// Whether `Kong-Debug: 1` is answered.
    pub allow_debug_header: bool,
    /// Whether requests get timing details, and the token for those from elsewhere.
    pub request_debug: bool,
    /// See `request_debug`; random if `None`.
    pub request_debug_token: Option<String>,

    /// How routes are written.
    pub router_flavor: RouterFlavor,
    /// Whether requests wait for changes of configuration.
    pub worker_consistency_strict: bool,
    /// Time between looks for changes of configuration.
    pub worker_state_update_frequency: Duration,
    /// Size of each cache of entities, in bytes.
    pub mem_cache_size: u64,
    /// Name resolution.
    pub dns: Dns,
    /// Lua plugins.
    pub lua: Lua,
    /// Spans that traces have, nothing if off.
    pub tracing_instrumentations: Vec<String>,
    /// The part of requests that is traced, 0 to 1.
    pub tracing_sampling_rate: f64,
    /// Forward proxy for the gateway's own requests: URL and whether to verify its certificate.
    pub proxy_server: Option<(String, bool)>,

    /// Every effective value by name, for all that has no field above.
    pub settings: Settings,
}

/// Where entities are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Database {
    /// In memory, from a declarative configuration.
    Off,
    /// In this file, absolute.
    Sqlite(PathBuf),
    /// In PostgreSQL, as `pg_*` say.
    Postgres,
}

/// A configuration and what there is to say about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Loaded {
    /// The configuration.
    pub conf: Conf,
    /// What is probably a mistake: unknown or deprecated settings.
    pub warnings: Vec<String>,
    /// What has no effect here, and why.
    pub notices: Vec<String>,
}

impl Conf {
    /// Loads and checks a configuration.
    ///
    /// # Errors
    /// Everything that is wrong, each with key, value, place and what is allowed.
    pub(crate) fn load(args: &LoadArgs) -> Result<Loaded, ConfErrors> {
        Self::load_as(args, load::Mode::Written)
    }

    /// The configuration of the node that runs in `prefix`, from its `.kong_env`. `KONG_*` do not
    /// count. All was valid when the node started; a secret or a file it names may be gone since,
    /// which must not keep anybody from stopping the node.
    ///
    /// # Errors
    /// That the file cannot be read.
    pub(crate) fn read_env_file(prefix: &Path) -> Result<Self, ConfErrors> {
        let args = LoadArgs {
            conf: Some(prefix.join(ENV_FILE)),
            prefix: Some(prefix.to_owned()),
            variables: environment(),
            ..LoadArgs::default()
        };
        Self::load_as(&args, load::Mode::EnvFile).map(|loaded| loaded.conf)
    }

    fn load_as(args: &LoadArgs, mode: load::Mode) -> Result<Loaded, ConfErrors> {
        let mut findings = settings::Findings::default();
        let settings = load::settings(args, mode, &mut findings);
        let conf = build::conf(settings, &mut findings);
        let settings::Findings { mut errors, warnings, notices } = findings;
        if mode == load::Mode::EnvFile {
            // Errors of the file itself have no origin of a value.
            errors.retain(|error| error.origin.is_none());
        }
        if errors.is_empty() {
            Ok(Loaded { conf, warnings, notices })
        } else {
            Err(ConfErrors(errors))
        }
    }
}

/// The levels of log lines, the most talkative first (nginx's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Notice,
    Warn,
    Error,
    Crit,
    Alert,
    Emerg,
}

/// Where logs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logs {
    /// Proxied HTTP requests.
    pub proxy_access: Log,
    /// Errors of the proxy.
    pub proxy_error: Log,
    /// Proxied streams.
    pub stream_access: Log,
    /// Errors of the stream proxy.
    pub stream_error: Log,
    /// Requests to the Admin API.
    pub admin_access: Log,
    /// Errors of the Admin API.
    pub admin_error: Log,
    /// Requests to the Status API.
    pub status_access: Log,
    /// Errors of the Status API.
    pub status_error: Log,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    /// Where it goes.
    pub target: LogTarget,
    /// The word behind it: the format of an access log, the level of an error log.
    pub option: Option<String>,
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, absolute.
    File(PathBuf),
    /// A syslog server, as nginx writes it: `server=ADDRESS,facility=...`.
    Syslog(String),
}

/// Whose X-Forwarded-* headers are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trusted {
    /// Addresses and blocks.
    pub networks: Vec<IpNet>,
    /// Clients on Unix sockets.
    pub unix: bool,
    /// The header with the real address, or `proxy_protocol`.
    pub real_ip_header: String,
    /// Whether the last address that is not trusted counts, rather than the last.
    pub real_ip_recursive: bool,
}

/// Headers that are added to answers (kong/conf_loader/init.lua, `enabled_headers`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ResponseHeaders {
    pub server: bool,
    pub via: bool,
    pub proxy_latency: bool,
    pub response_latency: bool,
    pub admin_latency: bool,
    pub upstream_latency: bool,
    pub upstream_status: bool,
    pub request_id: bool,
}

/// Limits of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyLimits {
    /// Largest body in bytes; `None` is no limit.
    pub max_body: Option<u64>,
    /// Part of a body that is kept in memory, in bytes.
    pub body_buffer: u64,
}

/// Limits of what clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Of bodies.
    pub body: BodyLimits,
    /// Largest request head, in bytes (`large_client_header_buffers`, count times size).
    pub max_head: u64,
    /// Longest line of it, in bytes (the size alone).
    pub max_head_line: u64,
    /// Longest wait for a request's head.
    pub head_timeout: Duration,
    /// Longest wait between two reads of a body.
    pub body_timeout: Duration,
    /// Longest wait between two writes to the client.
    pub send_timeout: Duration,
    /// How long an idle client connection is kept.
    pub keepalive_timeout: Duration,
    /// Requests after which a client connection is closed.
    pub keepalive_requests: u64,
}

/// Reuse of upstream connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UpstreamKeepalive {
    /// Idle connections per upstream and worker; 0 keeps none.
    pub pool_size: u32,
    /// Requests after which a connection is closed; `None` is no limit.
    pub max_requests: Option<u32>,
    /// Time after which an idle connection is closed; `None` is no limit.
    pub idle_timeout: Option<Duration>,
}

/// Error answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Errors {
    /// Type where the request names none.
    pub default_type: String,
    /// Template for HTML.
    pub template_html: Option<PathBuf>,
    /// Template for JSON.
    pub template_json: Option<PathBuf>,
    /// Template for XML.
    pub template_xml: Option<PathBuf>,
    /// Template for plain text.
    pub template_plain: Option<PathBuf>,
}

/// How routes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouterFlavor {
    Traditional,
    TraditionalCompatible,
    Expressions,
}

/// Name resolution: the `dns_*` settings, or the `resolver_*` ones with `new_dns_client`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dns {
    /// Whether it is the `resolver_*` settings.
    pub new_client: bool,
    /// Name servers; none means those of resolv.conf.
    pub servers: Vec<SocketAddr>,
    /// The hosts file.
    pub hosts_file: Option<PathBuf>,
    /// Record types in capitals in the order in which they are asked for; may hold `LAST`.
    pub order: Vec<String>,
    /// Time that answers stay valid, instead of what they say.
    pub valid_ttl: Option<Duration>,
    /// Time that expired answers serve on.
    pub stale_ttl: Duration,
    /// Time that the absence of a name stays cached.
    pub not_found_ttl: Duration,
    /// Time that errors stay cached.
    pub error_ttl: Duration,
    /// Most cached answers.
    pub cache_size: u32,
    /// Most bytes of them; none is no limit.
    pub memory: Option<u64>,
    /// Whether each request that misses a name asks for it itself.
    pub no_sync: bool,
}

/// Lua plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lua {
    /// Where modules are searched.
    pub package_path: String,
    /// Where modules in C are searched.
    pub package_cpath: String,
    /// Most request headers that plugins see.
    pub max_req_headers: u32,
    /// Most response headers that plugins see.
    pub max_resp_headers: u32,
    /// Most query arguments that plugins see.
    pub max_uri_args: u32,
    /// Most form fields that plugins see.
    pub max_post_args: u32,
    /// Idle connections per address.
    pub socket_pool_size: u32,
    /// Authorities that outgoing TLS connections trust.
    pub trusted_certificates: Vec<Material>,
    /// Longest chain of certificates.
    pub ssl_verify_depth: u32,
    /// TLS versions of outgoing connections.
    pub ssl_versions: Versions,
    /// Shared dictionaries of the HTTP side: name and size in bytes.
    pub shared_dicts: Vec<(String, u64)>,
    /// Shared dictionaries of the stream side.
    pub stream_shared_dicts: Vec<(String, u64)>,
    /// Steps after which a regular expression is given up.
    pub regex_match_limit: u32,
    /// CPU time that code may use without waiting, if there is a limit.
    pub cpu_budget: Option<Duration>,
    /// Most bytes that a worker's Lua state occupies; 0 is without a limit.
    pub max_memory: u64,
    /// Whether code in plugins' configurations runs.
    pub untrusted: UntrustedLua,
    /// Modules that fenced code may require.
    pub sandbox_requires: Vec<String>,
    /// Global variables that fenced code may read.
    pub sandbox_environment: Vec<String>,
}

/// Whether code in plugins' configurations runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UntrustedLua {
    /// It runs, and may do everything.
    On,
    /// It does not run.
    Off,
    /// It runs, fenced in.
    Sandbox,
}
