//! The typed configuration, from the effective values. Checks that need more than one key, or more
//! than a key's kind, are made here; their texts are Kong's (kong/conf_loader/parse.lua,
//! `check_and_parse`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys::Kind;
use super::settings::{Findings, Settings};
use super::value::Value;
use super::{
    BodyLimits, Conf, Database, Listener, Log, LogLevel, LogTarget, Logs, RouterFlavor, keys,
    listen, pluginserver, tls,
};

mod added;
mod dns;
mod lua;
mod traffic;

pub(super) use lua::system_certificates;

/// Builds the configuration. Where something is wrong, it is a found error and the value some
/// other: the result is only good without errors.
pub(super) fn conf(mut settings: Settings, findings: &mut Findings) -> Conf {
    choose_database(&mut settings);
    refuse_what_is_not_available(&settings, findings);
    tls::apply_suite(&mut settings);
    make_paths_absolute(&mut settings);
    refuse_shared_addresses(&settings, findings);
    let s = &settings;
    let prefix = absolute(s.text("prefix").unwrap_or("/usr/local/kong"));
    let (proxy_listen, stream_listen) =
        (listeners(s, "proxy_listen"), listeners(s, "stream_listen"));
    let (admin_listen, status_listen) =
        (listeners(s, "admin_listen"), listeners(s, "status_listen"));
    let proxy_ssl = has_ssl(&proxy_listen) || has_ssl(&stream_listen);
    Conf {
        node_id: node_id(s, findings),
        log_level: log_level(s),
        logs: logs(s, &prefix),
        port_maps: port_maps(s, findings),
        workers: workers(s, findings),
        open_files: auto_or_number(s, "nginx_main_worker_rlimit_nofile", findings),
        worker_connections: auto_or_number(s, "nginx_events_worker_connections", findings),
        daemon: s.is_on("nginx_main_daemon"),
        user: user(s),
        tls: tls::proxy(s, proxy_ssl, findings),
        upstream_tls: tls::upstream(s, findings),
        admin_certificates: tls::pairs(s, "admin_", has_ssl(&admin_listen), findings),
        status_certificates: tls::pairs(s, "status_", has_ssl(&status_listen), findings),
        client_certificate: tls::client(s, findings),
        declarative_config: s.text("declarative_config").map(absolute),
        declarative_config_string: s.text("declarative_config_string").map(str::to_owned),
        plugins: on_list(s, "plugins"),
        pluginservers: pluginserver::servers(s, &prefix, findings),
        vaults: on_list(s, "vaults"),
        trusted: traffic::trusted(s, findings),
        headers: traffic::response_headers(s, findings),
        added_headers: added::headers(s, findings),
        upstream_request_id: traffic::upstream_request_id(s, findings),
        limits: traffic::limits(s, findings),
        admin_limits: BodyLimits {
            max_body: s.size("nginx_admin_client_max_body_size").filter(|n| *n > 0),
            body_buffer: s.size("nginx_admin_client_body_buffer_size").unwrap_or(10 << 20),
        },
        upstream_keepalive: traffic::upstream_keepalive(s),
        errors: traffic::errors(s, &prefix),
        allow_debug_header: s.is_on("allow_debug_header"),
        request_debug: s.is_on("request_debug"),
        request_debug_token: s.text("request_debug_token").map(str::to_owned),
        router_flavor: router_flavor(s),
        worker_consistency_strict: strict_consistency(s, findings),
        worker_state_update_frequency: seconds(s, "worker_state_update_frequency"),
        mem_cache_size: s.size("mem_cache_size").unwrap_or(128 << 20),
        dns: dns::dns(s, findings),
        lua: lua::lua(s, findings),
        tracing_instrumentations: tracing(s, findings),
        tracing_sampling_rate: s.number("tracing_sampling_rate").unwrap_or(0.0),
        proxy_server: proxy_server(s, findings),
        database: database(s, &prefix),
        prefix,
        proxy_listen,
        stream_listen,
        admin_listen,
        status_listen,
        settings,
    }
}

