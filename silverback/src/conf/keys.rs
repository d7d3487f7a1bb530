//! Every key of kong.conf, as data: Kong 3.10's own, and the few that Silverback adds.
//!
//! The names, types and defaults are Kong's (kong.conf.default, kong/templates/kong_defaults.lua,
//! kong/conf_loader/constants.lua). The order of the sections is that of kong.conf.default.

mod network;
mod node;
#[cfg(test)]
mod reference;
mod runtime;
mod storage;

use super::listen::Subsystem;

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name in kong.conf; `KONG_` and the name in capitals in the environment.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Its default as one would write it; empty if it has none.
    pub default: &'static str,
    /// What becomes of it here.
    pub effect: Effect,
    /// What it is for, in a line or a few.
    pub doc: &'static str,
}

/// What values a key takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// `on`, `off`, `true` or `false`; shown as a JSON boolean.
    Boolean,
    /// The same, but shown as `"on"` or `"off"`: Kong hands these to nginx as they are.
    Switch,
    /// Any text.
    Text,
    /// A path; relative ones start at the prefix, or at the working directory for certificates.
    Path,
    /// A number of a range.
    Number(&'static Range),
    /// Any number of texts, between commas.
    List,
    /// One of a few words.
    Enum(&'static [&'static str]),
    /// Bytes, as nginx writes them: `8k`, `10m`, `1g`.
    Size,
    /// A time, as nginx writes it: `60s`, `1d`, `1h 30m`.
    Duration,
    /// Addresses with flags, between commas.
    Listen(Subsystem),
}

/// The numbers that a key takes, bounds included unless said otherwise.
#[derive(Debug)]
pub(crate) struct Range {
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Whether the least itself is excluded.
    pub above_min: bool,
    /// Whether fractions are refused.
    pub integer: bool,
    /// The end of an error that starts with the key's name.
    pub must: &'static str,
}

impl Range {
    /// Whether `number` is in the range.
    pub(crate) fn contains(&self, number: f64) -> bool {
        let above = if self.above_min { number > self.min } else { number >= self.min };
        above && number <= self.max && (!self.integer || number.fract() == 0.0)
    }
}

/// What becomes of a key's value here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It does what its documentation says.
    Used,
    /// It is accepted so that a Kong configuration works unchanged, and has no effect; the reason
    /// follows "has no effect: ".
    Ignored(&'static str),
}

/// A part of kong.conf with a heading.
#[derive(Debug)]
pub(crate) struct Section {
    /// The heading.
    pub title: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// All sections, in the order in which the commented file shows them.
pub(crate) static SECTIONS: &[Section] = &[
    Section { title: "General", keys: node::GENERAL },
    Section { title: "Hybrid mode", keys: node::HYBRID },
    Section { title: "Listeners", keys: network::LISTENERS },
    Section { title: "TLS", keys: network::TLS },
    Section { title: "Requests and connections", keys: network::TRAFFIC },
    Section { title: "nginx directives", keys: network::NGINX },
    Section { title: "Datastore", keys: storage::DATASTORE },
    Section { title: "Datastore cache", keys: storage::CACHE },
    Section { title: "DNS", keys: runtime::DNS },
    Section { title: "Routing and workers", keys: runtime::WORKERS },
    Section { title: "Lua", keys: runtime::LUA },
    Section { title: "Kong Manager", keys: node::MANAGER },
    Section { title: "WebAssembly", keys: runtime::WASM },
    Section { title: "Debugging", keys: node::DEBUGGING },
];

/// All keys.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// The key of that name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// A family of keys: whatever starts with the prefix is one.
#[derive(Debug)]
pub(crate) struct Family {
    /// What the names start with.
    pub prefix: &'static str,
    /// The key of the Admin API's `configuration` that lists the nginx directives given this way.
    pub directives: Option<&'static str>,
    /// What becomes of members without an entry of their own in the table.
    pub effect: Effect,
}

const NO_NGINX: Effect = Effect::Ignored("there is no nginx here that it could configure");
const NO_WASM: Effect = Effect::Ignored("WebAssembly filters are not available");

/// The families. The first that matches counts, so longer prefixes come before shorter ones.
pub(crate) static FAMILIES: &[Family] = &[
    family("nginx_main_", Some("nginx_main_directives"), NO_NGINX),
    family("nginx_events_", Some("nginx_events_directives"), NO_NGINX),
    family("nginx_http_", Some("nginx_http_directives"), NO_NGINX),
    family("nginx_upstream_", Some("nginx_upstream_directives"), NO_NGINX),
    family("nginx_proxy_", Some("nginx_proxy_directives"), NO_NGINX),
    family("nginx_location_", Some("nginx_location_directives"), NO_NGINX),
    family("nginx_status_", Some("nginx_status_directives"), NO_NGINX),
    family("nginx_admin_", Some("nginx_admin_directives"), NO_NGINX),
    family("nginx_stream_", Some("nginx_stream_directives"), NO_NGINX),
    family("nginx_supstream_", Some("nginx_supstream_directives"), NO_NGINX),
    family("nginx_sproxy_", Some("nginx_sproxy_directives"), NO_NGINX),
    family("nginx_wasm_wasmtime_", Some("nginx_wasm_wasmtime_directives"), NO_WASM),
    family("nginx_wasm_v8_", Some("nginx_wasm_v8_directives"), NO_WASM),
    family("nginx_wasm_wasmer_", Some("nginx_wasm_wasmer_directives"), NO_WASM),
    family("nginx_wasm_shm_kv_", Some("nginx_wasm_main_shm_kv_directives"), NO_WASM),
    family("nginx_wasm_", Some("nginx_wasm_main_directives"), NO_WASM),
    family("pluginserver_", None, Effect::Used),
    family("vault_", None, Effect::Used),
];

const fn family(prefix: &'static str, directives: Option<&'static str>, effect: Effect) -> Family {
    Family { prefix, directives, effect }
}

/// The family that `name` belongs to.
pub(crate) fn family_of(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|f| name.strip_prefix(f.prefix).is_some_and(|rest| !rest.is_empty()))
}

