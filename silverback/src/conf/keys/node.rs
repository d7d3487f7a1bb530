//! The node itself: general settings, hybrid mode, Kong Manager, debugging.

use super::Effect::{Ignored, Used};
use super::Kind::{Boolean, Enum, List, Listen, Number, Path, Text};
use super::{FROM_4M, FROM_60, Key, RATIO, k};
use crate::conf::listen::Subsystem;

const NO_HYBRID: super::Effect = Ignored("hybrid mode is not available");
const NO_MANAGER: super::Effect = Ignored("Kong Manager is not a part of Silverback");
const ONE_LOG: super::Effect = Ignored("errors of all kinds stand in proxy_error_log");
const NO_API_LOG: super::Effect = Ignored("requests to the APIs are not logged");
const NO_TRACES: super::Effect = Ignored("traces are not recorded");
const NO_FORWARD: super::Effect = Ignored("the gateway's own requests go straight out");
const NO_TIMING: super::Effect = Ignored("requests get no timing details");

/// The words of `log_level`, the most talkative first.
pub(crate) static LOG_LEVELS: &[&str] =
    &["debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"];

static MIME_TYPES: &[&str] = &["application/json", "application/xml", "text/html", "text/plain"];

#[rustfmt::skip]
pub(super) static GENERAL: &[Key] = &[
    k("prefix", Path, "/usr/local/kong/", Used,
      "Working directory: logs, sockets, generated certificates and the database live under it."),
    k("node_id", Text, "", Used,
      "Id of this node, a UUID. Without one, an id is made and kept under the prefix."),
    k("log_level", Enum(LOG_LEVELS), "notice", Used,
      "How much is logged: what is of this level or more urgent."),
    k("proxy_access_log", Text, "logs/access.log", Used,
      "Where proxied requests are logged: a path below the prefix or absolute, `off`, or\n\
       `syslog:server=ADDRESS` with nginx's parameters. The name of a log format may follow."),
    k("proxy_error_log", Text, "logs/error.log", Used,
      "Where errors of the proxy are logged: a path, `off`, or `syslog:server=ADDRESS`. A level\n\
       may follow."),
    k("proxy_stream_access_log", Text, "logs/access.log basic", Used,
      "Where proxied TCP and UDP sessions are logged, or `off`."),
    k("proxy_stream_error_log", Text, "logs/error.log", ONE_LOG,
      "Where errors of the stream proxy are logged."),
    k("admin_access_log", Text, "logs/admin_access.log", NO_API_LOG,
      "Where requests to the Admin API are logged, or `off`."),
    k("admin_error_log", Text, "logs/error.log", ONE_LOG,
      "Where errors of the Admin API are logged."),
    k("status_access_log", Text, "off", NO_API_LOG,
      "Where requests to the Status API are logged, or `off`."),
    k("status_error_log", Text, "logs/status_error.log", ONE_LOG,
      "Where errors of the Status API are logged."),
    k("vaults", List, "bundled", Used,
      "The vaults that may be referred to: `bundled`, `env`, `file`, or `off`. `vault_env_prefix`\n\
       and `vault_file_directory` and the like are for them; see docs/vaults.md."),
    k("opentelemetry_tracing", List, "off", Used,
      "Former name of `tracing_instrumentations`."),
    k("tracing_instrumentations", List, "off", NO_TRACES,
      "What traces record: `off`, `all`, `request`, `db_query`, `dns_query`, `router`,\n\
       `http_client`, `balancer`, `plugin_rewrite`, `plugin_access`, `plugin_header_filter`."),
    k("opentelemetry_tracing_sampling_rate", Number(&RATIO), "0.01", Used,
      "Former name of `tracing_sampling_rate`."),
    k("tracing_sampling_rate", Number(&RATIO), "0.01", NO_TRACES,
      "The part of all requests that is traced, from 0 to 1."),
    k("plugins", List, "bundled", Used,
      "The plugins that may be used: `bundled` for those that come along, names of others,\n\
       or `off`. Plugins of plugin servers are added by name."),
    k("pluginserver_names", List, "", Used,
      "Names of plugin servers. Each NAME has settings of its own, in which its dashes are\n\
       underscores:\n\
       pluginserver_NAME_socket = <prefix>/NAME.socket    its Unix socket\n\
       pluginserver_NAME_start_cmd = /usr/local/bin/NAME  command that starts it, if that exists\n\
       pluginserver_NAME_query_cmd = /usr/local/bin/query_NAME\n\
       \u{20}                                                  command that prints what it offers\n\
       pluginserver_NAME_timeout = 60000                  longest wait for an answer, in ms\n\
       pluginserver_NAME_connections = 256                most connections per worker\n\
       pluginserver_NAME_fail_open = off                  let requests through when it fails."),
    k("port_maps", List, "", Used,
      "Pairs `outer:inner` of ports, where a port mapper stands in front of the listeners."),
    k("anonymous_reports", Boolean, "on", Ignored("Silverback sends no reports"),
      "Kong's reports of usage. Silverback sends none."),
    k("proxy_server", Text, "", NO_FORWARD,
      "URL of a forward proxy for the gateway's own requests to the outside."),
    k("proxy_server_ssl_verify", Boolean, "on", NO_FORWARD,
      "Whether the certificate of an https `proxy_server` is verified."),
    k("error_template_html", Path, "", Used,
      "Template for HTML error answers; `%s` in it are the message and the request id."),
    k("error_template_json", Path, "", Used, "Template for JSON error answers."),
    k("error_template_xml", Path, "", Used, "Template for XML error answers."),
    k("error_template_plain", Path, "", Used, "Template for plain text error answers."),
    k("error_default_type", Enum(MIME_TYPES), "text/plain", Used,
      "Type of error answers to requests without an Accept header."),
    k("kic", Boolean, "off", Used,
      "Set by the ingress controller when it manages this node."),
    k("openresty_path", Path, "", Ignored("there is no OpenResty here"),
      "Where Kong finds OpenResty."),
];

