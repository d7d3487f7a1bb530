//! What the host of Lua plugins is told.

use std::{path::PathBuf, time::Duration};

use silverback_tls::{Trust, Versions};

/// What the host of Lua plugins is told: settings of kong.conf, in the units they are used in.
#[derive(Debug, Clone)]
pub struct Config {
    /// `lua_package_path`; `;;` stands for the default.
    pub package_path: String,
    /// `lua_package_cpath`; `;;` stands for the default.
    pub package_cpath: String,
    /// Where `./?.lua` looks: the working directory of the process that started the node.
    pub directory: PathBuf,
    /// The user's home, under which luarocks keeps a tree.
    pub home: Option<PathBuf>,
    /// `untrusted_lua`.
    pub untrusted: Untrusted,
    /// `untrusted_lua_sandbox_requires`.
    pub sandbox_requires: Vec<String>,
    /// `untrusted_lua_sandbox_environment`.
    pub sandbox_environment: Vec<String>,
    /// The shared dictionaries that are configured, beside [those that are always
    /// there](Config::dicts): name and size in bytes.
    pub shared_dicts: Vec<(String, u64)>,
    /// `lua_socket_pool_size`: idle connections that a pool keeps.
    pub socket_pool_size: usize,
    /// `lua_ssl_trusted_certificate` and `lua_ssl_verify_depth`.
    pub trust: Trust,
    /// `lua_ssl_protocols`.
    pub tls_versions: Versions,
    /// How much a regular expression may try before it gives up.
    pub regex_match_limit: u32,
    /// `lua_cpu_budget`: CPU time that code may use without waiting; none is as much as it takes.
    pub cpu_budget: Option<Duration>,
    /// `lua_max_memory`: bytes that a state may occupy; 0 is as many as there are.
    pub memory_max: usize,
    /// `kong.configuration`: every setting, as the Admin API shows it.
    pub settings: serde_json::Value,
}

/// The dictionaries that Kong's web server has, in MiB (kong/templates/nginx_kong.lua).
const DICTS: [(&str, u64); 13] = [
    ("kong", 5),
    ("kong_locks", 8),
    ("kong_healthchecks", 5),
    ("kong_cluster_events", 5),
    ("kong_rate_limiting_counters", 12),
    ("kong_core_db_cache", 128),
    ("kong_core_db_cache_miss", 12),
    ("kong_db_cache", 128),
    ("kong_db_cache_miss", 12),
    ("kong_secrets", 5),
    ("kong_dns_cache", 5),
    ("kong_keyring", 5),
    ("prometheus_metrics", 5),
];

impl Config {
    /// All shared dictionaries: name and size in bytes.
    pub(crate) fn dicts(&self) -> Vec<(String, u64)> {
        let given = &self.shared_dicts;
        let own = DICTS.iter().filter(|(name, _)| !given.iter().any(|(known, _)| known == name));
        let own = own.map(|(name, mebibytes)| ((*name).to_owned(), mebibytes << 20));
        own.chain(given.iter().cloned()).collect()
    }
}

/// What code in configurations may do (`untrusted_lua`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untrusted {
    /// Nothing: it is refused.
    Off,
    /// What the sandbox lets it.
    Sandbox,
    /// Everything.
    On,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            package_path: String::new(),
            package_cpath: String::new(),
            directory: PathBuf::from("."),
            home: None,
            untrusted: Untrusted::Sandbox,
            sandbox_requires: Vec::new(),
            sandbox_environment: Vec::new(),
            shared_dicts: Vec::new(),
            socket_pool_size: 256,
            trust: Trust::default(),
            tls_versions: Versions::default(),
            regex_match_limit: 100_000,
            cpu_budget: Some(Duration::from_secs(5)),
            memory_max: 1 << 30,
            settings: serde_json::Value::Null,
        }
    }
}