/// Whoever says where a PostgreSQL server is means it, as with Kong, whose default it is; whoever
/// names a declarative configuration wants that and no other.
fn choose_database(settings: &mut Settings) {
    let postgres = ["pg_host", "pg_port", "pg_user", "pg_password", "pg_database", "pg_schema"];
    let declarative = ["declarative_config", "declarative_config_string"];
    let given = |keys: &[&str]| keys.iter().any(|key| settings.is_given(key));
    if given(&["database"]) {
        return;
    }
    let database = if given(&postgres) {
        "postgres"
    } else if given(&declarative) {
        "off"
    } else {
        return;
    };
    settings.derive("database", Value::Text(database.to_owned()));
}

fn database(s: &Settings, prefix: &Path) -> Database {
    match s.text("database") {
        Some("off") => Database::Off,
        Some("postgres") => Database::Postgres,
        _ => Database::Sqlite(prefix.join(s.text("sqlite_file").unwrap_or("silverback.db"))),
    }
}

fn refuse_what_is_not_available(s: &Settings, findings: &mut Findings) {
    let role = s.text("role").unwrap_or("traditional");
    if role != "traditional" {
        let message = format!(
            "role has an invalid value: '{role}' (traditional): hybrid mode is not available"
        );
        findings.error(s, "role", message);
    }
}

/// Paths that other commands read from `.kong_env`, wherever those are called. Kong does the same
/// (kong/conf_loader/init.lua); what does not exist may be something else than a path, and stays.
fn make_paths_absolute(settings: &mut Settings) {
    let paths = ["declarative_config", "client_ssl_cert", "client_ssl_cert_key"];
    let lists = ["ssl_cert", "ssl_cert_key", "admin_ssl_cert", "admin_ssl_cert_key"];
    let lists = lists.into_iter().chain(["status_ssl_cert", "status_ssl_cert_key"]);
    let lists = lists.chain(["lua_ssl_trusted_certificate"]);
    for name in paths.into_iter().chain(lists) {
        match settings.map.get_mut(name).map(|setting| &mut setting.value) {
            Some(Value::Text(text)) => make_absolute(text),
            Some(Value::List(items)) => items.iter_mut().for_each(make_absolute),
            _ => {}
        }
    }
    if let Some(Value::Text(prefix)) = settings.map.get_mut("prefix").map(|s| &mut s.value) {
        *prefix = absolute(prefix).display().to_string();
    }
}

fn make_absolute(text: &mut String) {
    if Path::new(text.as_str()).exists() {
        *text = absolute(text).display().to_string();
    }
}

/// Two listeners of one address would share its connections, each getting some of them.
fn refuse_shared_addresses(s: &Settings, findings: &mut Findings) {
    let mut seen = Vec::new();
    for key in ["proxy_listen", "stream_listen", "admin_listen", "status_listen"] {
        for listener in listeners(s, key) {
            let address = (listener.host, listener.port, listener.udp);
            let other = seen.iter().find(|(_, seen)| *seen == address);
            // Port 0 is another port each time.
            if let Some((other, _)) = other.filter(|_| address.1 != 0) {
                let port = address.1;
                let message = match *other == key {
                    true => format!("{key}: port {port} is given twice for one address"),
                    false => format!("{key}: port {port} is already taken by {other}"),
                };
                findings.error(s, key, message);
            }
            seen.push((key, address));
        }
    }
}

/// The listeners of a key; its value was checked when it was parsed.
pub(super) fn listeners(s: &Settings, key: &str) -> Vec<Listener> {
    let Some(Kind::Listen(subsystem)) = keys::find(key).map(|key| key.kind) else {
        return Vec::new();
    };
    listen::parse(s.list(key), subsystem).unwrap_or_default()
}

fn has_ssl(listeners: &[Listener]) -> bool {
    listeners.iter().any(|listener| listener.ssl)
}

/// An absolute path; relative ones start at the working directory.
fn absolute(path: &str) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    // `/usr/local/kong/` and `/usr/local/kong` are one prefix.
    absolute.components().collect()
}

fn seconds(s: &Settings, key: &str) -> Duration {
    s.seconds(key).unwrap_or_default()
}

/// A list in which `off` as the first entry means nothing, and elsewhere nothing at all.
fn on_list(s: &Settings, key: &str) -> Vec<String> {
    let items = s.list(key);
    if items.first().is_some_and(|first| first == "off") {
        return Vec::new();
    }
    items.iter().filter(|item| *item != "off").cloned().collect()
}

