//! The bundled plugins, one file each.
//!
//! Names, priorities, schemas and behaviour are Kong's; `conformance/facts/` holds them as data
//! and a test compares.

mod native;

mod background;
mod fields;
mod identity;
mod limits;
mod queue;
mod redis;
mod tls;

mod acl;
mod basic_auth;
mod bot_detection;
mod correlation_id;
mod cors;
mod hmac_auth;
mod ip_restriction;
mod jwt;
mod key_auth;
mod logs;
mod prometheus;
mod proxy_cache;
mod rate_limiting;
mod redirect;
mod request_size_limiting;
mod request_termination;
mod request_transformer;
mod response_ratelimiting;
mod response_transformer;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use silverback_pdk::Plugin;

pub use self::background::finish;
use self::{proxy_cache::memory::Memory, tls::Trust};

/// What the bundled plugins need to know of their node.
#[derive(Debug, Clone)]
pub struct Config {
    /// `lua_ssl_trusted_certificate`: whom plugins trust that talk TLS.
    pub trust: silverback_tls::Trust,
    /// `mem_cache_size`: how much proxy-cache may keep, in bytes.
    pub cache_bytes: u64,
    /// Whether there is a database, so that a policy may be `cluster`.
    pub cluster: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config { trust: silverback_tls::Trust::default(), cache_bytes: 128 << 20, cluster: false }
    }
}

/// What the plugin prometheus has counted, in Prometheus' text format.
pub fn counts() -> String {
    prometheus::series::page()
}

/// What proxy-cache keeps under a key, as the Admin API shows it: in the memory of a name, or in
/// any.
pub fn cached(memory: Option<&str>, key: &str) -> Option<serde_json::Value> {
    let now = proxy_cache::seconds();
    memories(memory).iter().find_map(|memory| memory.get(key, now)).map(|kept| kept.to_json())
}

/// Drops it; whether there was something.
pub fn purge_cached(memory: Option<&str>, key: &str) -> bool {
    memories(memory).iter().filter(|memory| memory.purge(key)).count() > 0
}

/// Drops all that proxy-cache keeps: in the memory of a name, or in all.
pub fn flush_cache(memory: Option<&str>) {
    memories(memory).iter().for_each(|memory| memory.flush());
}

/// How much is kept in a memory that all workers share.
#[derive(Debug, Clone)]
pub struct MemoryUse {
    /// The name: that of Kong's shared dictionary.
    pub name: String,
    /// In use, in bytes.
    pub used: u64,
    /// How much may be, in bytes.
    pub most: u64,
}

/// The memories that plugins keep something in: proxy-cache's, and that of the counters of limits.
pub fn memories_in_use() -> Vec<MemoryUse> {
    let (used, most) = limits::local::COUNTERS.bytes();
    let counters = MemoryUse { name: "kong_rate_limiting_counters".to_owned(), used, most };
    let mut all = proxy_cache::memory::in_use();
    all.push(counters);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn memories(name: Option<&str>) -> Vec<Arc<Memory>> {
    proxy_cache::memory::all(name)
}

/// Every bundled plugin, in alphabetic order.
pub fn bundled(config: &Config) -> Vec<Plugin> {
    let trust = Trust(config.trust.clone());
    let [file_log, http_log, syslog, tcp_log, udp_log] = logs::plugins(&trust);
    vec![
        acl::plugin(),
        basic_auth::plugin(),
        bot_detection::plugin(),
        correlation_id::plugin(),
        cors::plugin(),
        file_log,
        hmac_auth::plugin(),
        http_log,
        ip_restriction::plugin(),
        jwt::plugin(),
        key_auth::plugin(),
        prometheus::plugin(),
        proxy_cache::plugin(config.cache_bytes),
        rate_limiting::plugin(&trust, config.cluster),
        redirect::plugin(),
        request_size_limiting::plugin(),
        request_termination::plugin(),
        request_transformer::plugin(),
        response_ratelimiting::plugin(&trust, config.cluster),
        response_transformer::plugin(),
        syslog,
        tcp_log,
        udp_log,
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn facts(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn schemas_are_those_of_kong() {
        let schemas = facts(include_str!("../../conformance/facts/plugin-schemas.json"));
        for plugin in bundled(&Config::default()) {
            assert_eq!(plugin.schema.to_json(), schemas[&plugin.name], "{}", plugin.name);
        }
    }

    #[test]
    fn priorities_and_versions_are_those_of_kong() {
        let plugins = facts(include_str!("../../conformance/facts/plugins.json"));
        for plugin in bundled(&Config::default()) {
            assert_eq!(plugins[&plugin.name]["priority"], plugin.priority, "{}", plugin.name);
            assert_eq!(plugins[&plugin.name]["version"], plugin.version, "{}", plugin.name);
        }
    }

    #[test]
    fn the_list_is_in_alphabetic_order() {
        let names: Vec<String> = bundled(&Config::default()).into_iter().map(|p| p.name).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
}
