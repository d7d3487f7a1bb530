//! The Admin and Status APIs of this node: listeners, and what they know.

mod additions;
mod listen;

use std::{rc::Rc, sync::Arc};

use anyhow::Result;
use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};
use silverback_admin::{
    Facts, Given, Service,
    server::{self, Scope},
};
use silverback_proxy as proxy;
use silverback_store::Store;
use tokio::task::JoinHandle;

use self::additions::Desk;
use super::{KONG_VERSION, entities::Configuration, plugins::Plugins, settings};
use crate::{conf::Conf, prefix::Prefix};

/// The listeners of the Admin and Status APIs.
pub(crate) struct Api {
    tasks: Vec<JoinHandle<()>>,
}

impl Api {
    /// Opens the listeners of `admin_listen` and `status_listen`.
    ///
    /// # Errors
    /// If one can't be opened.
    pub(crate) async fn start(
        conf: &Conf,
        prefix: &Prefix,
        plugins: &Plugins,
        configuration: &Rc<Configuration>,
        proxy: &proxy::Handle,
    ) -> Result<Api> {
        let facts = facts(conf, prefix, plugins, configuration, proxy)?;
        let load = {
            let configuration = Rc::clone(configuration);
            Box::new(move |given: Given| configuration.replace_for_admin(&given))
        };
        let registry = plugins.registry.clone();
        let store = Arc::clone(&configuration.store);
        let desk = Desk {
            node: settings::node(conf, prefix)?,
            directory: configuration.live(),
            stats: proxy.stats().clone(),
        };
        let additions = additions::of(plugins.lua.as_ref(), desk)?;
        let service = Rc::new(Service::new(facts, registry, store, load, additions));
        let mut api = Api { tasks: Vec::new() };
        for scope in [Scope::Admin, Scope::Status] {
            for listener in listen::listeners(conf, scope) {
                let (socket, tls) = listen::open(conf, prefix, scope, listener)?;
                let body_max = conf.admin_limits.max_body;
                let serve = server::serve(socket, tls, scope, body_max, Rc::clone(&service));
                api.tasks.push(tokio::task::spawn_local(serve));
            }
        }
        Ok(api)
    }

    /// Accepts nothing more.
    pub(crate) fn stop(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

fn facts(
    conf: &Conf,
    prefix: &Prefix,
    plugins: &Plugins,
    configuration: &Configuration,
    proxy: &proxy::Handle,
) -> Result<Facts> {
    let servers = Arc::clone(&plugins.servers);
    let stats = proxy.stats().clone();
    let pids_of = Arc::clone(&plugins.servers);
    let dns = proxy.dns();
    let dns_sums = dns.clone();
    // Kong's old client does not count.
    let counts_names = conf.dns.new_client;
    let store = Arc::clone(&configuration.store);
    Ok(Facts {
        version: KONG_VERSION,
        silverback_version: env!("CARGO_PKG_VERSION"),
        node_id: prefix.node_id(conf.node_id.as_deref())?,
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        configuration: conf.configuration(),
        origins: origins(conf),
        workers: conf.workers.map_or_else(crate::node::settings::cores, Ok)?,
        health: Box::new(Health(Arc::clone(&configuration.snapshot))),
        status: Box::new(move || status(&stats, &servers.status(), dns_sums.sums(), &store)),
        dns: Box::new(move || counts_names.then(|| dns.names())),
        pids: Box::new(move || {
            let pid = std::process::id();
            let servers: Map<String, Value> = pids_of
                .status()
                .into_iter()
                .filter_map(|server| Some((server.name, json!(server.pid?))))
                .collect();
            json!({ "master": pid, "workers": [pid], "plugin_servers": servers })
        }),
    })
}

/// What stands before the paths of `admin_gui_url` (`admin_gui_origin` of
/// kong/conf_loader/init.lua).
fn origins(conf: &Conf) -> Vec<String> {
    let urls = conf.settings.list("admin_gui_url").iter();
    let origin = |url: &String| {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        Some(format!("{scheme}://{authority}"))
    };
    urls.filter_map(origin).collect()
}

/// The health of upstreams, as the snapshot of now has it.
struct Health(Arc<ArcSwap<proxy::Snapshot>>);

impl Health {
    fn balancer(&self, upstream: &str) -> Option<Arc<proxy::Balancer>> {
        let id = upstream.parse().ok()?;
        self.0.load().balancer(id).cloned()
    }
}

impl silverback_admin::Health for Health {
    fn targets(&self, upstream: &str) -> Option<Map<String, Value>> {
        Some(self.balancer(upstream)?.targets_health())
    }

    fn whole(&self, upstream: &str) -> Option<Value> {
        Some(self.balancer(upstream)?.health())
    }

    fn set(
        &self,
        upstream: &str,
        target: &str,
        address: Option<&str>,
        healthy: bool,
    ) -> Result<(), String> {
        let balancer = self.balancer(upstream).ok_or("balancer not found")?;
        balancer.set_health(target, address, healthy)
    }
}

/// What `/status` shows: nginx's counters, memory, the plugin servers, names resolved,
/// and the database if it is elsewhere.
fn status(
    stats: &proxy::Stats,
    servers: &[silverback_external::ServerStatus],
    dns: Value,
    store: &Store,
) -> Map<String, Value> {
    let seen = stats.totals();
    let server = json!({
        "connections_accepted": seen.accepted,
        "connections_active": seen.active,
        "connections_handled": seen.handled,
        "connections_reading": seen.reading,
        "connections_waiting": seen.waiting,
        "connections_writing": seen.writing,
        "total_requests": seen.requests,
    });
    // The Admin API adds what Lua occupies.
    let memory = json!({ "resident_bytes": resident_bytes() });
    let mut status = Map::new();
    status.insert("server".into(), server);
    status.insert("memory".into(), memory);
    status.insert("plugin_servers".into(), json!(servers));
    status.insert("dns".into(), dns);
    if store.database() == "postgres" {
        let trouble = store.trouble();
        let mut database = json!({ "reachable": trouble.is_none() });
        if let Some(trouble) = trouble {
            database["message"] = trouble.into();
        }
        if store.polls() {
            database["polling"] = true.into();
        }
        status.insert("database".into(), database);
    }
    status
}

/// The process's resident memory, in bytes; none where the system does not say.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
