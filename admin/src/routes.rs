//! What is not made from the schemas, a file for each subject.

mod cache;
mod clustering;
mod config;
mod debug;
mod metrics;
mod plugins;
mod proxy_cache;
mod root;
mod schemas;
mod status;
mod tags;
mod targets;
mod upstreams;

pub(crate) use tags::refused as refused_tag;

use http::{Method, StatusCode};

use crate::{
    Answer,
    call::{Handler, Handler::Later, Handler::Now},
    openapi,
};

/// A path of its own.
pub(crate) struct Own {
    /// Its pattern: `/schemas/{name}`.
    pub(crate) path: &'static str,
    /// What it does, by method.
    pub(crate) methods: &'static [(Method, Handler)],
}

const fn own(path: &'static str, methods: &'static [(Method, Handler)]) -> Own {
    Own { path, methods }
}

/// The answer of paths that concern filters of WebAssembly, which there are none of
/// (`kong/api/routes/filter_chains.lua`).
pub(crate) fn without_wasm() -> Answer {
    let text = "this endpoint is only available when wasm is enabled";
    Answer::message(StatusCode::BAD_REQUEST, text)
}

/// The paths of the Status API (`kong/status/init.lua`).
pub(crate) const STATUS: &[Own] = &[
    own("/metrics", &[(Method::GET, Now(metrics::metrics))]),
    own("/status", &[(Method::GET, Now(status::status))]),
    own("/status/dns", &[(Method::GET, Now(status::dns))]),
    own("/status/ready", &[(Method::GET, Now(status::ready))]),
];

/// Those that it has besides without a database.
pub(crate) const STATUS_WITHOUT_DATABASE: &[Own] = &[
    own(
        "/upstreams/{upstreams}/health",
        &[(Method::GET, Later(|c| Box::pin(upstreams::health(c))))],
    ),
    own("/upstreams/{upstreams}/targets", &[(Method::GET, Later(|c| Box::pin(targets::list(c))))]),
    own(
        "/upstreams/{upstreams}/targets/all",
        &[(Method::GET, Later(|c| Box::pin(targets::raw(c))))],
    ),
    own(
        "/upstreams/{upstreams}/targets/{targets}",
        &[(Method::GET, Later(|c| Box::pin(targets::one(c))))],
    ),
];

