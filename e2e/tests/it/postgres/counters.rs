//! Counters in PostgreSQL: rate-limiting and response-ratelimiting with the policy `cluster`.

use std::thread;
use std::time::{Duration, Instant};

use silverback_e2e::gateway::Gateway;
use silverback_e2e::http::{Answer, Request};
use silverback_e2e::postgres::{Database, Postgres};
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

use super::kit::bootstrapped;

/// A route `/NAME` with one plugin; waits until it is served.
fn route(gateway: &Gateway, upstream: &Upstream, name: &str, plugin: &str, config: &str) {
    let put = |path: &str, body: String| {
        let request = Request::new("PUT", path).header("content-type", "application/json");
        let answer = gateway.ask_admin(&request.body(body));
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    put("/services/s", format!("{{\"url\": \"{}\"}}", upstream.url()));
    put(
        &format!("/routes/{name}"),
        format!(r#"{{"paths": ["/{name}"], "service": {{"name": "s"}}}}"#),
    );
    let post = Request::new("POST", &format!("/routes/{name}/plugins"));
    let body = format!(r#"{{"name": "{plugin}", "config": {config}}}"#);
    let answer = gateway.ask_admin(&post.header("content-type", "application/json").body(body));
    assert_eq!(answer.status, 201, "{}", answer.text());
}

fn answers(gateway: &Gateway, target: &str) -> Answer {
    gateway.send(&Request::get(target)).unwrap()
}

fn period_rows(database: &Database, table: &str) -> Vec<Vec<String>> {
    database
        .sql(&format!("SELECT identifier, period, value FROM {table} ORDER BY period, identifier"))
}

#[test]
fn nodes_count_together_exactly() {
    let database = bootstrapped(&Postgres::shared());
    let upstream = Upstream::start();
    let one = database.gateway().set("nginx_worker_processes", "2").start();
    let config = r#"{"policy": "cluster", "month": 50, "year": 40000, "limit_by": "ip"}"#;
    route(&one, &upstream, "r", "rate-limiting", config);
    // It starts with what there is.
    let two = database.gateway().start();
    let passed: usize = thread::scope(|scope| {
        let ask = |gateway| (0..20).filter(|_| answers(gateway, "/r").status == 200).count();
        let clients: Vec<_> =
            [&one, &two, &one, &two].map(|node| scope.spawn(move || ask(node))).into();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(passed, 50);
    let refused = answers(&two, "/r");
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("x-ratelimit-remaining-month"), Some("0"));
    assert_eq!(refused.header("x-ratelimit-remaining-year"), Some("39950"));
    let rows = period_rows(&database, "ratelimiting_metrics");
    assert_eq!(rows, [["127.0.0.1", "month", "50"], ["127.0.0.1", "year", "50"]]);
    // As Kong's nodes find them: by the route, the window's first second, with an end.
    let route = database.value("SELECT id FROM routes");
    let known = database.value(&format!(
        "SELECT count(*) FROM ratelimiting_metrics WHERE route_id = '{route}' AND period_date = \
         date_trunc(period, now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AND ttl > now() AND \
         service_id = '00000000-0000-0000-0000-000000000000'"
    ));
    assert_eq!(known, "2");
    // What a Kong counts is counted here.
    database.sql("UPDATE ratelimiting_metrics SET value = 49");
    assert_eq!((answers(&one, "/r").status, answers(&two, "/r").status), (200, 429));
    // Rows whose time is over go with the next new one, as in Kong.
    database.sql("UPDATE ratelimiting_metrics SET ttl = now() - interval '1 minute'");
    database.sql("UPDATE ratelimiting_metrics SET period_date = '2001-01-01' WHERE value = 50");
    answers(&one, "/r");
    let old = "SELECT count(*) FROM ratelimiting_metrics WHERE ttl < now()";
    assert_eq!(database.value(old), "0");
}

#[test]
fn answers_are_counted_by_all_nodes() {
    let database = bootstrapped(&Postgres::shared());
    let upstream = Upstream::start();
    let one = database.gateway().start();
    let config = r#"{"policy": "cluster", "limits": {"video": {"month": 3}, "sms": {"year": 9}}}"#;
    route(&one, &upstream, "r", "response-ratelimiting", config);
    let two = database.gateway().start();
    // The upstream says what the answer costs.
    let costs = "/r/set/x-kong-limit/video=2,sms=1";
    let ask = |gateway: &Gateway, target: &str, expect: (u16, Option<&str>)| {
        let answer = answers(gateway, target);
        let left = answer.header("x-ratelimit-remaining-video-month");
        assert_eq!((answer.status, left), expect, "{target}");
    };
    ask(&one, "/r", (200, Some("3")));
    ask(&one, costs, (200, Some("1")));
    ask(&two, "/r", (200, Some("1")));
    ask(&two, costs, (200, Some("0")));
    ask(&one, costs, (429, Some("0")));
    let rows = period_rows(&database, "response_ratelimiting_metrics");
    assert_eq!(rows, [["127.0.0.1", "sms_year", "2"], ["127.0.0.1", "video_month", "4"]]);
}

#[test]
fn without_the_database_requests_pass_or_fail_as_configured() {
    let server = Postgres::alone(&[]);
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    let gateway = database.gateway().set("pg_timeout", "1000").start();
    for (name, tolerant) in [("tolerant", true), ("strict", false)] {
        let config = format!(r#"{{"policy": "cluster", "year": 2, "fault_tolerant": {tolerant}}}"#);
        route(&gateway, &upstream, name, "rate-limiting", &config);
    }
    assert_eq!(answers(&gateway, "/tolerant").status, 200);
    assert_eq!(answers(&gateway, "/strict").status, 200);
    let check = || {
        for _ in 0..4 {
            assert_eq!(answers(&gateway, "/tolerant").status, 200);
            assert_eq!(answers(&gateway, "/strict").status, 500);
        }
        // Nobody else waits meanwhile.
        assert_eq!(answers(&gateway, "/nowhere").status, 404);
    };
    let metrics = |line: &str| {
        let page = gateway.ask_admin(&Request::get("/metrics")).text();
        page.lines().any(|found| found == line)
    };
    assert!(metrics("kong_datastore_reachable 1"));
    server.stop();
    check();
    wait_until("the metric", PATIENCE, || metrics("kong_datastore_reachable 0"));
    server.start();
    let back = || answers(&gateway, "/strict").status == 200;
    wait_until("the counters", PATIENCE, back);
    assert_eq!(answers(&gateway, "/strict").status, 429);
    server.freeze(true);
    let began = Instant::now();
    check();
    assert!(began.elapsed() < Duration::from_secs(20));
    server.freeze(false);
}

#[test]
fn what_one_node_drops_of_its_cache_all_drop() {
    let database = bootstrapped(&Postgres::shared());
    let upstream = Upstream::start();
    let one = database.gateway().set("db_update_frequency", "0.2").start();
    let config = r#"{"strategy": "memory"}"#;
    route(&one, &upstream, "bytes", "proxy-cache", config);
    let two = database.gateway().set("db_update_frequency", "0.2").start();
    let status = |gateway: &Gateway, expect: &str| {
        let answer = answers(gateway, "/bytes/bytes/3");
        assert_eq!(answer.header("x-cache-status"), Some(expect));
        answer.header("x-cache-key").unwrap().to_owned()
    };
    let mut key = String::new();
    let mut fill = || {
        for gateway in [&one, &two] {
            status(gateway, "Miss");
            key = status(gateway, "Hit");
        }
        key.clone()
    };
    let held = |gateway: &Gateway, path: &str| gateway.ask_admin(&Request::get(path)).status == 200;
    let delete = |path: &str| one.ask_admin(&Request::new("DELETE", path)).status;
    let plugin = database.value("SELECT id FROM plugins");
    for form in ["/proxy-cache/KEY", "/proxy-cache/PLUGIN/caches/KEY", "/proxy-cache"] {
        let key = fill();
        let path = form.replace("KEY", &key).replace("PLUGIN", &plugin);
        let one_key = format!("/proxy-cache/{key}");
        assert!(held(&two, &one_key));
        assert_eq!(delete(&path), 204, "{path}");
        assert!(!held(&one, &one_key), "{path}");
        wait_until("the other node", PATIENCE, || !held(&two, &one_key));
    }
    // The words of a Kong node.
    let key = fill();
    let one_key = format!("/proxy-cache/{key}");
    database.sql(&format!(
        "INSERT INTO cluster_events (id, node_id, at, expire_at, channel, data) VALUES \
         (gen_random_uuid(), gen_random_uuid(), now(), now() + interval '1 hour', \
          'proxy-cache:purge', '{plugin}:{key}')"
    ));
    for gateway in [&one, &two] {
        wait_until("Kong's word", PATIENCE, || !held(gateway, &one_key));
    }
    assert_eq!(delete(&one_key), 404);
}
