//! Writing through the Admin API: how many entities a second, how long until a route that was just
//! made answers, here and on another node, and what entities take in memory.

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use silverback_e2e::http::{Request, send};
use silverback_e2e::postgres::{Database, Postgres};

use crate::figures::Figures;
use crate::nodes::{Node, Plan, milliseconds, post, write};
use crate::results::{Admin, Creates, Served};
use crate::stage::{Stage, ask};
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
/// How soon another node is to serve a change, in milliseconds.
const ELSEWHERE_MS: f64 = 100.0;
/// Routes whose memory is measured, and consumers, each with a key.
const WEIGHED_ROUTES: usize = 100_000;
const CONSUMERS: usize = 1_000_000;
/// What a node may take with a million consumers in PostgreSQL, in MB, and how soon it is to start.
const PG_MEMORY_MB: f64 = 400.0;
const PG_START_MS: f64 = 5_000.0;

/// Where entities are kept.
enum Keeps {
    Sqlite,
    Postgres(Arc<Postgres>),
}

impl Keeps {
    fn name(&self) -> &'static str {
        match self {
            Keeps::Sqlite => "sqlite",
            Keeps::Postgres(_) => "postgres",
        }
    }

    /// Settings for nodes on a new, empty database, and the database if it is elsewhere.
    fn anew(&self, stage: &Stage<'_>) -> Result<(String, Option<Database>)> {
        let Keeps::Postgres(server) = self else {
            return Ok(("database = sqlite\n".to_owned(), None));
        };
        let database = server.database();
        let lines = lines_of(&database);
        Plan::new(stage, &lines)?.command(&["migrations", "bootstrap"])?;
        Ok((lines, Some(database)))
    }

    fn node(&self, stage: &Stage<'_>) -> Result<(Node, String)> {
        let (lines, _) = self.anew(stage)?;
        let node = Node::start(stage, &lines)?;
        node.add_service(stage)?;
        Ok((node, lines))
    }
}

/// The lines of kong.conf for a database.
fn lines_of(database: &Database) -> String {
    let wanted = |key: &str| key == "KONG_DATABASE" || key.starts_with("KONG_PG_");
    let gateway = database.gateway();
    let lines = gateway.settings().iter().filter(|(key, _)| wanted(key));
    lines.fold(String::new(), |mut text, (key, value)| {
        let _ = writeln!(text, "{} = {value}", key.trim_start_matches("KONG_").to_lowercase());
        text
    })
}

/// Measures SQLite and PostgreSQL.
pub(crate) fn run(stage: &Stage<'_>) -> Result<Admin> {
    let effort = stage.options.effort(SECONDS);
    let (mut creates, mut served) = (Vec::new(), Vec::new());
    let mut figures = Figures::default();
    println!("\nadmin");
    let server = Postgres::alone(&["fsync=on"]);
    for keeps in [Keeps::Sqlite, Keeps::Postgres(server)] {
        let name = keeps.name();
        for connections in CONNECTIONS {
            let mut rounds = Vec::new();
            for _ in 0..effort.rounds {
                let (node, _) = keeps.node(stage)?;
                let time = Duration::from_secs(effort.seconds);
                rounds.push(create_for(&node, time, connections)?);
            }
            let per_second = median(rounds.iter().map(|round| round.0));
            let p99_ms = median(rounds.iter().map(|round| round.1));
            println!(
                "  {name}, {connections} connections: {per_second:.0} creates/s, {p99_ms:.2} ms p99"
            );
            creates.push(Creates { database: name.into(), connections, per_second, p99_ms });
        }
        for routes in ROUTES {
            served.push(serve(stage, &keeps, routes, PROBES * effort.rounds)?);
        }
        if matches!(keeps, Keeps::Postgres(_)) {
            elsewhere(stage, &keeps, PROBES, &mut figures)?;
        }
        weigh_routes(stage, &keeps, &mut figures)?;
        match &keeps {
            Keeps::Sqlite => weigh_consumers(stage, &keeps, &mut figures)?,
            Keeps::Postgres(_) => million(stage, &keeps, &mut figures)?,
        }
    }
    Ok(Admin { effort, creates, served, figures })
}

/// Routes made one by one beside others.
fn serve(stage: &Stage<'_>, keeps: &Keeps, routes: usize, probes: usize) -> Result<Served> {
    let (node, _) = keeps.node(stage)?;
    fill(&node, routes)?;
    let (mut created, mut answered) = (Vec::new(), Vec::new());
    for n in 0..probes {
        let (create, answer) = probe(&node, node.proxy, n)?;
        created.push(create);
        answered.push(answer);
    }
    let row = Served {
        database: keeps.name().into(),
        routes,
        created_ms: median(created),
        served_ms: median(answered.clone()),
        served_p99_ms: part(answered, 0.99),
    };
    println!(
        "  {}, {routes} routes: 201 after {:.2} ms, served {:.2} ms later ({:.2} ms p99)",
        row.database, row.created_ms, row.served_ms, row.served_p99_ms
    );
    Ok(row)
}

