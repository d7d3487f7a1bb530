//! The effective values as the Admin API shows them (`GET /`, member `configuration`).

use serde_json::{Map, Value, json};

use super::build::{listeners, system_certificates};
use super::keys::{self, FAMILIES, Kind};
use super::{Conf, PluginServer};

/// Names of internal sockets that Kong shows; fixed, and without a meaning here.
static SOCKETS: &[(&str, &str)] = &[
    ("worker_events_sock", "we"),
    ("stream_worker_events_sock", "sw"),
    ("stream_rpc_sock", "rp"),
    ("stream_config_sock", "sc"),
    ("stream_tls_passthrough_sock", "sp"),
    ("stream_tls_terminate_sock", "st"),
    ("cluster_proxy_ssl_terminator_sock", "cp"),
];

/// Keys that kong.conf.default describes and Kong 3.10 does not know.
static NOT_SHOWN: &[&str] = &["debug_ssl_cert", "debug_ssl_cert_key"];

/// Directives that Kong does not list, since it writes them itself.
static UNLISTED: &[&str] = &[
    "nginx_http_upstream_keepalive",
    "nginx_http_upstream_keepalive_timeout",
    "nginx_http_upstream_keepalive_requests",
    "nginx_http_lua_ssl_protocols",
    "nginx_stream_lua_ssl_protocols",
];

/// Kong makes a dictionary for the prometheus plugin unless one is given.
static PROMETHEUS: &[(&str, &str)] = &[
    ("nginx_http_directives", "prometheus_metrics"),
    ("nginx_stream_directives", "stream_prometheus_metrics"),
];

