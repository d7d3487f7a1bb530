//! Databases of Kong 3.0 to 3.9: `migrations up` and `finish` make of them what Kong 3.10 has.

use silverback_e2e::gateway::Builder;
use silverback_e2e::http::Request;
use silverback_e2e::postgres::{Database, Postgres};

use super::kit::{bootstrapped, fill};
use super::layout::{migrations, run};

/// From each version to the one before: what that did not have yet, and the names of its last
/// migrations.
const BACK: [(&str, &str); 9] = [
    (
        "3.9",
        "DROP TABLE session_metadatas; \
         DROP TABLE clustering_sync_version; \
         CREATE TABLE clustering_sync_version (version SERIAL PRIMARY KEY); \
         CREATE TABLE clustering_sync_delta (version INT NOT NULL REFERENCES \
         clustering_sync_version ON DELETE CASCADE, type TEXT NOT NULL, pk JSON NOT NULL, \
         ws_id UUID NOT NULL, entity JSON); \
         CREATE INDEX clustering_sync_delta_version_idx ON clustering_sync_delta (version); \
         SELECT back('core', '025_390_to_3100'), back('session', '003_330_to_3100');",
    ),
    (
        "3.8",
        "DROP TABLE clustering_sync_delta, clustering_sync_version; \
         SELECT back('core', '024_380_to_390');",
    ),
    (
        "3.6",
        "DROP TABLE clustering_rpc_requests; \
         ALTER TABLE clustering_data_planes DROP rpc_capabilities; \
         SELECT back('core', '023_360_to_370'), back('ai-proxy', '001_360_to_370');",
    ),
    (
        "3.5",
        "ALTER TABLE clustering_data_planes DROP cert_details; \
         SELECT back('core', '022_350_to_360'), back('acme', '003_350_to_360'), \
         back('rate-limiting', '006_350_to_360'), \
         back('response-ratelimiting', '001_350_to_360'), \
         back('response-ratelimiting', '000_base_response_rate_limiting');",
    ),
    (
        "3.4",
        "ALTER TABLE clustering_data_planes DROP labels; SELECT back('core', '021_340_to_350');",
    ),
    (
        "3.3",
        "DROP TABLE filter_chains; CREATE TABLE ttls (primary_key_value TEXT NOT NULL, \
         primary_uuid_value UUID, table_name TEXT NOT NULL, primary_key_name TEXT NOT NULL, \
         expire_at TIMESTAMP NOT NULL, PRIMARY KEY (primary_key_value, table_name)); \
         SELECT back('core', '020_330_to_340'), back('opentelemetry', '001_331_to_332');",
    ),
    (
        "3.2",
        "DROP FUNCTION batch_delete_expired_rows CASCADE; \
         ALTER TABLE plugins DROP updated_at; ALTER TABLE ca_certificates DROP updated_at; \
         ALTER TABLE certificates DROP updated_at; ALTER TABLE consumers DROP updated_at; \
         ALTER TABLE snis DROP updated_at; ALTER TABLE targets DROP updated_at; \
         ALTER TABLE upstreams DROP updated_at; ALTER TABLE workspaces DROP updated_at; \
         ALTER TABLE clustering_data_planes DROP updated_at; \
         ALTER TABLE oauth2_authorization_codes DROP plugin_id; \
         SELECT back('core', '019_320_to_330'), back('acme', '002_320_to_330'), \
         back('key-auth', '004_320_to_330'), back('oauth2', '007_320_to_330'), \
         back('oauth2', '006_320_to_330'), back('rate-limiting', '005_320_to_330'), \
         back('session', '002_320_to_330');",
    ),
    ("3.1", "ALTER TABLE plugins DROP instance_name; SELECT back('core', '018_310_to_320');"),
    (
        "3.0",
        "DROP TABLE keys, key_sets; ALTER TABLE upstreams DROP use_srv_name; \
         SELECT back('core', '017_300_to_310');",
    ),
];

/// The last of a subsystem's migrations has not run.
const FORGET: &str = "CREATE FUNCTION back(part text, name text) RETURNS void LANGUAGE sql AS $$ \
    UPDATE schema_meta SET executed = array_remove(executed, name), \
      last_executed = executed[array_length(executed, 1) - 1] WHERE subsystem = part; \
    DELETE FROM schema_meta WHERE executed = '{}'; $$;";

/// Makes a database of an older version of one of 3.10.
fn age(database: &Database, version: &str) {
    database.sql(FORGET);
    for (older, sql) in BACK {
        database.sql(sql);
        if older == version {
            break;
        }
    }
    database.sql("DROP FUNCTION back");
}

/// What every subsystem has run, without the trace of what had to be finished.
fn executed(database: &Database) -> Vec<Vec<String>> {
    database.sql("SELECT subsystem, executed, last_executed FROM schema_meta ORDER BY subsystem")
}

