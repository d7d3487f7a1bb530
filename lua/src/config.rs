//! What the host of Lua plugins is told.

use std::path::PathBuf;

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
    /// The shared dictionaries: name and size in bytes.
    pub shared_dicts: Vec<(String, u64)>,
    /// `lua_socket_pool_size`: idle connections that a pool keeps.
    pub socket_pool_size: usize,
    /// `lua_ssl_trusted_certificate` and `lua_ssl_verify_depth`.
    pub trust: Trust,
    /// `lua_ssl_protocols`.
    pub tls_versions: Versions,
    /// How much a regular expression may try before it gives up.
    pub regex_match_limit: u32,
    /// `kong.configuration`: every setting, as the Admin API shows it.
    pub settings: serde_json::Value,
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
            settings: serde_json::Value::Null,
        }
    }
}
