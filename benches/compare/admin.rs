//! Writing through the Admin API: how many entities a second, and how long until a route that was
//! just made answers.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use silverback_e2e::gateway::free_port;
use silverback_e2e::http::{Connection, Request};

use crate::gateways::{self, SILVERBACK};
use crate::results::{Admin, Creates, Served};
use crate::stage::{Running, Stage, ask};
use crate::stats::{median, part};

/// Connections of the load.
const CONNECTIONS: [usize; 2] = [1, 16];
/// Seconds of load per measurement unless told.
const SECONDS: u64 = 2;
/// How many routes are made one by one in a round.
const PROBES: usize = 50;
/// How many routes there are beside those.
const ROUTES: [usize; 2] = [0, 10_000];
/// Over how many connections those are made.
const FILLING: usize = 32;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures the databases that need nothing installed.
pub(crate) fn run(stage: &Stage<'_>) -> Result<Admin> {
    let effort = stage.options.effort(SECONDS);
    let (mut creates, mut served) = (Vec::new(), Vec::new());
    println!("\nadmin");
    for connections in CONNECTIONS {
        let mut rounds = Vec::new();
        for _ in 0..effort.rounds {
            let node = Node::start(stage)?;
            rounds.push(node.create_for(Duration::from_secs(effort.seconds), connections)?);
        }
        let per_second = median(rounds.iter().map(|round| round.0));
        let p99_ms = median(rounds.iter().map(|round| round.1));
        println!(
            "  sqlite, {connections} connections: {per_second:.0} creates/s, {p99_ms:.2} ms p99"
        );
        creates.push(Creates { database: "sqlite".into(), connections, per_second, p99_ms });
    }
    for routes in ROUTES {
        let node = Node::start(stage)?;
        node.fill(routes)?;
        let (mut created, mut answered) = (Vec::new(), Vec::new());
        for n in 0..PROBES * effort.rounds {
            let (create, answer) = node.probe(n)?;
            created.push(create);
            answered.push(answer);
        }
        let row = Served {
            database: "sqlite".into(),
            routes,
            created_ms: median(created),
            served_ms: median(answered.clone()),
            served_p99_ms: part(answered, 0.99),
        };
        println!(
            "  sqlite, {routes} routes: 201 after {:.2} ms, served {:.2} ms later ({:.2} ms p99)",
            row.created_ms, row.served_ms, row.served_p99_ms
        );
        served.push(row);
    }
    Ok(Admin { effort, creates, served })
}

/// A gateway with a database, and its Admin API.
struct Node {
    proxy: u16,
    admin: String,
    /// Ends with this.
    _running: Running,
}

impl Node {
    fn start(stage: &Stage<'_>) -> Result<Node> {
        let own = gateways::commands(stage).into_iter().find(|(name, _)| *name == SILVERBACK);
        let (_, binary) = own.context("there is no Silverback to measure")?;
        let (proxy, admin) = (free_port(), free_port());
        let prefix = stage.path(&format!("admin-{proxy}"));
        std::fs::create_dir_all(&prefix)?;
        let conf = format!(
            "prefix = {}
database = sqlite
proxy_listen = 127.0.0.1:{proxy}
admin_listen = 127.0.0.1:{admin}
status_listen = off
nginx_worker_processes = 1
nginx_daemon = off
proxy_access_log = off
",
            prefix.display()
        );
        let conf = stage.write(&format!("admin-{proxy}.conf"), &conf)?;
        let mut command = Command::new(binary);
        command.arg("start").arg("-c").arg(conf);
        let running = stage.run(&format!("admin-{proxy}"), &stage.gateway_cores, &command)?;
        running.wait_until("answered", || ask(admin, "/status", "") == Some(200))?;
        let node = Node { proxy, admin: format!("127.0.0.1:{admin}"), _running: running };
        let url = format!("http://127.0.0.1:{}", stage.upstream_port);
        let mut connection = node.connect()?;
        post(&mut connection, "/services", &format!(r#"{{"name":"up","url":"{url}"}}"#))?;
        Ok(node)
    }

    fn connect(&self) -> Result<Connection> {
        Connection::open(&self.admin, PATIENCE).map_err(|why| anyhow!("the Admin API: {why}"))
    }

    /// Makes consumers for a time: how many a second, and their p99 in milliseconds.
    fn create_for(&self, time: Duration, connections: usize) -> Result<(f64, f64)> {
        let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let until = Instant::now() + time;
        let client = || -> Result<()> {
            let mut connection = self.connect()?;
            let mut own = Vec::new();
            while Instant::now() < until {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let begin = Instant::now();
                post(&mut connection, "/consumers", &format!(r#"{{"username":"consumer-{n}"}}"#))?;
                own.push(begin.elapsed().as_secs_f64() * 1000.0);
            }
            all.lock().map_or_else(
                |_| bail!("a client failed"),
                |mut all| {
                    all.extend(own);
                    Ok(())
                },
            )
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..connections).map(|_| scope.spawn(client)).collect();
            clients
                .into_iter()
                .try_for_each(|client| client.join().map_err(|_| anyhow!("a client failed"))?)
        })?;
        let all = all.into_inner().unwrap_or_default();
        Ok((all.len() as f64 / time.as_secs_f64(), part(all, 0.99)))
    }

    /// Makes many routes, over several connections so that changes are compiled together.
    fn fill(&self, routes: usize) -> Result<()> {
        let next = AtomicUsize::new(0);
        let client = || -> Result<()> {
            let mut connection = self.connect()?;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= routes {
                    return Ok(());
                }
                let body = format!(r#"{{"paths":["/filled/{n}"]}}"#);
                post(&mut connection, "/services/up/routes", &body)?;
            }
        };
        in_parallel(FILLING, client)
    }

    /// Makes a route: the time until the answer, and from there until the route answers, in
    /// milliseconds.
    fn probe(&self, n: usize) -> Result<(f64, f64)> {
        let mut connection = self.connect()?;
        let begin = Instant::now();
        post(&mut connection, "/services/up/routes", &format!(r#"{{"paths":["/probe-{n}"]}}"#))?;
        let created = begin.elapsed();
        while ask(self.proxy, &format!("/probe-{n}"), "") != Some(200) {
            if begin.elapsed() > PATIENCE {
                bail!("/probe-{n} was never served");
            }
        }
        let served = begin.elapsed() - created;
        Ok((created.as_secs_f64() * 1000.0, served.as_secs_f64() * 1000.0))
    }
}

/// Runs as many clients at once.
fn in_parallel(clients: usize, client: impl Fn() -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(&client)).collect();
        let mut ends = clients.into_iter().map(|client| client.join());
        ends.try_for_each(|end| end.map_err(|_| anyhow!("a client failed"))?)
    })
}

fn post(connection: &mut Connection, target: &str, body: &str) -> Result<()> {
    let request = Request::new("POST", target).header("Content-Type", "application/json");
    let answer = connection.ask(&request.body(body), true);
    let answer = answer.map_err(|why| anyhow!("POST {target}: {why}"))?;
    if answer.status != 201 {
        bail!("POST {target} {body}: {} {}", answer.status, answer.text());
    }
    Ok(())
}