#[test]
fn every_version_becomes_the_newest() {
    let server = Postgres::shared();
    let newest = bootstrapped(&server);
    let (layout, all) = (newest.layout(), executed(&newest));
    for (version, _) in BACK {
        let database = bootstrapped(&server);
        age(&database, version);
        let (code, said) = migrations(&database, &["list"]);
        assert!(code == 5 && said.contains("New migrations available:"), "{version}: {said}");
        let (code, said) = migrations(&database, &["up"]);
        assert_eq!(code, 0, "{version}: {said}");
        assert_eq!(database.layout(), layout, "{version}");
        let (code, said) = migrations(&database, &["finish"]);
        assert_eq!(code, 0, "{version}: {said}");
        assert_eq!(database.layout(), layout, "{version}");
        assert_eq!(executed(&database), all, "{version}");
        assert_eq!(migrations(&database, &["list"]).0, 0, "{version}");
    }
}

const REDIS: &str = "\"redis_host\": \"redis.test\", \"redis_port\": 6380, \
    \"redis_password\": null, \"redis_username\": null, \"redis_ssl\": true, \
    \"redis_ssl_verify\": false, \"redis_server_name\": \"sni.test\", \"redis_timeout\": 2000, \
    \"redis_database\": 3";

/// A plugin as Kong 3.0 wrote it.
fn add_plugin(database: &Database, name: &str, config: &str) {
    database.sql(&format!(
        "INSERT INTO plugins (id, name, config, enabled, protocols, cache_key, ws_id) SELECT \
         gen_random_uuid(), '{name}', '{config}', true, '{{http,https}}', \
         'plugins:{name}:::::' || id, id FROM workspaces"
    ));
}

/// What plugins of Kong 3.0 are configured with is served between `up` and `finish`, and after.
#[test]
fn what_is_there_goes_on() {
    let database = bootstrapped(&Postgres::shared());
    let upstream = silverback_e2e::upstream::Upstream::start();
    fill(&database, &upstream);
    age(&database, "3.0");
    let limits = format!(
        "{{\"second\": null, \"minute\": 5, \"policy\": \"local\", \"limit_by\": \"ip\", \
         \"fault_tolerant\": true, \"hide_client_headers\": false, {REDIS}}}"
    );
    add_plugin(&database, "rate-limiting", &limits);
    let limits = format!(
        "{{\"header_name\": \"x-limit\", \"limit_by\": \"ip\", \"policy\": \"local\", \
         \"limits\": {{\"video\": {{\"minute\": 10}}}}, {REDIS}}}"
    );
    add_plugin(&database, "response-ratelimiting", &limits);
    let refused = database.gateway().try_start().map(drop).unwrap_err();
    assert!(refused.contains("New migrations available; run"), "{refused}");
    assert_eq!(migrations(&database, &["up", "-q"]).0, 0);
    let (code, said) = migrations(&database, &["list"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("rate-limiting: 006_350_to_360"), "{said}");
    let kept = |plugin: &str, path: &str| {
        let sql = format!("SELECT config #>> '{{{path}}}' FROM plugins WHERE name = '{plugin}'");
        database.value(&sql)
    };
    for finished in [false, true] {
        for plugin in ["rate-limiting", "response-ratelimiting"] {
            let old = if finished { "" } else { "redis.test" };
            assert_eq!(kept(plugin, "redis_host"), old, "{plugin}");
            let new = ["host", "port", "ssl", "server_name", "database"];
            let new = new.map(|field| kept(plugin, &format!("redis,{field}")));
            assert_eq!(new, ["redis.test", "6380", "true", "sni.test", "3"], "{plugin}");
        }
        assert_served(&database.gateway());
        assert_eq!(migrations(&database, &["finish", "-q"]).0, 0);
    }
    assert_eq!(migrations(&database, &["list"]).0, 0);
}

/// `start --run-migrations` does what is due before it starts.
#[test]
fn a_start_may_run_migrations() {
    let database = Postgres::shared().database();
    let gateway = database.gateway();
    let start = |words: &[&str]| {
        let output = std::process::Command::new(silverback_e2e::setup::gateway())
            .args(words)
            .arg("-p")
            .arg(gateway.prefix())
            .envs(gateway.settings())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", silverback_e2e::gateway::said(&output));
    };
    start(&["start", "--run-migrations"]);
    start(&["stop"]);
    assert_eq!(run(&gateway, &["list"]).0, 0);
    start(&["start", "--run-migrations"]);
    start(&["stop"]);
    let _ = std::fs::remove_dir_all(gateway.prefix());
}

fn assert_served(builder: &Builder) {
    let settings = builder.settings().clone();
    let mut again = Builder::new();
    for (name, value) in settings.iter().filter(|(name, _)| name.starts_with("KONG_PG_")) {
        again = again.environment(name, value);
    }
    let gateway = again.set("database", "postgres").start();
    let _ = std::fs::remove_dir_all(builder.prefix());
    let answer = gateway.get("/open");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-ratelimit-limit-minute"), Some("5"));
    let plugins = gateway.ask_admin(&Request::get("/plugins")).json();
    let plugins = plugins["data"].as_array().unwrap().clone();
    let limits = plugins.iter().filter(|p| p["name"] != "key-auth");
    for plugin in limits {
        assert_eq!(plugin["config"]["redis"]["host"], "redis.test", "{plugin}");
        // The old names are still shown, as Kong's.
        assert_eq!(plugin["config"]["redis_host"], "redis.test", "{plugin}");
    }
}