impl Conf {
    /// Every effective value, in Kong's shape: secrets are masked, references to vaults stay
    /// references, empty lists are `{}`, and what follows from other values is beside them. The
    /// order is alphabetic.
    pub(crate) fn configuration(&self) -> Map<String, Value> {
        let mut all = Map::new();
        for name in self.settings.map.keys() {
            let known = keys::find(name).is_some() || keys::family_of(name).is_some();
            if !known || NOT_SHOWN.contains(&name.as_str()) {
                continue;
            }
            if let Some(value) = self.settings.shown(name) {
                all.insert(name.clone(), value);
            }
        }
        let prefix = self.prefix.display().to_string();
        all.insert("kong_env".to_owned(), format!("{prefix}/{}", super::ENV_FILE).into());
        all.insert("nginx_pid".to_owned(), format!("{prefix}/pids/nginx.pid").into());
        all.insert("socket_path".to_owned(), format!("{prefix}/sockets").into());
        all.insert("prefix".to_owned(), prefix.into());
        all.insert("lmdb_validation_tag".to_owned(), "3.10".into());
        // Kong shows an empty path rather than none.
        all.entry("lua_package_cpath").or_insert_with(|| "".into());
        all.extend(SOCKETS.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
        self.add_listeners(&mut all);
        self.add_directives(&mut all);
        self.add_headers(&mut all);
        self.add_host_ports(&mut all);
        let servers = self.pluginservers.iter().map(pluginserver).collect();
        all.insert("pluginservers".to_owned(), list(servers));
        trusted_certificates(&mut all);
        let mut sorted: Vec<_> = all.into_iter().collect();
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        sorted.into_iter().collect()
    }

    fn add_listeners(&self, all: &mut Map<String, Value>) {
        for key in keys::all() {
            let Kind::Listen(subsystem) = key.kind else { continue };
            let listeners = listeners(&self.settings, key.name);
            let flag = match key.name {
                "proxy_listen" => Some("proxy_ssl_enabled"),
                "stream_listen" => Some("stream_proxy_ssl_enabled"),
                "admin_listen" => Some("admin_ssl_enabled"),
                "admin_gui_listen" => Some("admin_gui_ssl_enabled"),
                "status_listen" => Some("status_ssl_enabled"),
                _ => None,
            };
            if let Some(flag) = flag {
                let ssl = listeners.iter().any(|listener| listener.ssl);
                all.insert(flag.to_owned(), ssl.into());
            }
            let shown = listeners.iter().map(|l| sorted(l.to_json(subsystem))).collect();
            all.insert(format!("{}ers", key.name), list(shown));
        }
    }

    /// Lists of the nginx directives that the values amount to, by name.
    fn add_directives(&self, all: &mut Map<String, Value>) {
        for family in FAMILIES {
            let Some(list_name) = family.directives else { continue };
            let mut directives = Vec::new();
            for (name, setting) in &self.settings.map {
                let member = keys::family_of(name).is_some_and(|f| f.prefix == family.prefix);
                let text = setting.value.to_text();
                let unlisted = UNLISTED.contains(&name.as_str())
                    // Without TLS there are no parameters to load.
                    || (name.ends_with("_ssl_dhparam") && !self.has_ssl());
                if member && !unlisted && !text.is_empty() {
                    directives.push((name.trim_start_matches(family.prefix).to_owned(), text));
                }
            }
            for (_, dict) in PROMETHEUS.iter().filter(|(of, _)| *of == list_name) {
                let given =
                    directives.iter().any(|(n, v)| n == "lua_shared_dict" && v.contains(dict));
                if self.plugins.iter().any(|p| p == "bundled" || p == "prometheus") && !given {
                    directives.push(("lua_shared_dict".to_owned(), format!("{dict} 5m")));
                }
            }
            directives.sort();
            let shown =
                directives.into_iter().map(|(name, value)| json!({"name": name, "value": value}));
            all.insert(list_name.to_owned(), list(shown.collect()));
        }
    }

    fn has_ssl(&self) -> bool {
        let listeners = [&self.proxy_listen, &self.stream_listen, &self.admin_listen];
        let listeners = listeners.into_iter().chain([&self.status_listen]);
        listeners.flatten().any(|listener| listener.ssl)
    }

    fn add_headers(&self, all: &mut Map<String, Value>) {
        let h = self.headers;
        let given = |token: &str| {
            let items = self.settings.list("headers");
            let off = items.first().is_some_and(|first| first == "off");
            !off && items.iter().any(|item| item.eq_ignore_ascii_case(token))
        };
        let enabled = json!({
            "Server": h.server,
            "Via": h.via,
            "X-Kong-Admin-Latency": h.admin_latency,
            "X-Kong-Proxy-Latency": h.proxy_latency,
            "X-Kong-Request-Id": h.request_id,
            "X-Kong-Response-Latency": h.response_latency,
            "X-Kong-Upstream-Latency": h.upstream_latency,
            "X-Kong-Upstream-Status": h.upstream_status,
            "latency_tokens": given("latency_tokens"),
            "server_tokens": given("server_tokens"),
        });
        all.insert("enabled_headers".to_owned(), enabled);
        let upstream = json!({"X-Kong-Request-Id": self.upstream_request_id});
        all.insert("enabled_headers_upstream".to_owned(), upstream);
    }

    fn add_host_ports(&self, all: &mut Map<String, Value>) {
        let ports =
            self.port_maps.iter().map(|(outer, inner)| (inner.to_string(), (*outer).into()));
        all.insert("host_ports".to_owned(), Value::Object(ports.collect()));
    }
}

/// A list as Lua shows it: `{}` if empty.
fn list(items: Vec<Value>) -> Value {
    if items.is_empty() { json!({}) } else { Value::Array(items) }
}

fn sorted(map: Map<String, Value>) -> Value {
    let mut entries: Vec<_> = map.into_iter().collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Value::Object(entries.into_iter().collect())
}

fn pluginserver(server: &PluginServer) -> Value {
    let mut shown = json!({
        "name": server.name,
        "query_command": server.query_cmd,
        "socket": server.socket.display().to_string(),
    });
    if let (Some(command), Value::Object(shown)) = (&server.start_cmd, &mut shown) {
        shown.insert("start_command".to_owned(), command.as_str().into());
    }
    shown
}

/// Kong shows the file that `system` stands for.
fn trusted_certificates(all: &mut Map<String, Value>) {
    let Some(Value::Array(items)) = all.get_mut("lua_ssl_trusted_certificate") else { return };
    items.retain_mut(|item| {
        if item == "system" {
            match system_certificates() {
                Some(path) => *item = path.into(),
                None => return false,
            }
        }
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::LoadArgs;

    /// What a Kong 3.10 answered that was
    /// started with settings of its own, less what depends on its paths and hosts. What it
    /// was started with is set here too.
    const RECORDED: &str = include_str!("../../../conformance/facts/configuration.json");

    fn conf(pairs: &[(&str, &str)]) -> Conf {
        let env = pairs.iter().map(|(k, v)| (format!("KONG_{k}"), (*v).to_owned())).collect();
        let args = LoadArgs { conf: Some("/dev/null".into()), env, ..LoadArgs::default() };
        Conf::load(&args).expect("a valid configuration").conf
    }

    /// Keys whose recorded value this configuration need not have, and why.
    static DIFFERENT: &[(&str, &str)] =
        &[("lua_ssl_trusted_certificate", "depends on where the machine keeps its authorities")];

    /// Keys that are shown beyond the recorded ones: recorded are those that do not depend on
    /// paths, hosts, ports, storage or privacy settings.
    static ADDED: &[&str] = &[
        "admin_gui_listen",
        "admin_gui_listeners",
        "admin_listen",
        "admin_listeners",
        "anonymous_reports",
        "database",
        "host_ports",
        "kong_env",
        "last_good_credentials",
        "lua_cpu_budget",
        "lua_max_memory",
        "nginx_main_user",
        "nginx_pid",
        "nginx_user",
        "nginx_worker_processes",
        "pg_ro_ssl_required",
        "pg_ssl_required",
        "prefix",
        "proxy_listen",
        "proxy_listeners",
        "socket_path",
        "sqlite_file",
        "status_listen",
        "status_listeners",
        "stream_listeners",
    ];

    #[test]
    fn is_what_kong_shows() {
        let recorded: Map<String, Value> = serde_json::from_str(RECORDED).expect("JSON");
        let conf = conf(&[
            ("PROXY_LISTEN", "0.0.0.0:8000"),
            ("ADMIN_LISTEN", "127.0.0.1:8001"),
            ("ADMIN_GUI_LISTEN", "off"),
            ("NGINX_WORKER_PROCESSES", "1"),
            ("NGINX_MAIN_USER", "root root"),
        ]);
        let shown = conf.configuration();
        for (name, value) in &recorded {
            if DIFFERENT.iter().any(|(different, _)| different == name) {
                continue;
            }
            assert_eq!(shown.get(name), Some(value), "{name}");
        }
        let added: Vec<_> = shown.keys().filter(|name| !recorded.contains_key(*name)).collect();
        assert_eq!(added, ADDED);
    }

    #[test]
    fn secrets_are_masked() {
        let conf = conf(&[
            ("DATABASE", "off"),
            ("PG_PASSWORD", "hidden"),
            ("PROXY_SERVER", "http://u:hidden@p"),
            ("DECLARATIVE_CONFIG_STRING", "hidden"),
        ]);
        let shown = Value::Object(conf.configuration());
        assert_eq!(shown["pg_password"], "******");
        assert_eq!(shown["proxy_server"], "******");
        assert!(shown.get("pg_ro_password").is_none());
        assert!(!shown.to_string().contains("hidden"));
    }

    #[test]
    fn what_follows_from_settings() {
        let conf = conf(&[
            ("PLUGINSERVER_NAMES", "js"),
            ("PLUGINSERVER_JS_QUERY_CMD", "q"),
            ("PORT_MAPS", "80:8000"),
            ("HEADERS", "off"),
            ("NGINX_HTTP_GZIP", "on"),
        ]);
        let shown = Value::Object(conf.configuration());
        assert_eq!(
            shown["pluginservers"],
            json!([{"name": "js", "query_command": "q", "socket": "/usr/local/kong/js.socket"}])
        );
        assert_eq!(shown["host_ports"], json!({"8000": 80}));
        assert_eq!(shown["enabled_headers"]["Server"], false);
        assert_eq!(shown["enabled_headers"]["server_tokens"], false);
        assert_eq!(shown["nginx_http_gzip"], "on");
        let directives = shown["nginx_http_directives"].as_array().expect("a list");
        assert!(directives.contains(&json!({"name": "gzip", "value": "on"})));
        assert_eq!(shown["proxy_ssl_enabled"], true);
        assert_eq!(
            shown["proxy_listeners"][1]["listener"],
            "0.0.0.0:8443 ssl reuseport backlog=16384"
        );
    }
}
