//! Counters in a real Redis: rate-limiting and response-ratelimiting with the policy redis.

use std::thread;
use std::time::{Duration, Instant};

use silverback_e2e::gateway::{Builder, Gateway, free_port};
use silverback_e2e::redis::Redis;
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

use crate::uses::{plugin, routes};

/// rate-limiting by Redis on a port, with more settings of Redis and of the plugin.
fn limit(port: u16, redis: &str, more: &str) -> String {
    let redis = format!("redis: {{host: localhost, port: {port}, timeout: 1000, {redis}}}");
    plugin("rate-limiting", &format!("policy: redis, {redis}, {more}"))
}

fn start(upstream: &Upstream, pairs: &[(&str, &str)]) -> Gateway {
    let builder = Builder::new().set("nginx_worker_processes", "2");
    let certificate = Redis::certificate().display().to_string();
    let builder = builder.set("lua_ssl_trusted_certificate", &certificate);
    builder.declarative(&routes(upstream, pairs)).start()
}

/// How many of so many requests pass, sent by four clients at once.
fn passed(gateways: &[&Gateway], target: &str, each: usize) -> usize {
    thread::scope(|scope| {
        let ask =
            |gateway: &Gateway| (0..each).filter(|_| gateway.get(target).status == 200).count();
        let clients: Vec<_> = (0..4)
            .map(|at| {
                let gateway = gateways[at % gateways.len()];
                scope.spawn(move || ask(gateway))
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    })
}

#[test]
fn nodes_share_exact_counters_that_end_with_their_windows() {
    let (upstream, redis) = (Upstream::start(), Redis::start(""));
    let plugin = limit(redis.port(), "database: 3", "day: 50, hour: 40");
    // Ids are made of names, so the route is the same one for both nodes.
    let yaml = routes(&upstream, &[("r", &plugin)]);
    let one = Builder::new().set("nginx_worker_processes", "2").declarative(&yaml);
    let two = Builder::new().declarative(&yaml);
    let (one, two) = (one.start(), two.start());
    assert_eq!(passed(&[&one, &two], "/r", 25), 40);

    let refused = one.get("/r");
    assert_eq!(refused.status, 429);
    let header = |name: &str| refused.header(name).unwrap_or_default().to_owned();
    assert_eq!(header("x-ratelimit-remaining-hour"), "0");
    assert_eq!(header("x-ratelimit-remaining-day"), "10");
    let keys = redis.ask("-n 3 KEYS ratelimit:*");
    let mut keys: Vec<&str> = keys.lines().collect();
    keys.sort_by_key(|key| !key.ends_with(":day"));
    assert_eq!(keys.len(), 2, "{keys:?}");
    for (key, longest) in keys.iter().zip([86_402, 3_602]) {
        assert_eq!(redis.ask(&format!("-n 3 GET {key}")), "40", "{key}");
        let life: i64 = redis.ask(&format!("-n 3 TTL {key}")).parse().unwrap();
        assert!(0 < life && life <= longest, "{key}: {life}");
    }
    // Kong's form: route, service, who, the window's first millisecond, the period.
    let parts: Vec<&str> = keys[0].split(':').collect();
    assert_eq!(
        (parts.len(), parts[2], parts[3], parts[5]),
        (6, "00000000-0000-0000-0000-000000000000", "127.0.0.1", "day")
    );
    assert!(parts[4].ends_with("00000") && parts[4].len() == 13, "{keys:?}");
}

/// Passwords, users, databases and TLS differ from instance to instance.
#[test]
fn instances_with_different_settings_do_not_mix() {
    let upstream = Upstream::start();
    let (open, closed) = (Redis::start(""), Redis::start("secret"));
    closed.ask("ACL SETUSER gate on >key ~* +@all");
    let (clear, tls) = (closed.port(), closed.tls_port());
    let name = "ssl: true, ssl_verify: true, server_name";
    let strict = "fault_tolerant: false, minute: 1";
    let pairs = [
        ("open", limit(open.port(), "database: 1", "day: 1")),
        ("other", limit(open.port(), "database: 2", "day: 1")),
        ("closed", limit(clear, "password: secret", "day: 1")),
        ("user", limit(clear, "username: gate, password: key", "day: 1")),
        ("tls", limit(tls, "password: secret, ssl: true", "day: 1")),
        ("verified", limit(tls, &format!("password: secret, {name}: upstream.test"), "day: 1")),
        ("wrong-name", limit(tls, &format!("password: secret, {name}: other.test"), strict)),
        ("wrong", limit(clear, "password: other", strict)),
        ("nobody", limit(clear, "", strict)),
    ];
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, p)| (*name, p.as_str())).collect();
    let gateway = start(&upstream, &pairs);
    for name in ["open", "other", "closed", "user", "tls", "verified"] {
        let target = format!("/{name}");
        assert_eq!(gateway.get(&target).status, 200, "{name}");
        assert_eq!(gateway.get(&target).status, 429, "{name}");
    }
    for name in ["wrong-name", "wrong", "nobody"] {
        assert_eq!(gateway.get(&format!("/{name}")).status, 500, "{name}");
    }
    assert_eq!((open.ask("-n 1 DBSIZE"), open.ask("-n 2 DBSIZE")), ("1".into(), "1".into()));
    assert_eq!(closed.ask("DBSIZE"), "4");
}

