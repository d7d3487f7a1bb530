//! Gateways on a database: what Kong has written there is served, and goes on being served when
//! the database does not.

use std::time::{Duration, Instant};

use silverback_e2e::gateway::{Builder, Gateway};
use silverback_e2e::http::{Answer, Request};
use silverback_e2e::postgres::{Database, Postgres};
use silverback_e2e::setup;
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

/// A database with Kong's tables.
pub(super) fn bootstrapped(server: &std::sync::Arc<Postgres>) -> Database {
    let database = server.database();
    database.bootstrap();
    database
}

const SERVICE: &str = "11111111-1111-4111-8111-111111111111";

/// Rows as Kong writes them: a service with the route `/open`, and `/closed` with key-auth and
/// the key `good`.
fn fill(database: &Database, upstream: &Upstream) {
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

fn add_route(database: &Database, name: &str) {
    database.sql(&format!(
        "INSERT INTO routes (id, name, service_id, protocols, paths, regex_priority, strip_path, \
         preserve_host, https_redirect_status_code, path_handling, request_buffering, \
         response_buffering, ws_id) SELECT gen_random_uuid(), '{name}', '{SERVICE}', \
         '{{http,https}}', '{{/{name}}}', 0, true, false, 426, 'v0', true, true, id \
         FROM workspaces"
    ));
}

/// What a Kong node says after it has changed routes.
fn say_routes_changed(database: &Database) {
    database.sql(
        "INSERT INTO cluster_events (id, node_id, at, expire_at, channel, data) VALUES \
         (gen_random_uuid(), gen_random_uuid(), now(), now() + interval '1 hour', \
          'invalidations_kong_core_db_cache', 'router:version')",
    );
}

fn with_key(gateway: &Gateway, key: &str) -> Answer {
    gateway.send(&Request::get("/closed").header("apikey", key)).unwrap()
}

fn is_reachable(gateway: &Gateway) -> bool {
    let status = gateway.ask_admin(&Request::get("/status")).json();
    status["database"]["reachable"] == true
}

#[test]
fn a_node_says_what_has_to_be_done_first() {
    let database = Postgres::shared().database();
    let check = |builder: Builder, text: &str| {
        let said = builder.try_start().map(drop).unwrap_err();
        assert!(said.contains(text), "{said}");
    };
    check(database.gateway(), "Database needs bootstrapping or is older than Kong 1.0.");
    check(database.gateway().set("pg_password", "wrong"), "password authentication failed");
    check(database.gateway().set("pg_port", "1"), "there is no last good configuration");
    let gateway = database.gateway();
    let run = std::process::Command::new(setup::gateway())
        .args(["migrations", "up", "-q", "-p"])
        .arg(gateway.prefix())
        .envs(gateway.set("plugins", "key-auth").settings())
        .status();
    assert!(run.unwrap().success());
    check(database.gateway(), "New migrations available; run");
    drop(database.gateway().set("plugins", "key-auth").start());
}

#[test]
fn what_kong_wrote_is_served() {
    let database = bootstrapped(&Postgres::shared());
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let gateway = database.gateway().start();
    assert_eq!(gateway.get("/open").status, 200);
    assert_eq!(gateway.get("/closed").status, 401);
    assert_eq!(with_key(&gateway, "bad").status, 401);
    upstream.take_seen();
    assert_eq!(with_key(&gateway, "good").status, 200);
    assert_eq!(upstream.take_seen()[0].header("x-consumer-username"), Some("someone"));
    add_route(&database, "more");
    assert_eq!(gateway.get("/more").status, 404);
    say_routes_changed(&database);
    gateway.wait_status("/more", 200);
    assert!(is_reachable(&gateway));
}

/// By a Unix socket, by TLS, and by TLS with a certificate that is trusted or not.
#[test]
fn every_way_to_a_server() {
    let server = Postgres::with_tls();
    let database = bootstrapped(&server);
    let folder = server.socket_folder().display().to_string();
    drop(database.gateway().set("pg_host", &folder).start());
    let tls = |verify: &str| {
        let ca = server.certificate().display().to_string();
        let gateway = database.gateway().set("pg_host", "localhost").set("pg_ssl", "on");
        gateway.set("pg_ssl_verify", verify).set("lua_ssl_trusted_certificate", &ca)
    };
    let gateway = tls("on").start();
    let used = "SELECT bool_and(ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
                WHERE application_name = 'silverback'";
    assert_eq!(database.sql_as_superuser(used), [["t"]]);
    drop(gateway);
    drop(tls("off").set("lua_ssl_trusted_certificate", "system").start());
    let said = tls("on").set("lua_ssl_trusted_certificate", "system").try_start();
    let said = said.map(drop).unwrap_err();
    assert!(said.contains("certificate"), "{said}");
}

#[test]
fn proxying_goes_on_without_the_database() {
    let server = Postgres::alone(&[]);
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let gateway = database.gateway().set("pg_timeout", "1000").start();
    assert_eq!(with_key(&gateway, "good").status, 200);
    server.stop();
    for _ in 0..20 {
        assert_eq!(gateway.get("/open").status, 200);
        assert_eq!(with_key(&gateway, "good").status, 200);
    }
    // Whether this key is good, nobody knows.
    assert_eq!(with_key(&gateway, "unknown").status, 500);
    wait_until("the trouble to be told", PATIENCE, || !is_reachable(&gateway));
    server.start();
    add_route(&database, "meanwhile");
    gateway.wait_status("/meanwhile", 200);
    assert!(is_reachable(&gateway));
    assert_eq!(with_key(&gateway, "unknown").status, 401);
    // One that neither answers nor hangs up.
    server.freeze(true);
    assert_eq!(gateway.get("/open").status, 200);
    assert_eq!(with_key(&gateway, "good").status, 200);
    let began = Instant::now();
    assert_eq!(with_key(&gateway, "other").status, 500);
    assert!(began.elapsed() < Duration::from_secs(4));
    server.freeze(false);
    wait_until("an answer", PATIENCE, || with_key(&gateway, "other").status == 401);
}

#[test]
fn a_node_starts_without_its_database() {
    let server = Postgres::alone(&[]);
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let mut gateway = database.gateway().set("pg_timeout", "1000").start();
    gateway.keep_prefix();
    add_route(&database, "last");
    say_routes_changed(&database);
    gateway.wait_status("/last", 200);
    let good = gateway.prefix().join("last-good.json");
    let has_it = || std::fs::read_to_string(&good).is_ok_and(|text| text.contains("\"last\""));
    wait_until("the last good configuration", PATIENCE, has_it);
    assert!(gateway.command("stop").status.success());
    server.stop();
    assert!(gateway.command("start").status.success(), "{}", gateway.log());
    assert_eq!(gateway.get("/last").status, 200);
    assert_eq!(with_key(&gateway, "good").status, 500);
    assert!(!is_reachable(&gateway));
    server.start();
    add_route(&database, "later");
    gateway.wait_status("/later", 200);
    assert_eq!(with_key(&gateway, "good").status, 200);
    assert!(gateway.command("stop").status.success());
    let _ = std::fs::remove_dir_all(gateway.prefix());
}
