//! The bundled plugins in the gateway: as the Admin API shows them, with several workers, and
//! against clients that say who they are.

use std::{fs, thread, time::Duration};

use serde_json::{Value, json};
use silverback_e2e::gateway::{Builder, Gateway};
use silverback_e2e::http::Request;
use silverback_e2e::setup::root;
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::wait_until;

use crate::uses::{plugin, routes};

/// All that there are, pre-function and post-function included.
const BUNDLED: usize = 25;

fn facts(name: &str) -> Value {
    let path = root().join("conformance/facts").join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_admin_api_shows_them_as_kong_does() {
    let (schemas, plugins) = (facts("plugin-schemas.json"), facts("plugins.json"));
    let yaml = "_format_version: '3.0'\n";
    let gateway = Builder::new().set("plugins", "bundled").declarative(yaml).start();
    let root = gateway.ask_admin(&Request::get("/")).json();
    let available = root["plugins"]["available_on_server"].as_object().unwrap();
    assert!(available.len() >= BUNDLED, "{available:?}");
    for (name, shown) in available {
        assert_eq!(shown["priority"], plugins[name]["priority"], "{name}");
        assert_eq!(shown["version"], plugins[name]["version"], "{name}");
        let schema = gateway.ask_admin(&Request::get(&format!("/schemas/plugins/{name}"))).json();
        assert_eq!(schema, schemas[name], "{name}");
    }
}

/// How many of so many requests are answered 200, each on a connection of its own.
fn passed(gateway: &Gateway, target: &str) -> usize {
    let ask = || (0..20).filter(|_| gateway.get(target).status == 200).count();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..5).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    })
}

#[test]
fn all_workers_count_together_and_instances_apart() {
    let upstream = Upstream::start();
    let limit = |most: usize| plugin("rate-limiting", &format!("year: {most}, limit_by: ip"));
    let answers = plugin("response-ratelimiting", "limits: {units: {year: 30}}, limit_by: ip");
    let (few, more) = (limit(17), limit(42));
    let pairs = [("few", few.as_str()), ("more", &more), ("answers", &answers)];
    let builder = Builder::new().set("nginx_worker_processes", "4");
    let gateway = builder.declarative(&routes(&upstream, &pairs)).start();
    assert_eq!(passed(&gateway, "/few"), 17);
    assert_eq!(passed(&gateway, "/more"), 42);
    // An answer is counted when it comes: of 30 units those of 30 answers are seen by all.
    let target = "/answers/set/x-kong-limit/units=1";
    let alone = (0..40).filter(|_| gateway.get(target).status == 200).count();
    assert_eq!(alone, 30);
}

/// What the upstream is told of who asks, of a request that says so itself.
fn told(gateway: &Gateway, upstream: &Upstream, request: Request) -> Vec<String> {
    const CLAIMS: [&str; 7] = [
        "X-Consumer-ID",
        "X-Consumer-Username",
        "X-Consumer-Groups",
        "X-Authenticated-Groups",
        "X-Authenticated-Userid",
        "X-Credential-Identifier",
        "X-Anonymous-Consumer",
    ];
    let request = CLAIMS.iter().fold(request, |request, name| request.header(name, "admin"));
    upstream.take_seen();
    assert_eq!(gateway.send(&request).unwrap().status, 200);
    let seen = upstream.take_seen().pop().unwrap();
    let named = |name: &&str| seen.header(name).map(|value| format!("{name}: {value}"));
    let mut told: Vec<String> = CLAIMS.iter().filter_map(named).collect();
    told.retain(|line| !line.starts_with("X-Consumer-ID: ") || line.ends_with(": admin"));
    told.retain(|line| !line.starts_with("X-Credential-Identifier: ") || line.ends_with("admin"));
    told
}

