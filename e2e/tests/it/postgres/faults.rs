//! What becomes of a gateway when its database does not do its part: proxying goes on with what is
//! known, writes say why they can't be, and nobody has to start anything again.

use std::time::{Duration, Instant};

use silverback_e2e::forwarder::Forwarder;
use silverback_e2e::gateway::Gateway;
use silverback_e2e::http::Request;
use silverback_e2e::postgres::Postgres;
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

use super::kit::{
    add_route, bootstrapped, fill, is_reachable, make_consumer, say_routes_changed, with_key,
};

/// Proxying goes on, and a write says why it can't be.
fn assert_only_serving(gateway: &Gateway, why: &str) {
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
fn assert_well(gateway: &Gateway, name: &str) {
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

/// A replica takes over behind the same address, while writes go on: none that was acknowledged is
/// lost, and both nodes go on.
#[test]
fn a_failover() {
    let server = Postgres::alone(&[]);
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let replica = server.replica();
    server.wait_for_replica();
    let way = Forwarder::to(server.port());
    let node = || {
        let port = way.port().to_string();
        database.gateway().set("pg_port", &port).start()
    };
    let (one, two) = (node(), node());
    for node in [&one, &two] {
        assert_eq!(with_key(node, "good").status, 200);
    }
    let mut kept = Vec::new();
    let write = |kept: &mut Vec<String>, count: usize| {
        let (before, began) = (kept.len(), Instant::now());
        for n in 0.. {
            let name = format!("c{before}-{n}");
            match make_consumer(&one, &name).status {
                201 => kept.push(name),
                status => assert_eq!(status, 503),
            }
            assert_eq!(two.get("/open").status, 200);
            if kept.len() >= before + count {
                break;
            }
            assert!(began.elapsed() < PATIENCE * 3, "no write is taken");
        }
    };
    write(&mut kept, 20);
    server.stop();
    assert_only_serving(&one, "");
    assert_only_serving(&two, "");
    replica.promote();
    way.switch(replica.port());
    write(&mut kept, 20);
    for name in &kept {
        let answer = two.ask_admin(&Request::get(&format!("/consumers/{name}")));
        assert_eq!(answer.status, 200, "{name} is lost");
    }
    // Each hears of the other's changes again.
    let route = Request::new("POST", "/services/s/routes");
    let route = route.header("Content-Type", "application/json").body("{\"paths\": [\"/new\"]}");
    assert_eq!(one.ask_admin(&route).status, 201);
    two.wait_status("/new", 200);
    assert_well(&two, "after");
}
