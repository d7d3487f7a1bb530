//! A replica takes over behind the same address while both nodes write: what was acknowledged is
//! there afterwards, requests are served all the time, and nobody has to start anything again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use silverback_e2e::forwarder::Forwarder;
use silverback_e2e::gateway::Gateway;
use silverback_e2e::http::Request;
use silverback_e2e::postgres::Postgres;
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

use super::faults::{assert_only_serving, assert_well};
use super::kit::{bootstrapped, fill, make_consumer, with_key};

/// Writers of a node, whose writes may be on their way at the same time.
const WRITERS: usize = 3;
/// Writes of a node that are acknowledged before the switch, and after it.
const WRITES: usize = 30;

/// What a node's clients have seen.
#[derive(Default)]
struct Seen {
    /// The consumers whose making was acknowledged.
    kept: Mutex<Vec<String>>,
    refused: AtomicUsize,
    served: AtomicUsize,
}

impl Seen {
    fn kept(&self) -> usize {
        self.kept.lock().unwrap().len()
    }
}

#[test]
fn of_a_server_that_stops() {
    fail_over(Postgres::stop);
}

/// Its connections stay open until the address moves.
#[test]
fn of_a_server_that_freezes() {
    fail_over(|server| server.freeze(true));
}

fn fail_over(end: impl Fn(&Postgres)) {
    let server = Postgres::alone(&[]);
    let database = bootstrapped(&server);
    let upstream = Upstream::start();
    fill(&database, &upstream);
    let replica = server.replica();
    server.wait_for_replica();
    let way = Forwarder::to(server.port());
    let node = || {
        let port = way.port().to_string();
        database.gateway().set("pg_port", &port).set("pg_timeout", "3000").start()
    };
    let nodes = [node(), node()];
    let pids = [nodes[0].pid(), nodes[1].pid()];
    for node in &nodes {
        assert_eq!(with_key(node, "good").status, 200);
    }
    let (seen, over) = (<[Seen; 2]>::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for (n, (node, seen)) in nodes.iter().zip(&seen).enumerate() {
            scope.spawn(|| ask(node, seen, &over));
            for writer in 0..WRITERS {
                let prefix = format!("c{n}-{writer}");
                let over = &over;
                scope.spawn(move || write(node, seen, &prefix, over));
            }
        }
        // Whatever fails, the clients come to an end.
        let end_of_clients = EndOf(&over);
        let both = |so: &dyn Fn(&Seen) -> bool| seen.iter().all(so);
        wait_until("writes", PATIENCE, || both(&|seen| seen.kept() >= WRITES));
        end(&server);
        wait_until("refusals", PATIENCE, || {
            both(&|seen| seen.refused.load(Ordering::SeqCst) > WRITERS)
        });
        nodes.iter().for_each(|node| assert_only_serving(node, ""));
        replica.promote();
        way.switch(replica.port());
        let before = [seen[0].kept(), seen[1].kept()];
        let on = |n: usize| seen[n].kept() >= before[n] + WRITES;
        wait_until("writes after the switch", PATIENCE, || on(0) && on(1));
        drop(end_of_clients);
    });
    for seen in &seen {
        assert!(seen.served.load(Ordering::SeqCst) > 0);
        for name in seen.kept.lock().unwrap().iter() {
            let found = nodes[0].ask_admin(&Request::get(&format!("/consumers/{name}")));
            assert_eq!(found.status, 200, "{name} is lost");
        }
    }
    // Each hears of the other's changes again.
    let [one, two] = &nodes;
    for (from, to, path) in [(one, two, "/new"), (two, one, "/newer")] {
        let route = Request::new("POST", "/services/s/routes");
        let route = route.header("Content-Type", "application/json");
        let route = route.body(format!("{{\"paths\": [\"{path}\"]}}"));
        assert_eq!(from.ask_admin(&route).status, 201);
        to.wait_status(path, 200);
    }
    assert_well(one, "after");
    assert_well(two, "later");
    assert_eq!([one.pid(), two.pid()], pids);
}

/// Sets a flag when it goes.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Makes consumers, each of a name of its own, and keeps the names of those that were acknowledged.
fn write(node: &Gateway, seen: &Seen, prefix: &str, over: &AtomicBool) {
    for n in 0.. {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let name = format!("{prefix}-{n}");
        let answer = make_consumer(node, &name);
        match answer.status {
            201 => seen.kept.lock().unwrap().push(name),
            503 => {
                let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
                assert!(message.contains("the database can't be reached: "), "{message}");
                seen.refused.fetch_add(1, Ordering::SeqCst);
            }
            status => panic!("{name}: {status} {}", answer.text()),
        }
    }
}

/// Asks for a route and with a key that are known.
fn ask(node: &Gateway, seen: &Seen, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        assert_eq!(node.get("/open").status, 200);
        assert_eq!(with_key(node, "good").status, 200);
        seen.served.fetch_add(1, Ordering::SeqCst);
    }
}