/// Routes made on one node and served by another.
fn elsewhere(stage: &Stage<'_>, keeps: &Keeps, probes: usize, figures: &mut Figures) -> Result<()> {
    let (node, lines) = keeps.node(stage)?;
    let other = Node::start(stage, &lines)?;
    let mut later = Vec::new();
    for n in 0..probes {
        later.push(probe(&node, other.proxy, n)?.1);
    }
    let what = "postgres: from 201 to served by another node";
    figures.note(format!("{what}, median"), median(later.clone()), "ms");
    figures.judge(format!("{what}, p99"), part(later, 0.99), "ms", ELSEWHERE_MS);
    Ok(())
}

/// What routes take in memory.
fn weigh_routes(stage: &Stage<'_>, keeps: &Keeps, figures: &mut Figures) -> Result<()> {
    let (lines, _) = keeps.anew(stage)?;
    let plan = Plan::new(stage, &lines)?;
    let empty = weigh(&plan, stage)?;
    let mut file =
        String::from("_format_version: \"3.0\"\nservices:\n- host: up.test\n  routes:\n");
    for n in 0..WEIGHED_ROUTES {
        let _ = writeln!(file, "  - name: route-{n}\n    paths: [/api/v{}/resource-{n}]", n % 10);
    }
    let path = stage.path("routes.yml");
    write(&path, &file)?;
    let begin = Instant::now();
    plan.command(&["config", "db_import", &path.display().to_string()])?;
    figures.note(
        format!("{}: {WEIGHED_ROUTES} routes put in by db_import", keeps.name()),
        milliseconds(begin.elapsed()),
        "ms",
    );
    let full = weigh(&plan, stage)?;
    let each = (full - empty) * 1000.0 / WEIGHED_ROUTES as f64;
    figures.note(format!("{}: memory of a route, of {WEIGHED_ROUTES}", keeps.name()), each, "KB");
    Ok(())
}

/// The memory of a node that has just started.
fn weigh(plan: &Plan, stage: &Stage<'_>) -> Result<f64> {
    let node = plan.start(stage)?;
    node.until("the proxy answers", || ask(node.proxy, "/", "").is_some())?;
    std::thread::sleep(Duration::from_secs(2));
    Ok(node.resident_mb())
}

/// What consumers with keys take where all entities are in memory.
fn weigh_consumers(stage: &Stage<'_>, keeps: &Keeps, figures: &mut Figures) -> Result<()> {
    /// So many go in at once: a file is held in memory several times over.
    const AT_ONCE: usize = 250_000;
    let consumers = if stage.options.quick { 100_000 } else { CONSUMERS };
    let (lines, _) = keeps.anew(stage)?;
    let plan = Plan::new(stage, &lines)?;
    let empty = weigh(&plan, stage)?;
    let path = stage.path("consumers.json");
    let begin = Instant::now();
    for from in (0..consumers).step_by(AT_ONCE) {
        let mut file = String::from("{\"_format_version\":\"3.0\",\"consumers\":[");
        for n in from..consumers.min(from + AT_ONCE) {
            let comma = if n == from { "" } else { "," };
            let _ = write!(
                file,
                "{comma}{{\"username\":\"c{n}\",\"keyauth_credentials\":[{{\"key\":\"key-{n}\"}}]}}"
            );
        }
        write(&path, &(file + "]}"))?;
        plan.command(&["config", "db_import", &path.display().to_string()])?;
    }
    figures.note(
        format!("sqlite, {consumers} consumers with keys: put in by db_import"),
        milliseconds(begin.elapsed()),
        "ms",
    );
    let begin = Instant::now();
    let full = weigh(&plan, stage)?;
    let what = format!("sqlite, {consumers} consumers with keys");
    // Two seconds of it were rest.
    figures.note(format!("{what}: start"), milliseconds(begin.elapsed()) - 2_000.0, "ms");
    let each = (full - empty) * 1000.0 / consumers as f64;
    figures.note(format!("{what}: memory of one, its key included"), each, "KB");
    Ok(())
}

