//! What is not made from the schemas, a file for each subject.

mod config;
mod debug;
mod metrics;
mod plugins;
mod root;
mod schemas;
mod status;
mod tags;
mod upstreams;

use http::Method;

pub(crate) use self::upstreams::page as page_of_targets;
use crate::{Answer, Request, Service};

/// A path of its own.
pub(crate) struct Own {
    /// Its pattern: `/schemas/{name}`.
    pub(crate) path: &'static str,
    /// What it does, by method.
    pub(crate) methods: &'static [(Method, Handler)],
}

/// Answers a request, given the parameters of its path.
type Handler = fn(&Service, &Request, &[String]) -> Answer;

/// Every path of its own, in the order of the files.
pub(crate) const ALL: &[Own] = &[
    Own {
        path: "/config",
        methods: &[(Method::GET, config::show_file), (Method::POST, config::load)],
    },
    Own { path: "/debug/node/log-level", methods: &[(Method::GET, debug::log_level)] },
    Own {
        path: "/debug/node/log-level/{log_level}",
        methods: &[(Method::PUT, debug::set_log_level)],
    },
    Own { path: "/metrics", methods: &[(Method::GET, metrics::metrics)] },
    Own { path: "/plugins/enabled", methods: &[(Method::GET, plugins::enabled)] },
    Own { path: "/plugins/schema/{name}", methods: &[(Method::GET, plugins::schema)] },
    Own { path: "/", methods: &[(Method::GET, root::root)] },
    Own { path: "/endpoints", methods: &[(Method::GET, root::endpoints)] },
    Own { path: "/schemas/{name}", methods: &[(Method::GET, schemas::entity)] },
    Own { path: "/schemas/plugins/{name}", methods: &[(Method::GET, schemas::plugin)] },
    Own { path: "/schemas/plugins/validate", methods: &[(Method::POST, schemas::validate_plugin)] },
    Own {
        path: "/schemas/{db_entity_name}/validate",
        methods: &[(Method::POST, schemas::validate)],
    },
    Own { path: "/status", methods: &[(Method::GET, status::status)] },
    Own { path: "/tags", methods: &[(Method::GET, tags::all)] },
    Own { path: "/tags/{tags}", methods: &[(Method::GET, tags::one)] },
    Own { path: "/upstreams/{upstreams}/health", methods: &[(Method::GET, upstreams::health)] },
    Own {
        path: "/upstreams/{upstreams}/targets/all",
        methods: &[(Method::GET, upstreams::all_targets)],
    },
    Own {
        path: "/upstreams/{upstreams}/targets/{targets}/healthy",
        methods: &[(Method::PUT, upstreams::set_healthy)],
    },
    Own {
        path: "/upstreams/{upstreams}/targets/{targets}/unhealthy",
        methods: &[(Method::PUT, upstreams::set_unhealthy)],
    },
    Own {
        path: "/upstreams/{upstreams}/targets/{targets}/{address}/healthy",
        methods: &[(Method::PUT, upstreams::set_healthy)],
    },
    Own {
        path: "/upstreams/{upstreams}/targets/{targets}/{address}/unhealthy",
        methods: &[(Method::PUT, upstreams::set_unhealthy)],
    },
];