fn node_id(s: &Settings, findings: &mut Findings) -> Option<String> {
    let id = s.text("node_id")?;
    if uuid::Uuid::try_parse(id).is_err() || id.len() != 36 {
        findings.error(s, "node_id", format!("node_id must be a valid UUID, got '{id}'"));
    }
    Some(id.to_owned())
}

fn log_level(s: &Settings) -> LogLevel {
    match s.text("log_level") {
        Some("debug") => LogLevel::Debug,
        Some("info") => LogLevel::Info,
        Some("warn") => LogLevel::Warn,
        Some("error") => LogLevel::Error,
        Some("crit") => LogLevel::Crit,
        Some("alert") => LogLevel::Alert,
        Some("emerg") => LogLevel::Emerg,
        _ => LogLevel::Notice,
    }
}

fn logs(s: &Settings, prefix: &Path) -> Logs {
    let log = |key| log(s.text(key).unwrap_or("off"), prefix);
    Logs {
        proxy_access: log("proxy_access_log"),
        proxy_error: log("proxy_error_log"),
        stream_access: log("proxy_stream_access_log"),
        stream_error: log("proxy_stream_error_log"),
        admin_access: log("admin_access_log"),
        admin_error: log("admin_error_log"),
        status_access: log("status_access_log"),
        status_error: log("status_error_log"),
    }
}

fn log(text: &str, prefix: &Path) -> Log {
    let mut words = text.split_whitespace();
    let target = match words.next() {
        None | Some("off") => LogTarget::Off,
        Some("/dev/stdout") => LogTarget::Stdout,
        Some("/dev/stderr" | "stderr") => LogTarget::Stderr,
        Some(word) => match word.strip_prefix("syslog:") {
            Some(server) => LogTarget::Syslog(server.to_owned()),
            None => LogTarget::File(prefix.join(word)),
        },
    };
    let option = words.find(|word| !word.contains('=')).map(str::to_owned);
    Log { target, option }
}

fn port_maps(s: &Settings, findings: &mut Findings) -> Vec<(u16, u16)> {
    let port = |text: &str| text.parse().ok().filter(|port: &u16| *port > 0);
    let pair = |text: &String| {
        let (outer, inner) = text.split_once(':')?;
        Some((port(outer)?, port(inner)?))
    };
    let mut maps = Vec::new();
    for entry in s.list("port_maps") {
        match pair(entry) {
            Some(map) => maps.push(map),
            None => {
                let message = format!("invalid port mapping (`port_maps`): {entry}");
                findings.error(s, "port_maps", message);
            }
        }
    }
    maps
}

fn workers(s: &Settings, findings: &mut Findings) -> Option<usize> {
    const MAX: usize = 1024;
    let key = "nginx_main_worker_processes";
    let text = s.text(key).unwrap_or("auto");
    if text == "auto" {
        return None;
    }
    let workers = text.parse().ok().filter(|n| (1..=MAX).contains(n));
    if workers.is_none() {
        let message = format!(
            "nginx_worker_processes has an invalid value: '{text}' (auto, or a number between 1 \
             and {MAX})"
        );
        findings.error(s, key, message);
    }
    workers
}

/// A number, at least 1; none for `auto`.
fn auto_or_number(s: &Settings, key: &str, findings: &mut Findings) -> Option<u64> {
    let text = s.text(key).filter(|text| *text != "auto")?;
    let number = text.parse().ok().filter(|number| *number > 0);
    if number.is_none() {
        findings.error(s, key, format!("{key} is neither a number nor auto: '{text}'"));
    }
    number
}

/// `user` or `user group`; `nobody` means that the user does not change, as in Kong.
fn user(s: &Settings) -> Option<(String, String)> {
    let mut words = s.text("nginx_main_user")?.split_whitespace();
    let user = words.next()?;
    let group = words.next().unwrap_or(user);
    (user != "nobody").then(|| (user.to_owned(), group.to_owned()))
}

fn router_flavor(s: &Settings) -> RouterFlavor {
    match s.text("router_flavor") {
        Some("traditional") => RouterFlavor::Traditional,
        Some("expressions") => RouterFlavor::Expressions,
        _ => RouterFlavor::TraditionalCompatible,
    }
}

