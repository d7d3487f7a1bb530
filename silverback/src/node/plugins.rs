//! Which plugins there are: the bundled ones, those of plugin servers and those in Lua, as far as
//! `plugins` enables them.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, Result, anyhow, bail};
use silverback_external::{Config as ServerConfig, Servers};
use silverback_model::set::Entities;
use silverback_pdk::{Plugin, Registry};
use silverback_store::postgres::migrations::Own;
use silverback_store::{LOG_LEVEL, PROXY_CACHE_PURGE, Store};
use tokio::sync::broadcast::error::RecvError;

use super::settings;
use crate::conf::{Conf, Database, PluginServer};
use crate::prefix::BODY_DIRECTORY;

/// The word in `plugins` that stands for all bundled plugins.
const BUNDLED: &str = "bundled";

/// The enabled plugins, and the servers that some of them live in.
pub(crate) struct Plugins {
    /// Every enabled plugin.
    pub(crate) registry: Registry,
    /// Every plugin server.
    pub(crate) servers: Arc<Servers>,
    /// The host of Lua plugins, where there are any.
    pub(crate) lua: Option<silverback_lua::Host>,
}

impl Plugins {
    /// Asks every plugin server what it has, and puts the enabled plugins together.
    ///
    /// # Errors
    /// If a server can't be asked, or a plugin is enabled that nobody has.
    pub(crate) async fn find(conf: &Conf) -> Result<Plugins> {
        let configs = conf.pluginservers.iter().map(|server| server_config(conf, server)).collect();
        let (servers, mut offered) = Servers::query(configs).await?;
        let mut bundled = silverback_plugins::bundled(&silverback_plugins::Config {
            trust: settings::trust(conf)?,
            cache_bytes: conf.mem_cache_size,
            cluster: conf.database != Database::Off,
        });
        let lua = lua_plugins(conf, &bundled, &offered)?;
        bundled.extend(lua.bundled);
        offered.extend(lua.own);
        let registry = registry(&conf.plugins, bundled, offered)?;
        Ok(Plugins { registry, servers: Arc::new(servers), lua: lua.host })
    }

    /// Starts the servers and watches over them.
    pub(crate) fn start(&self) {
        let servers = Arc::clone(&self.servers);
        tokio::task::spawn_local(async move { servers.supervise().await });
    }
}

/// Does as other nodes say, as long as there is a store: drops what plugins keep, sets log levels.
pub(crate) fn follow_others(store: &Arc<Store>) {
    let Some(mut told) = store.told() else { return };
    let store = Arc::downgrade(store);
    tokio::task::spawn_local(async move {
        loop {
            let told = match told.recv().await {
                Ok(told) => told,
                // Nobody knows what was missed.
                Err(RecvError::Lagged(_)) => {
                    silverback_plugins::flush_cache(None);
                    continue;
                }
                Err(RecvError::Closed) => return,
            };
            let Some(store) = store.upgrade() else { return };
            match (told.channel.as_str(), told.data.split_once(':')) {
                (PROXY_CACHE_PURGE, Some((plugin, key))) => {
                    drop_cached(&store.entities(), plugin, key);
                }
                (LOG_LEVEL, _) => silverback_admin::log_level::heard(&told.data),
                _ => {}
            }
        }
    });
}

/// Drops what proxy-cache keeps under a key, or all (`nil`), in the memory of a plugin.
fn drop_cached(entities: &Entities, plugin: &str, key: &str) {
    let plugin = entities.of("plugins").get(plugin);
    let memory = plugin.and_then(|plugin| plugin.get("config")?.get("memory"));
    let memory = memory.and_then(|memory| memory.get("dictionary_name")?.as_str());
    // A plugin that is not known here yet: better too much than too little.
    if key == "nil" {
        silverback_plugins::flush_cache(memory);
    } else {
        silverback_plugins::purge_cached(memory, key);
    }
}

fn server_config(conf: &Conf, server: &PluginServer) -> ServerConfig {
    let mut config = ServerConfig::new(&server.name, &server.socket, &server.query_cmd);
    config.start_cmd.clone_from(&server.start_cmd);
    config.timeout = server.timeout;
    config.fail_open = server.fail_open;
    config.connections = server.connections;
    config.body_directory = Some(conf.prefix.join(BODY_DIRECTORY));
    config
}

