//! From start to the first answer with many routes, and memory when idle.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use silverback_e2e::process;

use crate::gateways::{self, Ports, Settings, services};
use crate::results::{Start, StartRow};
use crate::stage::{Stage, ask, cpu_ns};
use crate::stats::median;

/// How many routes.
const ROUTES: usize = 10_000;
/// How often to ask for the first answer.
const GLANCE: Duration = Duration::from_micros(500);
/// The longest wait for it.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long a node rests before its memory is read.
const REST: Duration = Duration::from_secs(2);

/// Starts each gateway as many times as there are rounds.
pub(crate) fn run(stage: &Stage<'_>) -> Result<Start> {
    let few = Settings::bare(stage);
    let many = many_routes(stage);
    let mut rows = Vec::new();
    println!("\nstart, {ROUTES} routes");
    for (who, command) in gateways::commands(stage) {
        let (mut times, mut cpu) = (Vec::new(), Vec::new());
        let mut routes_mb = 0.0;
        for round in 0..stage.options.rounds {
            let rest = if round == 0 { REST } else { Duration::ZERO };
            let Started { first_ms, cpu_ms, resident_mb } =
                start_once(stage, who, command, &many, rest)?;
            times.push(first_ms);
            cpu.push(cpu_ms);
            if round == 0 {
                routes_mb = resident_mb;
            }
        }
        let idle_mb = start_once(stage, who, command, &few, REST)?.resident_mb;
        let row = StartRow {
            who: who.into(),
            first_answer_ms: median(times),
            cpu_ms: median(cpu),
            idle_mb,
            routes_mb,
        };
        println!(
            "  {who:<12} first answer after {:.0} ms ({:.0} ms CPU), {:.1} MB idle, {:.1} MB with \
             all",
            row.first_answer_ms, row.cpu_ms, row.idle_mb, row.routes_mb
        );
        rows.push(row);
    }
    Ok(Start { rounds: stage.options.rounds, routes: ROUTES, rows })
}

/// A start.
struct Started {
    /// From exec to the first 200.
    first_ms: f64,
    /// CPU time until then.
    cpu_ms: f64,
    /// Resident memory some time later.
    resident_mb: f64,
}

/// Starts a node, and lets it rest before its memory is read.
fn start_once(
    stage: &Stage<'_>,
    name: &str,
    command: &Path,
    settings: &Settings,
    rest: Duration,
) -> Result<Started> {
    let ports = Ports::free();
    let command = gateways::node(stage, name, command, ports, settings)?;
    let begin = Instant::now();
    let running = stage.run(name, &stage.gateway_cores, &command)?;
    while ask(ports.plain, &settings.probe, "") != Some(200) {
        if begin.elapsed() > ANSWER_MAX || !process::is_alive(running.pid()) {
            bail!(
                "{name} did not answer 200 on {}:\n{}",
                settings.probe,
                crate::stage::tail(&stage.path(&format!("{name}.log")))
            );
        }
        std::thread::sleep(GLANCE);
    }
    let first_ms = begin.elapsed().as_secs_f64() * 1000.0;
    let cpu_ms = cpu_ns(&running.family())? as f64 / 1e6;
    std::thread::sleep(rest);
    let bytes: u64 = running.family().into_iter().map(process::resident_bytes).sum();
    Ok(Started { first_ms, cpu_ms, resident_mb: bytes as f64 / 1e6 })
}

fn many_routes(stage: &Stage<'_>) -> Settings {
    let mut routes = String::new();
    for i in 0..ROUTES {
        let _ = writeln!(
            routes,
            "  - name: route-{i}\n    paths: [/api/v{}/resource-{i}]\n    hosts: [bench.test]",
            i % 10
        );
    }
    let probe = format!("/api/v{}/resource-{}", (ROUTES - 1) % 10, ROUTES - 1);
    Settings { conf: String::new(), declarative: services(stage, &routes), probe }
}
