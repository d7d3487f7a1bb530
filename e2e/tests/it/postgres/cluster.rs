//! More than one server, or something in between: replicas and poolers.

use silverback_e2e::gateway::Gateway;
use silverback_e2e::http::Request;
use silverback_e2e::pooler::Pooler;
use silverback_e2e::postgres::{Database, PASSWORD, Postgres};
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

use super::kit::{add_route, bootstrapped, fill, make_key, say_routes_changed, with_key};

/// Look-ups for traffic go to the replica, where it can know the answer: what has just changed is
/// asked of the primary, and so is all when the replica is gone.
#[test]
fn a_read_only_replica() {
    let server = Postgres::alone(&[]);
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let replica = server.replica();
    let gateway = database.gateway().set("pg_ro_host", "127.0.0.1");
    let gateway = gateway.set("pg_ro_port", &replica.port().to_string()).start();
    assert_eq!(with_key(&gateway, "good").status, 200);
    let asked = "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'silverback'";
    assert_eq!(database.at(&replica).sql_as_superuser(asked), [["t"]]);
    replica.follow(false);
    assert_eq!(with_key(&gateway, "fresh").status, 401);
    assert_eq!(make_key(&gateway, "someone", "fresh").status, 201);
    assert_eq!(with_key(&gateway, "fresh").status, 200);
    replica.stop();
    assert_eq!(with_key(&gateway, "nobody's").status, 401);
    assert_eq!(make_key(&gateway, "someone", "later").status, 201);
    assert_eq!(with_key(&gateway, "later").status, 200);
    server.stop();
    assert_eq!(with_key(&gateway, "good").status, 200);
    assert_eq!(with_key(&gateway, "elsewhere").status, 500);
}

/// Behind a pooler that shares connections nobody hears a NOTIFY: nodes read what others wrote.
#[test]
fn a_pooler_in_transaction_mode() {
    let server = Postgres::shared();
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let pooler = Pooler::before(&server);
    let port = pooler.port().to_string();
    let pooled = || database.gateway().set("pg_port", &port).start();
    let (one, two) = (pooled(), pooled());
    let direct = database.gateway().start();
    let polls = |node: &Gateway| {
        let status = node.ask_admin(&Request::get("/status")).json();
        status["database"]["polling"] == true
    };
    assert_eq!([&one, &two, &direct].map(polls), [true, true, false]);
    for (from, to, name) in
        [(&one, &two, "a"), (&two, &one, "b"), (&direct, &one, "c"), (&one, &direct, "d")]
    {
        assert_change_is_heard(from, to, name);
    }
    add_route(&database, "kongs");
    say_routes_changed(&database);
    one.wait_status("/kongs", 200);
    assert!(!pooler.log().contains(PASSWORD));
    // Several at a time, on fewer connections.
    std::thread::scope(|scope| {
        for n in 0..12 {
            let gateway = [&one, &two][n % 2];
            scope.spawn(move || {
                assert_eq!(with_key(gateway, &format!("nobody's {n}")).status, 401);
                assert_eq!(make_key(gateway, "someone", &format!("key {n}")).status, 201);
                assert_eq!(with_key(gateway, &format!("key {n}")).status, 200);
            });
        }
    });
    assert_eq!(count(&database, "keyauth_credentials"), 1 + 4 + 12);
}

/// `kong.cluster_events`: what Lua plugins tell those of other nodes, and Kong's of theirs.
#[test]
fn plugins_tell_each_other() {
    let database = bootstrapped(&Postgres::shared());
    let node = || {
        let builder = database.gateway().set("untrusted_lua", "on").set("db_update_frequency", "1");
        builder.start()
    };
    let one = node();
    let route = |name: &str, code: &str| {
        let ask = |path: String, body: serde_json::Value| {
            let request = Request::new("POST", &path).header("content-type", "application/json");
            let answer = one.ask_admin(&request.body(body.to_string()));
            assert_eq!(answer.status, 201, "{}", answer.text());
        };
        ask("/routes".into(), serde_json::json!({"name": name, "paths": [format!("/{name}")]}));
        let config = serde_json::json!({"access": [code]});
        let plugin = serde_json::json!({"name": "pre-function", "config": config});
        ask(format!("/routes/{name}/plugins"), plugin);
    };
    route(
        "hear",
        "assert(kong.cluster_events:subscribe('words', function(data) \
         ngx.shared.kong:incr(data, 1, 0) end)) kong.response.exit(200)",
    );
    route(
        "tell",
        "assert(kong.cluster_events:broadcast('words', 'hello')) kong.response.exit(200)",
    );
    route("heard", "kong.response.exit(200, tostring(ngx.shared.kong:get('hello')))");
    let two = node();
    for node in [&one, &two] {
        node.wait_status("/hear", 200);
    }
    let heard = |node: &Gateway| node.get("/heard").text();
    one.wait_status("/tell", 200);
    wait_until("the other node to hear", PATIENCE, || heard(&two) == "1");
    database.sql(
        "INSERT INTO cluster_events (id, node_id, at, expire_at, channel, data) VALUES \
         (gen_random_uuid(), gen_random_uuid(), now(), now() + interval '1 hour', 'words', \
          'hello')",
    );
    wait_until("both to hear a Kong", PATIENCE, || heard(&two) == "2" && heard(&one) == "1");
}

/// A log level that is set for all nodes is that of the others, too, and ends on each.
#[test]
fn log_levels_are_set_for_all() {
    let database = bootstrapped(&Postgres::shared());
    let node = || {
        let builder = database.gateway().set("log_level", "notice");
        builder.set("db_update_frequency", "1").start()
    };
    let (one, two) = (node(), node());
    let is = |node: &Gateway, level: &str| {
        let answer = node.ask_admin(&Request::get("/debug/node/log-level")).json();
        answer["message"] == format!("log level: {level}")
    };
    let set = |of: &str| {
        let answer = one.ask_admin(&Request::new("PUT", &format!("/debug/{of}/log-level/crit")));
        answer.json()["message"].as_str().unwrap_or_default().to_owned()
    };
    assert!(is(&one, "notice") && is(&two, "notice"));
    assert_eq!(set("cluster"), "log level changed");
    assert!(is(&one, "crit"));
    wait_until("the other node to hear", PATIENCE, || is(&two, "crit"));
    assert_eq!(set("cluster"), "log level is already crit");
    // As Kong's nodes say it.
    database.sql(
        "INSERT INTO cluster_events (id, node_id, at, expire_at, channel, data) VALUES \
         (gen_random_uuid(), gen_random_uuid(), now(), now() + interval '1 hour', 'log_level', \
          '{\"timeout\":1,\"log_level\":7}')",
    );
    for node in [&one, &two] {
        wait_until("the configured level", PATIENCE, || is(node, "notice"));
    }
}

fn count(database: &Database, table: &str) -> usize {
    database.value(&format!("SELECT count(*) FROM {table}")).parse().unwrap()
}

/// A route and a key that are made on one node are known to the other, which knew that there were
/// none.
fn assert_change_is_heard(from: &Gateway, to: &Gateway, name: &str) {
    assert_eq!(with_key(to, name).status, 401);
    let body = format!("{{\"paths\": [\"/{name}\"]}}");
    let route = Request::new("POST", "/services/s/routes").body(body);
    let route = route.header("Content-Type", "application/json");
    assert_eq!(from.ask_admin(&route).status, 201);
    assert_eq!(make_key(from, "someone", name).status, 201);
    to.wait_status(&format!("/{name}"), 200);
    wait_until("the key to be known", PATIENCE, || with_key(to, name).status == 200);
}