fn strict_consistency(s: &Settings, findings: &mut Findings) -> bool {
    let strict = s.text("worker_consistency") == Some("strict");
    if strict {
        findings.warnings.push(
            "the configuration value 'strict' for configuration property 'worker_consistency' is \
             deprecated"
                .to_owned(),
        );
    }
    strict
}

/// The words of `tracing_instrumentations`
/// (kong/observability/tracing/instrumentation.lua, `available_types`).
static INSTRUMENTATIONS: &[&str] = &[
    "all",
    "off",
    "request",
    "db_query",
    "dns_query",
    "router",
    "http_client",
    "balancer",
    "plugin_rewrite",
    "plugin_access",
    "plugin_header_filter",
];

fn tracing(s: &Settings, findings: &mut Findings) -> Vec<String> {
    let key = "tracing_instrumentations";
    let types = s.list(key);
    for kind in types.iter().filter(|kind| !INSTRUMENTATIONS.contains(&kind.as_str())) {
        let allowed = INSTRUMENTATIONS.join(", ");
        findings.error(s, key, format!("invalid tracing type: {kind} ({allowed})"));
    }
    if types.len() > 1 && types.iter().any(|kind| kind == "off") {
        let message = "invalid tracing types: off, other types are mutually exclusive";
        findings.error(s, key, message.to_owned());
    }
    on_list(s, key)
}