/// Every path of its own, in the order of the files.
pub(crate) const ALL: &[Own] = &[
    own("/cache", &[(Method::DELETE, Later(|call| Box::pin(cache::purge(call))))]),
    own(
        "/cache/{key}",
        &[
            (Method::DELETE, Later(|call| Box::pin(cache::forget(call)))),
            (Method::GET, Later(|call| Box::pin(cache::probe(call)))),
        ],
    ),
    own("/clustering/data-planes", &[(Method::GET, Now(clustering::no_control_plane))]),
    own("/clustering/status", &[(Method::GET, Now(clustering::no_control_plane))]),
    own("/config", &[(Method::GET, Now(config::show_file)), (Method::POST, Now(config::load))]),
    own(
        "/debug/cluster/log-level/{log_level}",
        &[(Method::PUT, Later(|call| Box::pin(debug::set_cluster_log_level(call))))],
    ),
    own("/debug/node/log-level", &[(Method::GET, Now(debug::show_log_level))]),
    own("/debug/node/log-level/{log_level}", &[(Method::PUT, Now(debug::set_log_level))]),
    own("/metrics", &[(Method::GET, Now(metrics::metrics))]),
    own("/openapi.json", &[(Method::GET, Now(openapi::show))]),
    own("/plugins/enabled", &[(Method::GET, Now(plugins::enabled))]),
    own("/plugins/schema/{name}", &[(Method::GET, Now(plugins::schema))]),
    own("/proxy-cache", &[(Method::DELETE, Later(|call| Box::pin(proxy_cache::flush(call))))]),
    own(
        "/proxy-cache/{cache_key}",
        &[
            (Method::DELETE, Later(|call| Box::pin(proxy_cache::purge(call)))),
            (Method::GET, Later(|call| Box::pin(proxy_cache::show(call)))),
        ],
    ),
    own(
        "/proxy-cache/{plugin_id}/caches/{cache_key}",
        &[
            (Method::DELETE, Later(|call| Box::pin(proxy_cache::purge(call)))),
            (Method::GET, Later(|call| Box::pin(proxy_cache::show(call)))),
        ],
    ),
    own("/", &[(Method::GET, Later(|call| Box::pin(root::root(call))))]),
    own("/endpoints", &[(Method::GET, Now(root::endpoints))]),
    own("/timers", &[(Method::GET, Now(root::timers))]),
    own("/routes/{routes}/filters/all", &[(Method::GET, Now(|_| Ok(without_wasm())))]),
    own("/routes/{routes}/filters/disabled", &[(Method::GET, Now(|_| Ok(without_wasm())))]),
    own("/routes/{routes}/filters/enabled", &[(Method::GET, Now(|_| Ok(without_wasm())))]),
    own("/schemas/filters/{name}", &[(Method::GET, Now(schemas::filter))]),
    own("/schemas/{name}", &[(Method::GET, Now(schemas::entity))]),
    own("/schemas/plugins/{name}", &[(Method::GET, Now(schemas::plugin))]),
    own("/schemas/plugins/validate", &[(Method::POST, Now(schemas::validate_plugin))]),
    own("/schemas/vaults/{name}", &[(Method::GET, Now(schemas::vault))]),
    own("/schemas/vaults/validate", &[(Method::POST, Now(schemas::validate_vault))]),
    own("/schemas/{db_entity_name}/validate", &[(Method::POST, Now(schemas::validate))]),
    own("/status", &[(Method::GET, Now(status::status))]),
    own("/status/dns", &[(Method::GET, Now(status::dns))]),
    own(
        "/tags",
        &[
            (Method::GET, Later(|call| Box::pin(tags::all(call)))),
            (Method::POST, Now(tags::refuse)),
        ],
    ),
    own(
        "/tags/{tags}",
        &[
            (Method::DELETE, Now(tags::refuse)),
            (Method::GET, Later(|call| Box::pin(tags::one(call)))),
            (Method::PATCH, Now(tags::refuse)),
            (Method::PUT, Now(tags::refuse)),
        ],
    ),
    own(
        "/upstreams/{upstreams}/targets",
        &[
            (Method::GET, Later(|call| Box::pin(targets::list(call)))),
            (Method::POST, Later(|call| Box::pin(targets::create(call)))),
        ],
    ),
    own(
        "/upstreams/{upstreams}/targets/all",
        &[(Method::GET, Later(|call| Box::pin(targets::raw(call))))],
    ),
    own(
        "/upstreams/{upstreams}/targets/{targets}",
        &[
            (Method::DELETE, Later(|call| Box::pin(targets::one(call)))),
            (Method::GET, Later(|call| Box::pin(targets::one(call)))),
            (Method::PATCH, Later(|call| Box::pin(targets::one(call)))),
            (Method::PUT, Later(|call| Box::pin(targets::one(call)))),
        ],
    ),
    own(
        "/upstreams/{upstreams}/health",
        &[(Method::GET, Later(|c| Box::pin(upstreams::health(c))))],
    ),
    own(
        "/upstreams/{upstreams}/targets/{targets}/healthy",
        &[(Method::PUT, Later(|call| Box::pin(upstreams::set_healthy(call))))],
    ),
    own(
        "/upstreams/{upstreams}/targets/{targets}/unhealthy",
        &[(Method::PUT, Later(|call| Box::pin(upstreams::set_unhealthy(call))))],
    ),
    own(
        "/upstreams/{upstreams}/targets/{targets}/{address}/healthy",
        &[(Method::PUT, Later(|call| Box::pin(upstreams::set_healthy(call))))],
    ),
    own(
        "/upstreams/{upstreams}/targets/{targets}/{address}/unhealthy",
        &[(Method::PUT, Later(|call| Box::pin(upstreams::set_unhealthy(call))))],
    ),
];