#[test]
fn nobody_says_for_himself_who_he_is() {
    let upstream = Upstream::start();
    let cors = plugin("cors", "preflight_continue: true");
    let key = |more: &str| format!("{cors}, {}", plugin("key-auth", more));
    let jwt = format!("{cors}, {}", plugin("jwt", "run_on_preflight: false"));
    let (preflight, open) = (key("run_on_preflight: false"), key("anonymous: nobody"));
    let closed = key("");
    let pairs = [("key", preflight.as_str()), ("jwt", &jwt), ("open", &open), ("closed", &closed)];
    let consumers = "consumers:\n- username: nobody\n- username: someone\n  \
                     keyauth_credentials: [{key: good}]\n";
    let yaml = routes(&upstream, &pairs) + consumers;
    let gateway = Builder::new().declarative(&yaml).start();
    let preflight = |target: &str| {
        let request = Request::new("OPTIONS", target).header("origin", "https://a.test");
        request.header("access-control-request-method", "GET")
    };
    let check = |request: Request, expect: &[&str]| {
        assert_eq!(told(&gateway, &upstream, request), expect);
    };
    check(preflight("/key"), &[]);
    check(preflight("/jwt"), &[]);
    check(Request::new("OPTIONS", "/key"), &[]);
    let anonymous = ["X-Consumer-Username: nobody", "X-Anonymous-Consumer: true"];
    check(Request::get("/open"), &anonymous);
    check(preflight("/open"), &anonymous);
    check(Request::get("/closed").header("apikey", "good"), &["X-Consumer-Username: someone"]);
    check(Request::get("/open").header("apikey", "good"), &["X-Consumer-Username: someone"]);
}

/// Whom a key belongs to is remembered, and a change of the key or its consumer forgotten at once;
/// a key that ends by itself is not remembered at all.
#[test]
fn who_holds_a_key_is_known_as_long_as_nothing_changes() {
    let upstream = Upstream::start();
    let gateway = Builder::new().set("database", "sqlite").start();
    let say = |method: &str, path: &str, body: Value| {
        let request = Request::new(method, path).header("Content-Type", "application/json");
        let answer = gateway.ask_admin(&request.body(body.to_string()));
        assert!(answer.status < 300, "{method} {path}: {}", answer.text());
    };
    say("PUT", "/services/s", json!({"url": format!("http://127.0.0.1:{}", upstream.port())}));
    say("PUT", "/services/s/routes/r", json!({"paths": ["/"]}));
    say("POST", "/services/s/plugins", json!({"name": "key-auth"}));
    say("PUT", "/consumers/ann", json!({}));
    say("POST", "/consumers/ann/key-auth", json!({"key": "lasting"}));
    say("POST", "/consumers/ann/key-auth", json!({"key": "passing", "ttl": 2}));
    let ask = |key: &str| gateway.send(&Request::get("/").header("apikey", key)).unwrap().status;
    let holder = || {
        let Some(seen) = upstream.take_seen().pop() else { return String::new() };
        seen.header("x-consumer-username").unwrap_or_default().to_owned()
    };
    for _ in 0..3 {
        assert_eq!((ask("lasting"), holder().as_str()), (200, "ann"));
    }
    assert_eq!(ask("passing"), 200);
    say("PATCH", "/consumers/ann", json!({"username": "eve"}));
    assert_eq!((ask("lasting"), holder().as_str()), (200, "eve"));
    assert_eq!((ask("lasting"), holder().as_str()), (200, "eve"));
    wait_until("the key to end", Duration::from_secs(30), || ask("passing") == 401);
    assert_eq!(ask("lasting"), 200);
    let deleted = gateway.ask_admin(&Request::new("DELETE", "/consumers/eve/key-auth/lasting"));
    assert_eq!((deleted.status, ask("lasting")), (204, 401));
}

#[test]
fn names_of_headers_are_written_as_they_are_configured() {
    let upstream = Upstream::start();
    let lua = "access: ['kong.service.request.set_header(\"x-LUA\", \"1\") \
               ngx.req.set_header(\"x-NGX\", \"1\")'], \
               header_filter: ['kong.response.set_header(\"x-PDK\", \"1\")']";
    let plugins = [
        plugin("pre-function", lua),
        plugin(
            "request-transformer",
            "rename: {headers: ['x-old:X-OLD']}, add: {headers: [x-ID:1]}",
        ),
        plugin("response-transformer", "add: {headers: [x-id:1, X-Usual:1]}"),
    ];
    let yaml = routes(&upstream, &[("a", &plugins.join(", "))]);
    let gateway = Builder::new().declarative(&yaml).start();
    let request = Request::get("/a").header("x-old", "1").header("X-KEEP", "1");
    let answer = gateway.send(&request).unwrap();
    let seen = upstream.take_seen().pop().unwrap();
    let has = |headers: &[(String, String)], name: &str| headers.iter().any(|(n, _)| n == name);
    for name in ["x-LUA", "x-NGX", "X-OLD", "x-ID", "X-KEEP"] {
        assert!(has(&seen.headers, name), "{name}: {:?}", seen.headers);
    }
    for name in ["x-PDK", "x-id", "X-Usual"] {
        assert!(has(&answer.headers, name), "{name}: {:?}", answer.headers);
    }
}
