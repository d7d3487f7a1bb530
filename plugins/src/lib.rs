//! The bundled plugins, one file each.
//!
//! Names, priorities, schemas and behaviour are Kong's; `conformance/facts/` holds them as data
//! and a test compares.

mod native;

mod background;
mod fields;
mod identity;
mod limits;
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
mod rate_limiting;
mod redirect;
mod request_size_limiting;
mod request_termination;
mod response_ratelimiting;
mod response_transformer;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod testing;

use silverback_pdk::Plugin;

pub use self::background::finish;
use self::tls::Trust;

/// What the bundled plugins need to know of their node.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `lua_ssl_trusted_certificate`: whom plugins trust that talk TLS. PEM.
    pub trusted: Vec<String>,
}

/// Every bundled plugin, in alphabetic order.
pub fn bundled(config: &Config) -> Vec<Plugin> {
    let trust = Trust::of(&config.trusted);
    vec![
        acl::plugin(),
        basic_auth::plugin(),
        bot_detection::plugin(),
        correlation_id::plugin(),
        cors::plugin(),
        hmac_auth::plugin(),
        ip_restriction::plugin(),
        jwt::plugin(),
        key_auth::plugin(),
        rate_limiting::plugin(&trust),
        redirect::plugin(),
        request_size_limiting::plugin(),
        request_termination::plugin(),
        response_ratelimiting::plugin(&trust),
        response_transformer::plugin(),
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
