//! What becomes of a gateway when its database does not do its part: proxying goes on with what is
//! known, writes say why they can't be, and nobody has to start anything again.

use std::fs;
use std::time::{Duration, Instant};

use silverback_e2e::forwarder::Forwarder;
use silverback_e2e::gateway::Gateway;
use silverback_e2e::http::Request;
use silverback_e2e::postgres::{PASSWORD, Postgres, USER};
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

use super::kit::{
    add_route, bootstrapped, fill, is_reachable, make_consumer, say_routes_changed, with_key,
};

/// Proxying goes on, and a write says why it can't be.
pub(super) fn assert_only_serving(gateway: &Gateway, why: &str) {
    for _ in 0..20 {
        assert_eq!(gateway.get("/open").status, 200);
        assert_eq!(with_key(gateway, "good").status, 200);
    }
    let refused = make_consumer(gateway, "refused");
    assert_eq!(refused.status, 503, "{}", refused.text());
    let message = refused.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("the database can't be reached"), "{message}");
    assert!(message.contains(why), "{message}");
    assert_eq!(gateway.ask_admin(&Request::get("/consumers")).status, 503);
    assert_eq!(gateway.get("/open").status, 200);
}

/// Writes are taken again, and what others wrote is heard.
pub(super) fn assert_well(gateway: &Gateway, name: &str) {
    let made = || make_consumer(gateway, name).status == 201;
    wait_until("a write to be taken", PATIENCE, made);
    let answer = gateway.ask_admin(&Request::get(&format!("/consumers/{name}")));
    assert_eq!(answer.status, 200);
    wait_until("the database to be reachable", PATIENCE, || is_reachable(gateway));
    assert_eq!(gateway.ask_admin(&Request::get("/consumers/refused")).status, 404);
}

#[test]
fn a_stopped_server() {
    let server = Postgres::alone(&[]);
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let gateway = database.gateway().start();
    let pid = gateway.pid();
    assert_eq!(with_key(&gateway, "good").status, 200);
    server.stop();
    assert_only_serving(&gateway, "");
    // Whether this key is good, nobody knows.
    assert_eq!(with_key(&gateway, "unknown").status, 500);
    wait_until("the trouble to be told", PATIENCE, || !is_reachable(&gateway));
    server.start();
    add_route(&database, "meanwhile");
    say_routes_changed(&database);
    gateway.wait_status("/meanwhile", 200);
    assert_well(&gateway, "after");
    assert_eq!(with_key(&gateway, "unknown").status, 401);
    assert_eq!(gateway.pid(), pid);
}

/// One that neither answers nor hangs up.
#[test]
fn a_frozen_server() {
    let server = Postgres::alone(&[]);
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let gateway = database.gateway().set("pg_timeout", "3000").start();
    assert_eq!(with_key(&gateway, "good").status, 200);
    server.freeze(true);
    let began = Instant::now();
    assert_eq!(with_key(&gateway, "other").status, 500);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_only_serving(&gateway, "3000 ms");
    server.freeze(false);
    wait_until("an answer", PATIENCE, || with_key(&gateway, "other").status == 401);
    assert_well(&gateway, "after");
}

/// Others have taken all its connections.
#[test]
fn a_server_without_free_connections() {
    let server = Postgres::alone(&["max_connections=12"]);
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let way = Forwarder::to(server.port());
    let gateway = database.gateway().set("pg_port", &way.port().to_string()).start();
    assert_eq!(with_key(&gateway, "good").status, 200);
    way.cut();
    let others = database.take_all_connections();
    assert!(others.len() > 5);
    way.mend();
    assert_only_serving(&gateway, "connection");
    drop(others);
    assert_well(&gateway, "after");
}

#[test]
fn a_slow_server() {
    let server = Postgres::alone(&[]);
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let way = Forwarder::to(server.port());
    let gateway = database.gateway().set("pg_port", &way.port().to_string());
    let gateway = gateway.set("pg_timeout", "4000").start();
    assert_eq!(with_key(&gateway, "good").status, 200);
    // Slow, yet within its time: a write takes as long as it takes, and requests do not wait.
    way.delay(Duration::from_millis(50));
    assert_eq!(make_consumer(&gateway, "slowly").status, 201);
    assert_eq!(with_key(&gateway, "new").status, 401);
    way.delay(Duration::from_secs(10));
    assert_only_serving(&gateway, "4000 ms");
    way.delay(Duration::ZERO);
    assert_well(&gateway, "after");
    assert_eq!(gateway.ask_admin(&Request::get("/consumers/slowly")).status, 200);
}

/// A password that kong.conf refers to is read again when the server does not take it any more.
#[test]
fn a_password_that_changes() {
    let server = Postgres::alone(&[]);
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let gateway = database.gateway().set("pg_password", "{vault://file/password}");
    let secrets = gateway.prefix().join("secrets");
    fs::create_dir_all(&secrets).unwrap();
    let file = secrets.join("password");
    fs::write(&file, PASSWORD).unwrap();
    let directory = secrets.display().to_string();
    let gateway = gateway.set("vault_file_directory", &directory).start();
    assert_eq!(with_key(&gateway, "good").status, 200);
    database.sql_as_superuser(&format!("ALTER ROLE {USER} PASSWORD 'another'"));
    database.sql_as_superuser(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'"
    ));
    assert_only_serving(&gateway, "password authentication failed");
    fs::write(&file, "another").unwrap();
    assert_well(&gateway, "after");
}
