//! The tables: those that Kong 3.10 makes, to the last index, and what `migrations` says of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use silverback_e2e::gateway::{Builder, said};
use silverback_e2e::postgres::{Database, Postgres};
use silverback_e2e::setup;

/// Runs `migrations` with these words; the exit code and what was printed.
pub(super) fn migrations(database: &Database, words: &[&str]) -> (i32, String) {
    let builder = database.gateway();
    let output = run(&builder, words);
    let _ = std::fs::remove_dir_all(builder.prefix());
    output
}

pub(super) fn run(builder: &Builder, words: &[&str]) -> (i32, String) {
    let output = std::process::Command::new(setup::gateway())
        .arg("migrations")
        .args(words)
        .arg("-p")
        .arg(builder.prefix())
        .envs(builder.settings())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    (output.status.code().unwrap_or(-1), said(&output))
}

/// What `conformance/facts/postgres-layout.json` tells of a database, asked of this one.
fn layout(database: &Database) -> Value {
    let tables = database.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'");
    let mut layout = BTreeMap::new();
    for table in tables.into_iter().flatten() {
        let columns = database.sql(&format!(
            "SELECT a.attname, CASE WHEN t.typelem <> 0 AND t.typlen = -1 THEN t.typname ELSE \
             format_type(a.atttypid, NULL) END || CASE WHEN a.attnotnull THEN ' not null' ELSE '' \
             END || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') \
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             WHERE a.attrelid = 'public.\"{table}\"'::regclass AND a.attnum > 0 \
             AND NOT a.attisdropped ORDER BY a.attnum"
        ));
        let columns: serde_json::Map<String, Value> =
            columns.into_iter().map(|row| (row[0].clone(), json!(row[1]))).collect();
        let lines = |sql: String| -> BTreeSet<String> {
            database.sql(&sql).into_iter().flatten().collect()
        };
        let constraints = lines(format!(
            "SELECT conname || ': ' || pg_get_constraintdef(oid) FROM pg_constraint \
             WHERE conrelid = 'public.\"{table}\"'::regclass AND contype <> 'n'"
        ));
        let indexes = lines(format!(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = '{table}'"
        ));
        let triggers = lines(format!(
            "SELECT trigger_name || ': ' || action_timing || ' ' || event_manipulation || ' ' || \
             action_statement FROM information_schema.triggers \
             WHERE event_object_table = '{table}'"
        ));
        layout.insert(
            table,
            json!({"columns": columns, "constraints": constraints, "indexes": indexes,
                   "triggers": triggers}),
        );
    }
    let functions: BTreeSet<String> = database
        .sql("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
        .into_iter()
        .flatten()
        .collect();
    let records = database.value(
        "SELECT jsonb_agg(m ORDER BY subsystem) FROM schema_meta m WHERE key = 'schema_meta'",
    );
    let records: Value = serde_json::from_str(&records).unwrap();
    json!({"tables": layout, "functions": functions, "schema_meta": records})
}

/// The recorded layout, its lists sorted as those above are.
fn recorded() -> Value {
    let file = setup::root().join("conformance/facts/postgres-layout.json");
    let mut layout: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for (_, table) in layout["tables"].as_object_mut().unwrap() {
        for list in ["constraints", "indexes", "triggers"] {
            let sorted: BTreeSet<String> = serde_json::from_value(table[list].take()).unwrap();
            table[list] = json!(sorted);
        }
    }
    layout
}

#[test]
fn bootstrap_makes_what_kong_makes() {
    let database = Postgres::shared().database();
    let (code, said) = migrations(&database, &["bootstrap"]);
    assert_eq!(code, 0, "{said}");
    for line in ["core migrated up to: 025_390_to_3100 (executed)", "Database is up-to-date"] {
        assert!(said.contains(line), "{said}");
    }
    let (made, recorded) = (layout(&database), recorded());
    for part in ["functions", "schema_meta"] {
        assert_eq!(made[part], recorded[part]);
    }
    let names = |layout: &Value| -> BTreeSet<String> {
        layout["tables"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(names(&made), names(&recorded));
    for (name, table) in recorded["tables"].as_object().unwrap() {
        assert_eq!(&made["tables"][name], table, "{name}");
    }
}

#[test]
fn commands_end_as_kongs_do() {
    let database = Postgres::shared().database();
    let check = |words: &[&str], code: i32, text: &str| {
        let (got, said) = migrations(&database, words);
        assert!(got == code && said.contains(text), "{words:?} ended with {got}: {said}");
    };
    check(&["list"], 3, "Database needs bootstrapping");
    check(&["status"], 0, "\"needs_bootstrap\":true");
    check(&["finish"], 1, "Database needs bootstrapping");
    check(&["reset", "-y"], 1, "Database not bootstrapped, nothing to reset");
    check(&["up"], 0, "Database is up-to-date");
    check(&["up"], 0, "Database is already up-to-date");
    check(&["bootstrap"], 0, "Database already bootstrapped");
    check(&["finish"], 0, "No pending migrations to finish");
    check(&["list"], 0, "Executed migrations:");
    check(&["status"], 0, "\"namespace\":\"kong.plugins.acl.migrations\"");
    check(&["up", "-f"], 0, "");
    check(&["reset"], 1, "not a tty: invoke 'reset' non-interactively with the --yes flag");
    check(&["bootstrap", "-f", "-q"], 0, "");
    check(&["reset", "--yes"], 0, "Database successfully reset");
    check(&["list"], 3, "");
    check(&["sideways"], 1, "no such command for migrations: sideways");
    check(&["up", "--db-timeout", "soon"], 1, "--db-timeout is no number of seconds: 'soon'");
}

/// What a plugin keeps is made when it is first used, and what an older Kong left is refused.
#[test]
fn parts_of_the_layout_are_told_apart() {
    let database = Postgres::shared().database();
    let gateway = database.gateway().set("plugins", "key-auth");
    assert_eq!(run(&gateway, &["up", "-q"]).0, 0);
    let _ = std::fs::remove_dir_all(gateway.prefix());
    let (code, said) = migrations(&database, &["list"]);
    assert!(code == 5 && said.contains("New migrations available:"), "{code}: {said}");
    assert_eq!(migrations(&database, &["up"]).0, 0);
    assert_eq!(migrations(&database, &["list"]).0, 0);
    database.sql(
        "UPDATE schema_meta SET last_executed = '015_270_to_280', \
         executed = executed[:array_position(executed, '015_270_to_280')] \
         WHERE subsystem = 'core'",
    );
    let (code, said) = migrations(&database, &["up"]);
    let why = "that of a Kong before 3.0 (core 016_280_to_300 was not run)";
    assert!(code == 1 && said.contains(why), "{said}");
    database.sql("UPDATE schema_meta SET pending = '{016_280_to_300}' WHERE subsystem = 'core'");
    assert_eq!(migrations(&database, &["list"]).0, 4);
    let (code, said) = migrations(&database, &["up"]);
    assert!(code == 1 && said.contains("Database has pending migrations"), "{said}");
    let (code, said) = migrations(&database, &["finish"]);
    assert!(code == 1 && said.contains("was begun by a Kong before 3.0"), "{said}");
}

/// Nodes of a new cluster may all try at once; each ends well.
#[test]
fn one_of_several_makes_the_tables() {
    let database = Postgres::shared().database();
    std::thread::scope(|scope| {
        let up = || migrations(&database, &["bootstrap"]);
        let all: Vec<_> = (0..3).map(|_| scope.spawn(up)).collect();
        for one in all {
            let (code, said) = one.join().unwrap();
            assert_eq!(code, 0, "{said}");
        }
    });
    assert_eq!(migrations(&database, &["list"]).0, 0);
    assert_eq!(database.value("SELECT count(*) FROM workspaces"), "1");
}

#[test]
fn a_schema_of_its_own() {
    let database = Postgres::shared().database();
    let gateway = database.gateway().set("pg_schema", "gate way");
    assert_eq!(run(&gateway, &["bootstrap", "-q"]).0, 0);
    let count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'gate way'";
    assert_eq!(database.value(count), "35");
    assert_eq!(run(&gateway, &["reset", "-y", "-q"]).0, 0);
    assert_eq!(database.value(count), "0");
    let _ = std::fs::remove_dir_all(gateway.prefix());
}