/// nginx directives that mean something here though they have no key of their own in the table.
/// They are known after `nginx_http_`, and after `nginx_proxy_` where that differs.
pub(crate) static DIRECTIVES_USED: &[&str] = &[
    "nginx_http_log_format",
    "nginx_http_lua_shared_dict",
    "nginx_stream_log_format",
    "nginx_stream_lua_shared_dict",
    "nginx_http_large_client_header_buffers",
    "nginx_http_client_header_timeout",
    "nginx_http_client_body_timeout",
    "nginx_http_keepalive_timeout",
    "nginx_http_send_timeout",
    "nginx_proxy_proxy_ssl_ciphers",
    "nginx_proxy_proxy_ssl_protocols",
    "nginx_proxy_proxy_ssl_trusted_certificate",
    "nginx_proxy_proxy_ssl_verify",
    "nginx_proxy_proxy_ssl_verify_depth",
    "nginx_http_proxy_ssl_ciphers",
    "nginx_http_proxy_ssl_protocols",
    "nginx_http_proxy_ssl_trusted_certificate",
    "nginx_http_proxy_ssl_verify",
    "nginx_http_proxy_ssl_verify_depth",
    "nginx_proxy_client_max_body_size",
    "nginx_proxy_client_body_buffer_size",
    "nginx_http_add_header",
    "nginx_proxy_add_header",
];

/// Keys whose values are not shown: Kong's list (`CONF_SENSITIVE`).
pub(crate) static SENSITIVE: &[&str] = &[
    "pg_password",
    "pg_ro_password",
    "proxy_server",
    "declarative_config_string",
    "cluster_cert_key",
    "ssl_cert_key",
    "client_ssl_cert_key",
    "admin_ssl_cert_key",
    "admin_gui_ssl_cert_key",
    "status_ssl_cert_key",
    "debug_ssl_cert_key",
];

/// What stands in the place of a sensitive value.
pub(crate) const MASK: &str = "******";

/// Keys that hand their value to another one unless that is given too. Kong does so in silence
/// for those without the mark, and warns of the others.
pub(crate) static ALIASES: &[Alias] = &[
    alias("nginx_user", "nginx_main_user", false),
    alias("nginx_daemon", "nginx_main_daemon", false),
    alias("nginx_worker_processes", "nginx_main_worker_processes", false),
    alias("real_ip_header", "nginx_proxy_real_ip_header", false),
    alias("real_ip_recursive", "nginx_proxy_real_ip_recursive", false),
    alias("client_body_buffer_size", "nginx_http_client_body_buffer_size", false),
    alias("client_max_body_size", "nginx_http_client_max_body_size", true),
    alias("opentelemetry_tracing", "tracing_instrumentations", true),
    alias("opentelemetry_tracing_sampling_rate", "tracing_sampling_rate", true),
    alias("privileged_worker", "dedicated_config_processing", true),
    alias("router_consistency", "worker_consistency", true),
    alias("upstream_keepalive", "upstream_keepalive_pool_size", true),
    alias("nginx_upstream_keepalive", "upstream_keepalive_pool_size", true),
    alias("nginx_http_upstream_keepalive", "upstream_keepalive_pool_size", true),
    alias("nginx_upstream_keepalive_requests", "upstream_keepalive_max_requests", true),
    alias("nginx_http_upstream_keepalive_requests", "upstream_keepalive_max_requests", true),
    alias("nginx_upstream_keepalive_timeout", "upstream_keepalive_idle_timeout", true),
    alias("nginx_http_upstream_keepalive_timeout", "upstream_keepalive_idle_timeout", true),
];

