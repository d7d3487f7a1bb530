//! The list itself, in the order of the reference.

use std::{collections::HashMap, sync::OnceLock};

use super::{
    Function, client, client_tls, cluster, ctx, ip, log, nginx, node, plugin, request, response,
    router, service, service_request, service_response, telemetry, vault,
};

/// The groups of functions, in the order of the reference.
static GROUPS: [&[Function]; 17] = [
    client::FUNCTIONS,
    client_tls::FUNCTIONS,
    cluster::FUNCTIONS,
    ctx::FUNCTIONS,
    ip::FUNCTIONS,
    log::FUNCTIONS,
    nginx::FUNCTIONS,
    node::FUNCTIONS,
    plugin::FUNCTIONS,
    request::FUNCTIONS,
    response::FUNCTIONS,
    router::FUNCTIONS,
    service::FUNCTIONS,
    service_request::FUNCTIONS,
    service_response::FUNCTIONS,
    telemetry::FUNCTIONS,
    vault::FUNCTIONS,
];

/// Every function, in the order of the reference.
pub fn all() -> impl Iterator<Item = &'static Function> {
    GROUPS.into_iter().flatten()
}

/// The function of that dotted name.
pub fn find(name: &str) -> Option<&'static Function> {
    static BY_NAME: OnceLock<HashMap<&str, &Function>> = OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| all().map(|f| (f.name, f)).collect());
    by_name.get(name).copied()
}
