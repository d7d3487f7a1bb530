//! Gateways on a database: what Kong has written there is served.

use silverback_e2e::gateway::Builder;
use silverback_e2e::http::Request;
use silverback_e2e::postgres::Postgres;
use silverback_e2e::setup;
use silverback_e2e::upstream::Upstream;

use super::kit::{add_route, bootstrapped, fill, is_reachable, say_routes_changed, with_key};

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

/// What others change without a word is known when the cache is thrown out.
#[test]
fn what_is_thrown_out_is_read_again() {
    let database = bootstrapped(&Postgres::shared());
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let gateway = database.gateway().start();
    assert_eq!(with_key(&gateway, "good").status, 200);
    database.sql("UPDATE keyauth_credentials SET key = 'better'");
    add_route(&database, "silent");
    assert_eq!(with_key(&gateway, "good").status, 200);
    assert_eq!(gateway.get("/silent").status, 404);
    let delete = |target: &str| gateway.ask_admin(&Request::new("DELETE", target)).status;
    assert_eq!(delete("/cache/keyauth_credentials:good:::::"), 204);
    assert_eq!(with_key(&gateway, "good").status, 401);
    assert_eq!(with_key(&gateway, "better").status, 200);
    assert_eq!(gateway.get("/silent").status, 404);
    assert_eq!(delete("/cache"), 204);
    gateway.wait_status("/silent", 200);
    assert_eq!(delete("/cache/nothing"), 204);
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
    server.ask_for_certificates();
    let said = tls("on").try_start().map(drop).unwrap_err();
    assert!(said.contains("certificate"), "{said}");
    let [own, key] = server.client_certificate().map(|path| path.display().to_string());
    let said = tls("on").set("pg_ssl_cert", &own).try_start().map(drop).unwrap_err();
    assert!(said.contains("pg_ssl_cert and pg_ssl_cert_key need each other"), "{said}");
    drop(tls("on").set("pg_ssl_cert", &own).set("pg_ssl_cert_key", &key).start());
}

/// Who asks for TLS gets it, or says that it need not be.
#[test]
fn a_server_without_tls() {
    let database = bootstrapped(&Postgres::shared());
    let said = database.gateway().set("pg_ssl", "on").try_start().map(drop).unwrap_err();
    assert!(said.contains("server does not support TLS"), "{said}");
    drop(database.gateway().set("pg_ssl", "on").set("pg_ssl_required", "off").start());
}