/// A key that stands for another one.
#[derive(Debug)]
pub(crate) struct Alias {
    /// The name that may be given.
    pub name: &'static str,
    /// The name it stands for.
    pub replacement: &'static str,
    /// Whether to warn of it.
    pub deprecated: bool,
}

const fn alias(name: &'static str, replacement: &'static str, deprecated: bool) -> Alias {
    Alias { name, replacement, deprecated }
}

/// Keys whose value, default included, is also that of nginx directives.
pub(crate) static ALSO_DIRECTIVES: &[(&str, &[&str])] = &[
    ("ssl_protocols", &["nginx_http_ssl_protocols", "nginx_stream_ssl_protocols"]),
    (
        "ssl_prefer_server_ciphers",
        &["nginx_http_ssl_prefer_server_ciphers", "nginx_stream_ssl_prefer_server_ciphers"],
    ),
    ("ssl_dhparam", &["nginx_http_ssl_dhparam", "nginx_stream_ssl_dhparam"]),
    (
        "ssl_session_tickets",
        &["nginx_http_ssl_session_tickets", "nginx_stream_ssl_session_tickets"],
    ),
    (
        "ssl_session_timeout",
        &["nginx_http_ssl_session_timeout", "nginx_stream_ssl_session_timeout"],
    ),
    ("lua_ssl_protocols", &["nginx_http_lua_ssl_protocols", "nginx_stream_lua_ssl_protocols"]),
];

/// The known key nearest to `name`, if it is near enough to be what was meant.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let limit = 1 + name.len() / 6;
    all()
        .map(|key| (edit_distance(name, key.name), key.name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein's distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, &to) in b.iter().enumerate() {
            let replace = row[j] + usize::from(from != to);
            next.push(replace.min(row[j + 1] + 1).min(next[j] + 1));
        }
        row = next;
    }
    row[b.len()]
}

const fn k(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    effect: Effect,
    doc: &'static str,
) -> Key {
    Key { name, kind, default, effect, doc }
}

const fn range(min: f64, max: f64, integer: bool, must: &'static str) -> Range {
    Range { min, max, above_min: false, integer, must }
}

/// Greatest number of which every lesser integer is exact.
const LARGE: f64 = 9_007_199_254_740_991.0;

static ANY_FROM_0: Range = range(0.0, LARGE, false, "must be 0 or greater");
static FROM_0: Range = range(0.0, LARGE, true, "must be an integer, 0 or greater");
static PORT: Range = range(1.0, 65535.0, true, "must be an integer between 1 and 65535");
static RATIO: Range = range(0.0, 1.0, false, "must be between 0 and 1");
static LUA_MAX: Range = range(1.0, 1000.0, true, "must be an integer between 1 and 1000");
static FROM_60: Range = range(60.0, LARGE, false, "must be 60 or greater");
static FROM_4M: Range = range(4_194_304.0, LARGE, false, "must be 4194304 (4MB) or greater");
static ABOVE_0: Range =
    Range { min: 0.0, max: LARGE, above_min: true, integer: false, must: "must be greater than 0" };

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_defaults_are_valid() {
        let mut seen = HashSet::new();
        for key in all() {
            assert!(seen.insert(key.name), "{} stands twice in the table", key.name);
            assert!(key.doc.ends_with('.'), "{} lacks a sentence", key.name);
            let parsed = super::super::value::parse(key, key.default);
            assert!(parsed.is_ok(), "{}: {parsed:?}", key.name);
        }
        for name in SENSITIVE {
            assert!(find(name).is_some(), "{name} is sensitive but unknown");
        }
        for alias in ALIASES {
            let known = find(alias.replacement).is_some();
            assert!(known, "{} stands for an unknown key", alias.name);
        }
    }

    #[test]
    fn the_nearest_key() {
        for (name, expect) in [
            ("proxy_listn", Some("proxy_listen")),
            ("log_levl", Some("log_level")),
            ("trustd_ips", Some("trusted_ips")),
            ("pluginserver_name", Some("pluginserver_names")),
            ("smtp_host", None),
            ("zzz", None),
        ] {
            assert_eq!(nearest(name), expect, "{name}");
        }
    }

    #[test]
    fn families() {
        for (name, expect) in [
            ("nginx_http_gzip", Some("nginx_http_")),
            ("nginx_wasm_v8_x", Some("nginx_wasm_v8_")),
            ("nginx_wasm_x", Some("nginx_wasm_")),
            ("pluginserver_go_socket", Some("pluginserver_")),
            ("vault_env_prefix", Some("vault_")),
            ("nginx_http_", None),
            ("nginx_gzip", None),
        ] {
            assert_eq!(family_of(name).map(|f| f.prefix), expect, "{name}");
        }
    }
}
