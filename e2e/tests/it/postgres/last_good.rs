//! What a node does that has to start without its database: it serves what it knew, lets those in
//! that it knew, and nobody else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use silverback_e2e::gateway::{Builder, Gateway, said};
use silverback_e2e::postgres::Postgres;
use silverback_e2e::setup;
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

use super::kit::{
    add_route, bootstrapped, fill, is_reachable, make_key, say_routes_changed, with_key,
};

/// Waits until a file of the prefix has a text.
fn wait_kept(gateway: &Gateway, file: &str, text: &str) {
    let path = gateway.prefix().join(file);
    let has_it = || fs::read_to_string(&path).is_ok_and(|whole| whole.contains(text));
    wait_until(&format!("{text} in {file}"), PATIENCE, has_it);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_node_starts_without_its_database() {
    let server = Postgres::alone(&[]);
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let mut gateway = database.gateway().start();
    gateway.keep_prefix();
    add_route(&database, "last");
    say_routes_changed(&database);
    gateway.wait_status("/last", 200);
    assert_eq!(with_key(&gateway, "good").status, 200);
    assert_eq!(make_key(&gateway, "someone", "unused").status, 201);
    assert_eq!(make_key(&gateway, "someone", "revoked").status, 201);
    assert_eq!(with_key(&gateway, "revoked").status, 200);
    wait_kept(&gateway, "last-good-credentials.json", "\"revoked\"");
    database.sql("DELETE FROM keyauth_credentials WHERE key = 'revoked'");
    say_changed(&database, "keyauth_credentials:revoked:::::");
    wait_until("the key's end", PATIENCE, || with_key(&gateway, "revoked").status == 401);
    assert_eq!(with_key(&gateway, "good").status, 200);
    wait_kept(&gateway, "last-good.json", "\"last\"");
    let kept = gateway.prefix().join("last-good-credentials.json");
    let is_gone = || fs::read_to_string(&kept).is_ok_and(|text| !text.contains("\"revoked\""));
    wait_until("the key to be forgotten", PATIENCE, is_gone);
    wait_kept(&gateway, "last-good-credentials.json", "\"good\"");
    assert!(gateway.command("stop").status.success());
    server.stop();
    assert!(gateway.command("start").status.success(), "{}", gateway.log());
    assert_eq!(gateway.get("/last").status, 200);
    for _ in 0..3 {
        assert_eq!(with_key(&gateway, "good").status, 200);
        for unknown in ["unused", "revoked", "nobody's"] {
            assert_eq!(with_key(&gateway, unknown).status, 500, "{unknown}");
        }
        assert_eq!(gateway.get("/closed").status, 401);
        // A reload does not forget either.
        assert!(gateway.command("reload").status.success(), "{}", gateway.log());
    }
    assert!(!is_reachable(&gateway));
    server.start();
    add_route(&database, "later");
    say_routes_changed(&database);
    gateway.wait_status("/later", 200);
    assert_eq!(with_key(&gateway, "unused").status, 200);
    assert_eq!(with_key(&gateway, "revoked").status, 401);
    assert!(gateway.command("stop").status.success());
    let _ = fs::remove_dir_all(gateway.prefix());
}

/// What a Kong node says after it has changed something that it caches.
fn say_changed(database: &silverback_e2e::postgres::Database, key: &str) {
    database.sql(&format!(
        "INSERT INTO cluster_events (id, node_id, at, expire_at, channel, data) SELECT \
         gen_random_uuid(), gen_random_uuid(), now(), now() + interval '1 hour', \
         'invalidations', '{key}' || id FROM workspaces"
    ));
}

/// Starts a gateway on a prefix that another has left; what it says.
fn start_again(builder: &Builder, prefix: &Path) -> (bool, String) {
    let output = Command::new(setup::gateway())
        .args(["start", "-p"])
        .arg(prefix)
        .envs(builder.settings())
        .output()
        .unwrap();
    let _ = fs::remove_dir_all(builder.prefix());
    (output.status.success(), said(&output))
}

#[test]
fn a_node_does_not_start_with_another_database() {
    let server = Postgres::alone(&[]);
    let (database, other) = (bootstrapped(&server), bootstrapped(&server));
    let mut gateway = database.gateway().start();
    gateway.keep_prefix();
    wait_kept(&gateway, "last-good.json", database.name());
    assert!(gateway.command("stop").status.success());
    server.stop();
    let (started, said) = start_again(&other.gateway(), gateway.prefix());
    assert!(!started);
    for part in ["last-good.json is not used: it is of postgres://", database.name(), other.name()]
    {
        assert!(said.contains(part), "{said}");
    }
    fs::write(gateway.prefix().join("last-good.json"), "{\"format\": ").unwrap();
    let (started, said) = start_again(&database.gateway(), gateway.prefix());
    assert!(!started && said.contains("it is damaged or of another version"), "{said}");
    let _ = fs::remove_dir_all(gateway.prefix());
}

#[test]
fn credentials_are_not_kept_where_nobody_wants_them() {
    let server = Postgres::alone(&[]);
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let builder = database.gateway().set("last_good_credentials", "off");
    let file = builder.prefix().join("last-good-credentials.json");
    fs::write(&file, "old").unwrap();
    let mut gateway = builder.start();
    gateway.keep_prefix();
    assert_eq!(with_key(&gateway, "good").status, 200);
    wait_kept(&gateway, "last-good.json", "\"closed\"");
    assert!(gateway.command("stop").status.success());
    assert!(!file.exists());
    server.stop();
    assert!(gateway.command("start").status.success(), "{}", gateway.log());
    assert_eq!(gateway.get("/open").status, 200);
    assert_eq!(with_key(&gateway, "good").status, 500);
    assert!(gateway.command("stop").status.success());
    let _ = fs::remove_dir_all(gateway.prefix());
}
