//! The Admin API as a whole: bad input of every kind on every path, TLS, limits.

use std::process::Command;
use std::time::Duration;

use silverback_e2e::gateway::{Builder, Gateway, free_port};
use silverback_e2e::http::{Answer, Connection, Request, send};
use silverback_e2e::setup;
use silverback_e2e::wait::PATIENCE;

use crate::admin_random::{Call, Random};

/// How many calls of a round are made.
const CALLS: usize = 2500;

/// After how many refused writes it is looked whether they have changed anything.
const LOOK_EVERY: usize = 10;

/// Paths that change the node, or answer 501 by design.
const LEFT_OUT: [&str; 3] = ["log-level", "/status/dns", "/openapi.json"];

fn with_database() -> Gateway {
    Builder::new().set("database", "sqlite").start()
}

fn ask(gateway: &Gateway, request: &Request) -> Answer {
    let answer = send(&gateway.admin(), request);
    answer.unwrap_or_else(|why| panic!("{request:?}: {why}\n{}", gateway.log()))
}

/// Every entity there is, as the lists show them.
fn all_entities(gateway: &Gateway, lists: &[String]) -> String {
    let list = |path: &String| {
        let answer = ask(gateway, &Request::get(&format!("{path}?size=1000")));
        format!("{path}: {}\n", answer.text())
    };
    lists.iter().map(list).collect()
}

/// What has gone wrong goes by the seed: `SEED=7 cargo test … bad_input_of_every_kind`.
#[test]
fn bad_input_of_every_kind() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let gateway = with_database();
    let mut random = Random::new(seed, &ask(&gateway, &Request::get("/openapi.json")).json());
    let lists = random.lists();
    let mut state = all_entities(&gateway, &lists);
    let mut refused: Vec<Call> = Vec::new();
    let mut statuses = [0; 600];
    for _ in 0..CALLS {
        let call = random.call(&LEFT_OUT);
        let answer = ask(&gateway, &call.request());
        let status = answer.status;
        assert!((200..500).contains(&status), "seed {seed}: {status} to {call:?}");
        statuses[usize::from(status)] += 1;
        if status == 200 || status == 201 {
            random.learn(&serde_json::from_slice(&answer.body).unwrap_or_default());
        }
        match call.writes() {
            true if status < 300 => state = all_entities(&gateway, &lists),
            true => refused.push(call),
            false => continue,
        }
        if status < 300 || refused.len() == LOOK_EVERY {
            assert_eq!(all_entities(&gateway, &lists), state, "seed {seed}: one of {refused:#?}");
            refused.clear();
        }
    }
    // The calls are of use only if some are right.
    assert!(statuses[200] > 50 && statuses[201] > 20, "{:?}", &statuses[200..210]);
    assert!(statuses[400] > 200 && statuses[404] > 50, "{:?}", &statuses[400..420]);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
    gateway.clear().unwrap();
}

/// schemathesis makes calls from the OpenAPI document, and holds the answers against it.
#[test]
fn answers_are_what_the_openapi_document_says() {
    let gateway = with_database();
    let left_out = LEFT_OUT.join("|");
    let output = Command::new(setup::env("python/bin/schemathesis"))
        .args(["run", &format!("http://{}/openapi.json", gateway.admin())])
        .args(["--checks", "not_a_server_error,status_code_conformance"])
        .args(["--checks", "content_type_conformance,response_schema_conformance"])
        .args(["--phases", "coverage,fuzzing", "--max-examples", "5", "--max-time", "40"])
        .args(["--exclude-path-regex", &left_out, "--seed", "1", "--generation-database", "none"])
        .args(["--no-color", "--warnings", "off"])
        .current_dir(gateway.prefix())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

#[test]
fn listeners_with_tls_and_the_status_api() {
    let (admin, status) = (free_port(), free_port());
    let builder = Builder::new();
    let plain = builder.ports().admin;
    let gateway = builder
        .set("database", "sqlite")
        .set("admin_listen", &format!("127.0.0.1:{plain}, 0.0.0.0:{admin} ssl http2 backlog=64"))
        .set("status_listen", &format!("127.0.0.1:{status} ssl"))
        .start();
    let check = |port: u16, target: &str, expect: u16| {
        let address = format!("127.0.0.1:{port}");
        let (mut connection, _) = Connection::open_tls(&address, None, PATIENCE).unwrap();
        let answer = connection.ask(&Request::get(target), false).unwrap();
        assert_eq!(answer.status, expect, "{target}: {}", answer.text());
    };
    check(admin, "/services", 200);
    check(status, "/status", 200);
    check(status, "/status/ready", 200);
    check(status, "/metrics", 200);
    check(status, "/services", 404);
    check(status, "/upstreams/x/health", 404);
    gateway.wait_log("the Admin API is open to other machines at 0.0.0.0");
    let written = Request::new("PUT", "/status");
    let address = format!("127.0.0.1:{status}");
    let (mut connection, _) = Connection::open_tls(&address, None, PATIENCE).unwrap();
    assert_eq!(connection.ask(&written, false).unwrap().status, 405);
}

#[test]
fn a_body_has_a_limit() {
    let gateway = Builder::new()
        .set("database", "sqlite")
        .set("nginx_admin_client_max_body_size", "1k")
        .start();
    let check = |name: usize, expect: u16| {
        let body = format!(r#"{{"username": "{}"}}"#, "x".repeat(name));
        let request = Request::new("POST", "/consumers").header("Content-Type", "application/json");
        assert_eq!(ask(&gateway, &request.body(body)).status, expect);
    };
    check(1000, 201);
    check(2000, 413);
}

/// A level that was set for a time ends, and what the configuration says holds again.
#[test]
fn a_log_level_ends() {
    let gateway = Builder::new().set("database", "sqlite").set("log_level", "notice").start();
    let level = || ask(&gateway, &Request::get("/debug/node/log-level")).json()["message"].clone();
    let set = Request::new("PUT", "/debug/node/log-level/debug?timeout=1");
    assert_eq!(ask(&gateway, &set).status, 200);
    assert_eq!(level(), "log level: debug");
    silverback_e2e::wait::wait_until("the level to end", Duration::from_secs(60), || {
        level() == "log level: notice"
    });
}