/// A million consumers in PostgreSQL, which are looked up when they come.
fn million(stage: &Stage<'_>, keeps: &Keeps, figures: &mut Figures) -> Result<()> {
    const ASKS: usize = 5_000;
    let consumers = if stage.options.quick { 100_000 } else { CONSUMERS };
    let (lines, database) = keeps.anew(stage)?;
    let Some(database) = database else { return Ok(()) };
    let plan = Plan::new(stage, &lines)?;
    {
        let node = plan.start(stage)?;
        node.add_service(stage)?;
        let mut connection = node.connect()?;
        post(&mut connection, "/services/up/routes", r#"{"name":"r","paths":["/"]}"#)?;
        post(&mut connection, "/routes/r/plugins", r#"{"name":"key-auth"}"#)?;
    }
    let begin = Instant::now();
    // Triggers would look a million times for tags that nobody has.
    database.sql_as_superuser(&format!(
        "SET session_replication_role = replica; \
         INSERT INTO consumers (id, username, ws_id) SELECT md5('c' || n)::uuid, 'c' || n, \
         (SELECT id FROM workspaces) FROM generate_series(0, {consumers} - 1) n; \
         INSERT INTO keyauth_credentials (id, consumer_id, key, ws_id) SELECT \
         md5('k' || n)::uuid, md5('c' || n)::uuid, 'key-' || n, (SELECT id FROM workspaces) \
         FROM generate_series(0, {consumers} - 1) n"
    ));
    let what = format!("postgres, {consumers} consumers with keys");
    figures.note(format!("{what}: filled by SQL"), milliseconds(begin.elapsed()), "ms");
    let begin = Instant::now();
    let node = plan.start(stage)?;
    node.until("the proxy answers", || ask(node.proxy, "/", "") == Some(401))?;
    let start = milliseconds(begin.elapsed());
    figures.judge(format!("{what}: from start to the first answer"), start, "ms", PG_START_MS);
    figures.note(format!("{what}: memory once started"), node.resident_mb(), "MB");
    let ask_with = |key: String, expect: u16| -> Result<f64> {
        let request = Request::get("/").header("apikey", &key);
        let begin = Instant::now();
        let answer = send(&format!("127.0.0.1:{}", node.proxy), &request);
        let answer = answer.map_err(|why| anyhow!("{key}: {why:?}"))?;
        match answer.status == expect {
            true => Ok(milliseconds(begin.elapsed())),
            false => bail!("{key}: {}", answer.status),
        }
    };
    let mut times = |what: String, key: &dyn Fn(usize) -> String, expect: u16| -> Result<()> {
        let times: Result<Vec<f64>> = (0..ASKS).map(|n| ask_with(key(n), expect)).collect();
        figures.note(what, median(times?), "ms");
        Ok(())
    };
    // A step that is prime to their number leads to all of them.
    let known = |n: usize| format!("key-{}", n * 7_919 % consumers);
    let unknown = |n: usize| format!("none-{}", n % 100);
    times(format!("{what}: a request with a key not seen before, median"), &known, 200)?;
    times(format!("{what}: a request with a key seen before, median"), &known, 200)?;
    times(format!("{what}: a request with a key that nobody has, median"), &unknown, 401)?;
    let what = format!("{what}: memory after {} requests", 3 * ASKS);
    figures.judge(what, node.resident_mb(), "MB", PG_MEMORY_MB);
    Ok(())
}

/// Makes consumers for a time: how many a second, and their p99 in milliseconds.
fn create_for(node: &Node, time: Duration, connections: usize) -> Result<(f64, f64)> {
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let until = Instant::now() + time;
    let client = || -> Result<()> {
        let mut connection = node.connect()?;
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
fn fill(node: &Node, routes: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    let client = || -> Result<()> {
        let mut connection = node.connect()?;
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
fn probe(node: &Node, proxy: u16, n: usize) -> Result<(f64, f64)> {
    let mut connection = node.connect()?;
    let begin = Instant::now();
    post(&mut connection, "/services/up/routes", &format!(r#"{{"paths":["/probe-{n}"]}}"#))?;
    let created = begin.elapsed();
    while ask(proxy, &format!("/probe-{n}"), "") != Some(200) {
        if begin.elapsed() > crate::nodes::PATIENCE {
            bail!("/probe-{n} was never served");
        }
    }
    let served = begin.elapsed() - created;
    Ok((created.as_secs_f64() * 1000.0, served.as_secs_f64() * 1000.0))
}

/// Runs as many clients at once.
fn in_parallel(clients: usize, client: impl Fn() -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(&client)).collect();
        let mut ends = clients.into_iter().map(|client| client.join());
        ends.try_for_each(|end| end.map_err(|_| anyhow!("a client failed"))?)
    })
}