/// The plugins in Lua: the bundled ones, and those that nobody else has. Lua is started only
/// where one of them is enabled.
fn lua_plugins(conf: &Conf, bundled: &[Plugin], offered: &[Plugin]) -> Result<LuaPlugins> {
    let all_bundled = conf.plugins.iter().any(|name| name == BUNDLED);
    let enabled = |name: &&str| all_bundled || conf.plugins.iter().any(|own| own == name);
    let of_lua: Vec<&str> = silverback_lua::BUNDLED.into_iter().filter(enabled).collect();
    let known = |name: &str| {
        let mut native = bundled.iter().chain(offered);
        name == BUNDLED || of_lua.contains(&name) || native.any(|plugin| plugin.name == name)
    };
    let own = conf.plugins.iter().map(String::as_str).filter(|name| !known(name));
    let names: Vec<&str> = of_lua.iter().copied().chain(own).collect();
    let config = settings::lua(conf)?;
    if names.is_empty() {
        silverback_lua::serve_expressions(config);
        return Ok(LuaPlugins::default());
    }
    let mut host = silverback_lua::load(config, &names).map_err(|errors| {
        anyhow!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let is_bundled = |plugin: &Plugin| of_lua.contains(&plugin.name.as_str());
    let plugins = std::mem::take(&mut host.plugins);
    let (bundled, own) = plugins.into_iter().partition(is_bundled);
    Ok(LuaPlugins { bundled, own, host: Some(host) })
}

/// The plugins in Lua, and their host.
#[derive(Default)]
struct LuaPlugins {
    bundled: Vec<Plugin>,
    own: Vec<Plugin>,
    host: Option<silverback_lua::Host>,
}

/// The enabled ones of all there are.
fn registry(enabled: &[String], bundled: Vec<Plugin>, offered: Vec<Plugin>) -> Result<Registry> {
    let all_bundled = enabled.iter().any(|name| name == BUNDLED);
    let mut missing: BTreeSet<&str> =
        enabled.iter().map(String::as_str).filter(|name| *name != BUNDLED).collect();
    let mut registry = Registry::default();
    let bundled = bundled.into_iter().map(|plugin| (plugin, all_bundled));
    for (plugin, always) in bundled.chain(offered.into_iter().map(|plugin| (plugin, false))) {
        if missing.remove(plugin.name.as_str()) || always || enabled.contains(&plugin.name) {
            registry.add(plugin)?;
        }
    }
    if missing.is_empty() {
        return Ok(registry);
    }
    let missing = missing.into_iter().collect::<Vec<_>>().join(", ");
    bail!(
        "plugins: {missing} enabled but not installed: neither bundled, nor offered by a plugin \
         server (pluginserver_names), nor found as kong/plugins/NAME/handler.lua \
         (lua_package_path)"
    )
}

/// The migrations of enabled plugins in Lua, by the plugins' names.
///
/// # Errors
/// If a plugin has a fault.
pub(crate) fn own_migrations(conf: &Conf) -> Result<Vec<Own>> {
    let bundled = silverback_plugins::bundled(&silverback_plugins::Config::default());
    let lua = lua_plugins(conf, &bundled, &[])?;
    Ok(lua.own.iter().filter_map(migrations_of).collect())
}

/// The migrations of a plugin, if it has any.
pub(crate) fn migrations_of(plugin: &Plugin) -> Option<Own> {
    let migrations = &plugin.keeps.migrations;
    (!migrations.is_empty()).then(|| (plugin.name.clone(), migrations.clone()))
}

/// The registry alone, for commands that only check a file.
///
/// # Errors
/// As [`Plugins::find`].
pub(crate) fn registry_of(conf: &Conf) -> Result<Registry> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let plugins = runtime.block_on(Plugins::find(conf)).context("can't find the plugins")?;
    Ok(plugins.registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(enabled: &[&str], expect: Result<&[&str], &str>) {
        let enabled: Vec<String> = enabled.iter().map(|name| (*name).to_owned()).collect();
        let got = registry(
            &enabled,
            silverback_plugins::bundled(&silverback_plugins::Config::default()),
            Vec::new(),
        );
        match (got, expect) {
            (Ok(registry), Ok(expect)) => {
                let names: Vec<&str> =
                    registry.in_order().into_iter().map(|p| p.name.as_str()).collect();
                assert_eq!(names, expect);
            }
            (Err(error), Err(expect)) => assert!(error.to_string().contains(expect), "{error}"),
            (Ok(_), Err(expect)) => unreachable!("no error about {expect}"),
            (Err(error), Ok(_)) => unreachable!("{error}"),
        }
    }

    #[test]
    fn plugins_are_enabled_by_name() {
        check(&["key-auth"], Ok(&["key-auth"]));
        check(&["key-auth", "correlation-id"], Ok(&["correlation-id", "key-auth"]));
        check(&[], Ok(&[]));
        check(&["bundled", "key-auth", "nowhere"], Err("nowhere enabled but not installed"));
    }

    #[test]
    fn one_word_stands_for_all_bundled_plugins() {
        let bundled = silverback_plugins::bundled(&silverback_plugins::Config::default());
        let count = bundled.len();
        let registry = registry(&[BUNDLED.to_owned()], bundled, Vec::new()).unwrap();
        assert_eq!(registry.in_order().len(), count);
    }
}