/// The URL is never repeated, for it may hold a password.
fn proxy_server(s: &Settings, findings: &mut Findings) -> Option<(String, bool)> {
    let url = s.text("proxy_server")?;
    let message = match url.split_once("://") {
        None => Some("proxy_server missing scheme".to_owned()),
        Some((scheme, _)) if scheme != "http" && scheme != "https" => {
            Some(format!("proxy_server only supports \"http\" and \"https\", got {scheme}"))
        }
        Some((_, rest)) if rest.is_empty() || rest.starts_with(['/', ':']) => {
            Some("proxy_server missing host".to_owned())
        }
        Some((_, rest)) if rest.contains(['?', '#', ';']) => Some(
            "fragments, query strings or parameters are meaningless in proxy configuration"
                .to_owned(),
        ),
        Some(_) => None,
    };
    if let Some(message) = message {
        findings.error(s, "proxy_server", message);
    }
    Some((url.to_owned(), s.is_on("proxy_server_ssl_verify")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{ConfErrors, LoadArgs, Material, UntrustedLua, listen::Host};
    use silverback_tls::Versions;

    fn load(pairs: &[(&str, &str)]) -> Result<Conf, ConfErrors> {
        let overrides = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let args = LoadArgs { conf: Some("/dev/null".into()), overrides, ..LoadArgs::default() };
        Conf::load(&args).map(|loaded| loaded.conf)
    }

    #[track_caller]
    fn check_error(key: &str, value: &str, expect: &str) {
        let error = load(&[(key, value)]).expect_err("an error").to_string();
        assert_eq!(error, format!("command line: {expect}"));
    }

    #[test]
    fn defaults() {
        let conf = load(&[]).expect("valid defaults");
        assert_eq!(conf.log_level, LogLevel::Notice);
        assert_eq!(conf.proxy_listen.len(), 2);
        assert_eq!(conf.proxy_listen[1].port, 8443);
        assert_eq!(conf.proxy_listen[0].host, Host::Ip("0.0.0.0".parse().unwrap()));
        assert!(conf.stream_listen.is_empty());
        assert_eq!(conf.workers, None);
        assert_eq!(conf.tls.versions, Versions::default());
        assert!(conf.tls.certificates.is_empty());
        assert_eq!(conf.plugins, ["bundled"]);
        assert!(conf.headers.via && conf.headers.proxy_latency && !conf.headers.upstream_status);
        assert!(conf.upstream_request_id);
        assert_eq!(conf.limits.body, BodyLimits { max_body: None, body_buffer: 8192 });
        assert_eq!(conf.admin_limits.max_body, Some(10 << 20));
        assert_eq!((conf.limits.max_head, conf.limits.max_head_line), (32 << 10, 8 << 10));
        assert_eq!(conf.dns.order, ["LAST", "SRV", "A", "CNAME"]);
        assert_eq!(conf.lua.untrusted, UntrustedLua::Sandbox);
        assert!(conf.tracing_instrumentations.is_empty());
        assert_eq!(conf.user, Some(("kong".into(), "kong".into())));
        assert_eq!(conf.logs.status_access.target, LogTarget::Off);
        let file = LogTarget::File("/usr/local/kong/logs/access.log".into());
        assert_eq!(conf.logs.stream_access, Log { target: file, option: Some("basic".into()) });
    }

    #[test]
    fn headers_to_be_added() {
        let given = [
            ("nginx_proxy_add_header", "X-A 1; add_header X-B $host; add_header X-C ''"),
            ("nginx_http_add_header", "X-D 1"),
        ];
        let names = |conf: Conf| -> Vec<String> {
            conf.added_headers.iter().map(|added| added.name.to_string()).collect()
        };
        assert_eq!(names(load(&given).expect("valid")), ["x-a"]);
        assert_eq!(names(load(&given[1..]).expect("valid")), ["x-d"]);
        let expect = "nginx_proxy_add_header is not a name, a value and maybe 'always': 'X-A'";
        check_error("nginx_proxy_add_header", "X-A", expect);
    }

    #[test]
    fn given_values() {
        let conf = load(&[
            ("plugins", "off"),
            ("vaults", "env, off"),
            ("trusted_ips", "10.0.0.0/8, ::1, unix:"),
            ("port_maps", "80:8000,443:8443"),
            ("nginx_proxy_client_max_body_size", "2m"),
            ("nginx_http_client_max_body_size", "1m"),
            ("nginx_http_keepalive_timeout", "10s 5s"),
            ("nginx_http_lua_shared_dict", "a 5m; lua_shared_dict b 64k"),
            ("proxy_access_log", "/dev/stdout custom"),
            ("proxy_error_log", "syslog:server=1.2.3.4:514,tag=k warn"),
            ("upstream_keepalive_max_requests", "0"),
            ("new_dns_client", "on"),
            ("resolver_address", "1.1.1.1, [::1]:5353, ::2"),
            ("ssl_cipher_suite", "modern"),
            ("nginx_user", "nobody"),
            ("declarative_config", "/x.yml"),
        ])
        .expect("a valid configuration");
        assert!(conf.plugins.is_empty());
        assert_eq!(conf.vaults, ["env"]);
        assert_eq!(conf.trusted.networks.len(), 2);
        assert!(conf.trusted.unix);
        assert_eq!(conf.port_maps, [(80, 8000), (443, 8443)]);
        assert_eq!(conf.limits.body.max_body, Some(2 << 20));
        assert_eq!(conf.limits.keepalive_timeout, Duration::from_secs(10));
        assert_eq!(conf.lua.shared_dicts, [("a".into(), 5 << 20), ("b".into(), 64 << 10)]);
        assert_eq!(conf.logs.proxy_access.target, LogTarget::Stdout);
        assert_eq!(conf.logs.proxy_access.option.as_deref(), Some("custom"));
        let syslog = LogTarget::Syslog("server=1.2.3.4:514,tag=k".into());
        assert_eq!(conf.logs.proxy_error, Log { target: syslog, option: Some("warn".into()) });
        assert_eq!(conf.upstream_keepalive.max_requests, None);
        let servers: Vec<_> = conf.dns.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["1.1.1.1:53", "[::1]:5353", "[::2]:53"]);
        assert_eq!(conf.tls.versions, Versions { tls12: false, tls13: true });
        assert_eq!(conf.tls.ciphers, None);
        assert_eq!(conf.user, None);
        assert_eq!(conf.declarative_config, Some("/x.yml".into()));
    }

    #[test]
    fn certificates() {
        use base64::Engine;
        let made = rcgen::generate_simple_self_signed(vec!["a.test".into()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let base64 = base64::engine::general_purpose::STANDARD.encode(&cert);
        let conf = load(&[("ssl_cert", &base64), ("ssl_cert_key", &key)]).expect("valid");
        assert_eq!(
            conf.tls.certificates,
            [(Material::Pem(cert), Material::Pem(key.trim().into()))]
        );
        // Without TLS nobody looks at them.
        let off = [("admin_listen", "off"), ("admin_ssl_cert", "/nonexistent")];
        assert!(load(&off).expect("valid").admin_certificates.is_empty());
        check_error(
            "ssl_cert_key",
            "/nonexistent",
            "ssl_cert must be specified\n\
            command line: ssl_cert_key: failed loading key from /nonexistent",
        );
    }

    /// A setting, a wrong value, and what is said of it.
    const ERRORS: &[(&str, &str, &str)] = &[
        ("database", "mysql", "database has an invalid value: 'mysql' (off, sqlite, postgres)"),
        (
            "role",
            "data_plane",
            "role has an invalid value: 'data_plane' (traditional): hybrid mode is not \
             available",
        ),
        (
            "status_listen",
            "127.0.0.1:8001",
            "status_listen: port 8001 is already taken by admin_listen",
        ),
        (
            "stream_listen",
            "0.0.0.0:53, 0.0.0.0:53 udp, 0.0.0.0:53 ssl",
            "stream_listen: port 53 is given twice for one address",
        ),
        ("node_id", "x", "node_id must be a valid UUID, got 'x'"),
        ("port_maps", "src:dst", "invalid port mapping (`port_maps`): src:dst"),
        (
            "trusted_ips",
            "a.test",
            "trusted_ips must be a comma separated list in the form of IPv4 or IPv6 address \
             or CIDR block or 'unix:', got 'a.test'",
        ),
        ("headers", "X-Nope", "headers: invalid entry 'X-Nope'"),
        ("headers_upstream", "Via", "headers_upstream: invalid entry 'Via'"),
        (
            "dns_resolver",
            "a.test",
            "dns_resolver must be a comma separated list in the form of IPv4/6 or \
             IPv4/6:port, got 'a.test'",
        ),
        ("dns_hostsfile", "/nonexistent", "dns_hostsfile: file does not exist: '/nonexistent'"),
        ("dns_order", "A,MX", "dns_order: invalid entry 'MX' (LAST, A, AAAA, CNAME, SRV)"),
        ("resolver_family", "MX", "resolver_family: invalid entry 'MX' (A, AAAA, SRV)"),
        ("proxy_server", "p:80", "proxy_server missing scheme"),
        ("proxy_server", "http://", "proxy_server missing host"),
        (
            "proxy_server",
            "http://p/?a",
            "fragments, query strings or parameters are meaningless in proxy configuration",
        ),
        (
            "tracing_instrumentations",
            "off,all",
            "invalid tracing types: off, other types are mutually exclusive",
        ),
        (
            "nginx_worker_processes",
            "0",
            "nginx_worker_processes has an invalid value: '0' (auto, or a number between 1 \
             and 1024)",
        ),
        (
            "ssl_cipher_suite",
            "x",
            "ssl_cipher_suite has an invalid value: 'x' \
             (modern, intermediate, old, fips, custom)",
        ),
        (
            "lua_ssl_protocols",
            "TLSv1.1",
            "nginx_http_lua_ssl_protocols names no supported version: 'TLSv1.1' \
             (TLSv1.2, TLSv1.3)",
        ),
        (
            "lua_ssl_trusted_certificate",
            "/nonexistent",
            "lua_ssl_trusted_certificate: failed loading certificate from /nonexistent",
        ),
        (
            "nginx_http_lua_shared_dict",
            "a",
            "nginx_http_lua_shared_dict is not a name and a size: 'a'",
        ),
        (
            "nginx_proxy_client_max_body_size",
            "x",
            "nginx_proxy_client_max_body_size is not a size: 'x'",
        ),
    ];

    #[test]
    fn a_database_is_chosen() {
        let check = |given: &[(&str, &str)], expect: &Database| {
            assert_eq!(&load(given).expect("valid").database, expect, "{given:?}");
        };
        let prefix = ("prefix", "/tmp/p");
        check(&[prefix], &Database::Sqlite("/tmp/p/silverback.db".into()));
        check(&[prefix, ("sqlite_file", "/x.db")], &Database::Sqlite("/x.db".into()));
        check(&[prefix, ("declarative_config_string", "{}")], &Database::Off);
        check(&[("database", "off")], &Database::Off);
        let both = [prefix, ("database", "sqlite"), ("declarative_config_string", "{}")];
        check(&both, &Database::Sqlite("/tmp/p/silverback.db".into()));
        check(&[("pg_host", "db")], &Database::Postgres);
    }

    #[test]
    fn errors_in_kongs_words() {
        for (key, value, expect) in ERRORS {
            check_error(key, value, expect);
        }
    }
}