#[test]
fn without_redis_requests_pass_or_fail_as_configured() {
    let upstream = Upstream::start();
    let (port, tls_port) = (free_port(), free_port());
    let gateway = start(
        &upstream,
        &[
            ("tolerant", &limit(port, "", "day: 2")),
            ("strict", &limit(port, "", "day: 2, fault_tolerant: false")),
        ],
    );
    assert_eq!(gateway.get("/tolerant").status, 200);
    assert_eq!(gateway.get("/strict").status, 500);
    gateway.wait_log("can't connect to Redis");
    {
        let _redis = Redis::start_at("", port, tls_port);
        gateway.wait_status("/strict", 200);
        assert_eq!(gateway.get("/tolerant").header("ratelimit-remaining"), Some("1"));
    }
    // Connections broke: new ones are made when Redis is back.
    assert_eq!(gateway.get("/strict").status, 500);
    let _redis = Redis::start_at("", port, tls_port);
    gateway.wait_status("/strict", 200);
}

/// Nodes count by themselves, and learn of one another every `sync_rate` seconds.
#[test]
fn counters_are_brought_into_step() {
    let (upstream, redis) = (Upstream::start(), Redis::start(""));
    let yaml = routes(&upstream, &[("r", &limit(redis.port(), "", "day: 30, sync_rate: 0.2"))]);
    let one = Builder::new().set("nginx_worker_processes", "2").declarative(&yaml).start();
    assert_eq!(passed(&[&one], "/r", 5), 20);
    let keys = || redis.ask("KEYS *");
    wait_until("the counter in Redis", PATIENCE, || redis.ask(&format!("GET {}", keys())) == "20");
    let life: i64 = redis.ask(&format!("TTL {}", keys())).parse().unwrap();
    assert!(0 < life && life <= 86_402, "{life}");

    let two = Builder::new().declarative(&yaml).start();
    assert_eq!(two.get("/r").header("ratelimit-remaining"), Some("9"));
    wait_until("one node to hear of the other", PATIENCE, || {
        // A look counts as a request: none is made until Redis knows of the last one.
        redis.ask(&format!("GET {}", keys())) == "21"
    });
    thread::sleep(Duration::from_millis(500));
    assert_eq!(one.get("/r").header("ratelimit-remaining"), Some("8"));
    thread::sleep(Duration::from_millis(500));
    assert_eq!(passed(&[&one], "/r", 10), 8);

    // What was counted last reaches Redis when the node stops.
    let stopped = Instant::now();
    drop(one);
    assert!(stopped.elapsed() < Duration::from_secs(5));
    assert_eq!(redis.ask(&format!("GET {}", keys())), "30");
}

#[test]
fn answers_cost_what_redis_knows() {
    let (upstream, redis) = (Upstream::start(), Redis::start(""));
    let settings = format!("redis: {{host: 127.0.0.1, port: {}}}", redis.port());
    let config = format!("policy: redis, {settings}, limits: {{mb: {{hour: 5}}}}");
    let gateway = start(&upstream, &[("r", &plugin("response-ratelimiting", &config))]);
    let check = |target: &str, status: u16, left: &str| {
        let answer = gateway.get(target);
        let found = answer.header("x-ratelimit-remaining-mb-hour").unwrap_or_default();
        assert_eq!((answer.status, found), (status, left), "{target}");
    };
    check("/r", 200, "5");
    assert_eq!(redis.ask("DBSIZE"), "0");
    check("/r/set/X-Kong-Limit/mb=2", 200, "3");
    check("/r/set/X-Kong-Limit/mb=4", 200, "0");
    check("/r", 200, "0");
    check("/r/set/X-Kong-Limit/mb=1", 429, "0");
    let key = redis.ask("KEYS response-ratelimit:*:mb:hour");
    assert_eq!(redis.ask(&format!("GET {key}")), "6", "{key}");
    let life: i64 = redis.ask(&format!("TTL {key}")).parse().unwrap();
    assert!(0 < life && life <= 3_602, "{life}");
}