#[rustfmt::skip]
pub(super) static HYBRID: &[Key] = &[
    k("role", Enum(&["data_plane", "control_plane", "traditional"]), "traditional", Used,
      "What this node does. Only `traditional` is available."),
    k("cluster_mtls", Enum(&["shared", "pki"]), "shared", NO_HYBRID,
      "How control and data planes verify each other."),
    k("cluster_cert", Path, "", NO_HYBRID, "Certificate of the cluster."),
    k("cluster_cert_key", Path, "", NO_HYBRID, "Private key of the cluster's certificate."),
    k("cluster_ca_cert", Path, "", NO_HYBRID, "Authority of the cluster's certificates."),
    k("cluster_server_name", Text, "", NO_HYBRID, "SNI of connections to the control plane."),
    k("cluster_control_plane", Text, "127.0.0.1:8005", NO_HYBRID,
      "Address of the control plane."),
    k("cluster_max_payload", Number(&FROM_4M), "16777216", NO_HYBRID,
      "Largest configuration that a control plane sends, in bytes, compressed."),
    k("cluster_dp_labels", List, "", NO_HYBRID, "Labels of a data plane, `key:value`."),
    k("cluster_listen", Listen(Subsystem::Http), "0.0.0.0:8005", NO_HYBRID,
      "Where a control plane listens for data planes."),
    k("cluster_data_plane_purge_delay", Number(&FROM_60), "1209600", NO_HYBRID,
      "Seconds after which a silent data plane is forgotten."),
    k("cluster_ocsp", Enum(&["on", "off", "optional"]), "off", NO_HYBRID,
      "Whether revocation of data planes' certificates is checked."),
    k("cluster_use_proxy", Boolean, "off", NO_HYBRID,
      "Whether a data plane goes through `proxy_server`."),
    k("cluster_rpc", Boolean, "off", NO_HYBRID, "Remote calls between planes."),
    k("cluster_rpc_sync", Boolean, "off", NO_HYBRID, "Incremental synchronization."),
    k("cluster_cjson", Boolean, "off", NO_HYBRID, "JSON library of the synchronization."),
];

#[rustfmt::skip]
pub(super) static MANAGER: &[Key] = &[
    k("admin_gui_listen", Listen(Subsystem::Http), "0.0.0.0:8002, 0.0.0.0:8445 ssl", NO_MANAGER,
      "Where Kong Manager listens."),
    k("admin_gui_url", List, "", Used,
      "Where browsers find Kong Manager, or another user interface: whose scripts may read what \
       the Admin API answers (CORS)."),
    k("admin_gui_path", Text, "/", NO_MANAGER, "Base path of Kong Manager."),
    k("admin_gui_api_url", Text, "", NO_MANAGER, "Where Kong Manager finds the Admin API."),
    k("admin_gui_csp_header", Boolean, "off", NO_MANAGER, "Content-Security-Policy header."),
    k("admin_gui_ssl_cert", List, "", NO_MANAGER, "Certificates of Kong Manager."),
    k("admin_gui_ssl_cert_key", List, "", NO_MANAGER, "Private keys of those certificates."),
    k("admin_gui_access_log", Text, "logs/admin_gui_access.log", NO_MANAGER, "Its access log."),
    k("admin_gui_error_log", Text, "logs/admin_gui_error.log", NO_MANAGER, "Its error log."),
];

#[rustfmt::skip]
pub(super) static DEBUGGING: &[Key] = &[
    k("request_debug", Boolean, "on", NO_TIMING,
      "Whether requests with the right token get timing details."),
    k("request_debug_token", Text, "", NO_TIMING,
      "Token for requests from elsewhere than this machine; random unless set."),
    k("debug_ssl_cert", List, "", Ignored("there is no debug listener here"),
      "Certificates of Kong's debug listener."),
    k("debug_ssl_cert_key", List, "", Ignored("there is no debug listener here"),
      "Private keys of those certificates."),
];
