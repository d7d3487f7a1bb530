//! What tests of gateways on a database begin with.

use silverback_e2e::gateway::Gateway;
use silverback_e2e::http::{Answer, Request};
use silverback_e2e::postgres::{Database, Postgres};
use silverback_e2e::upstream::Upstream;

/// A database with Kong's tables.
pub(super) fn bootstrapped(server: &std::sync::Arc<Postgres>) -> Database {
    let database = server.database();
    database.bootstrap();
    database
}

/// The service's id.
const SERVICE: &str = "11111111-1111-4111-8111-111111111111";

/// Rows as Kong writes them: a service with the route `/open`, and `/closed` with key-auth and
/// the key `good`.
pub(super) fn fill(database: &Database, upstream: &Upstream) {
    let port = upstream.port();
    database.sql(&format!(
        "INSERT INTO services (id, name, retries, protocol, host, port, connect_timeout, \
         write_timeout, read_timeout, enabled, ws_id) \
         SELECT '{SERVICE}', 's', 5, 'http', '127.0.0.1', {port}, 60000, 60000, 60000, true, id \
         FROM workspaces;"
    ));
    add_route(database, "open");
    add_route(database, "closed");
    database.sql(
        "INSERT INTO plugins (id, name, route_id, config, enabled, protocols, cache_key, ws_id) \
         SELECT gen_random_uuid(), 'key-auth', r.id, '{\"key_names\": [\"apikey\"], \
         \"key_in_header\": true, \"key_in_query\": true, \"key_in_body\": false, \
         \"hide_credentials\": false, \"run_on_preflight\": true, \"anonymous\": null}', true, \
         '{http,https}', 'plugins:key-auth:' || r.id || '::::' || r.ws_id, r.ws_id \
         FROM routes r WHERE name = 'closed'; \
         INSERT INTO consumers (id, username, ws_id) \
         SELECT gen_random_uuid(), 'someone', id FROM workspaces; \
         INSERT INTO keyauth_credentials (id, key, consumer_id, ws_id) \
         SELECT gen_random_uuid(), 'good', id, ws_id FROM consumers;",
    );
}

/// One more route of the service, as Kong writes it.
pub(super) fn add_route(database: &Database, name: &str) {
    database.sql(&format!(
        "INSERT INTO routes (id, name, service_id, protocols, paths, regex_priority, strip_path, \
         preserve_host, https_redirect_status_code, path_handling, request_buffering, \
         response_buffering, ws_id) SELECT gen_random_uuid(), '{name}', '{SERVICE}', \
         '{{http,https}}', '{{/{name}}}', 0, true, false, 426, 'v0', true, true, id \
         FROM workspaces"
    ));
}

/// What a Kong node says after it has changed routes.
pub(super) fn say_routes_changed(database: &Database) {
    database.sql(
        "INSERT INTO cluster_events (id, node_id, at, expire_at, channel, data) VALUES \
         (gen_random_uuid(), gen_random_uuid(), now(), now() + interval '1 hour', \
          'invalidations_kong_core_db_cache', 'router:version')",
    );
}

/// Asks with a key for what needs one.
pub(super) fn with_key(gateway: &Gateway, key: &str) -> Answer {
    gateway.send(&Request::get("/closed").header("apikey", key)).unwrap()
}

/// Whether the gateway says that its database can be asked.
pub(super) fn is_reachable(gateway: &Gateway) -> bool {
    let status = gateway.ask_admin(&Request::get("/status")).json();
    status["database"]["reachable"] == true
}

/// Makes a consumer through the Admin API.
pub(super) fn make_consumer(gateway: &Gateway, name: &str) -> Answer {
    let body = format!("{{\"username\": \"{name}\"}}");
    let request = Request::new("POST", "/consumers").header("Content-Type", "application/json");
    gateway.ask_admin(&request.body(body))
}

/// Gives a consumer a key through the Admin API.
pub(super) fn make_key(gateway: &Gateway, consumer: &str, key: &str) -> Answer {
    let request = Request::new("POST", &format!("/consumers/{consumer}/key-auth"));
    let request = request.header("Content-Type", "application/json");
    gateway.ask_admin(&request.body(format!("{{\"key\": \"{key}\"}}")))
}
