//! Bare proxying: one worker, connections kept alive on both sides.

use anyhow::Result;

use crate::gateways::{self, Gateway, NGINX_SAME, Settings};
use crate::results::{Case, Effort, Proxy, Row, Sample};
use crate::stage::Stage;
use crate::stats::median;
use crate::upstream::LARGE_PATH;
use crate::wrk::{self, Load};

/// Connections of the load unless told.
const CONNECTIONS: usize = 64;
/// Seconds of load per measurement unless told.
const SECONDS: u64 = 2;

/// A load: its name, whether with TLS, the path, and how many times nginx's CPU time is allowed.
const CASES: [(&str, bool, &str, f64); 4] = [
    ("1 KiB", false, "/", 1.2),
    ("1 KiB, TLS 1.3", true, "/", 0.9),
    ("64 KiB", false, LARGE_PATH, 0.9),
    ("64 KiB, TLS 1.3", true, LARGE_PATH, 0.9),
];

/// Measures all contenders under each load.
pub(crate) fn run(stage: &Stage<'_>) -> Result<Proxy> {
    gateways::need("wrk")?;
    gateways::need("nginx")?;
    // The reference comes first.
    let mut contenders = vec![
        gateways::nginx(stage)?,
        gateways::nginx_same(stage)?,
        gateways::nginx_buffers(stage)?,
    ];
    if gateways::is_installed("haproxy") {
        contenders.push(gateways::haproxy(stage)?);
    }
    contenders.extend(gateways::kong_like(stage, &Settings::bare(stage))?);
    let connections = stage.options.connections.first().copied().unwrap_or(CONNECTIONS);
    let effort = stage.options.effort(SECONDS);
    let mut cases = Vec::new();
    for (name, tls, path, target) in CASES {
        println!("\nproxy, {name}, {connections} connections");
        let url = |gateway: &Gateway| match tls {
            true => format!("https://127.0.0.1:{}{path}", gateway.tls_port),
            false => format!("http://127.0.0.1:{}{path}", gateway.port),
        };
        let contenders: Vec<(&str, String, Vec<u32>)> =
            contenders.iter().map(|g| (g.name, url(g), g.running.family())).collect();
        let rows = in_turns(stage, effort, &contenders, connections, None)?;
        cases.push(Case { name: name.into(), target, rows });
    }
    Ok(Proxy { effort, connections, cases })
}

/// Measures contenders (name, URL, pids) in turns, and compares them with the first and with the
/// one that does the same work, where there is one.
pub(crate) fn in_turns(
    stage: &Stage<'_>,
    effort: Effort,
    contenders: &[(&str, String, Vec<u32>)],
    connections: usize,
    script: Option<&str>,
) -> Result<Vec<Row>> {
    let load =
        |url: &String| Load { url: url.clone(), connections, seconds: effort.seconds, script };
    for (_, url, _) in contenders {
        wrk::warm_up(stage, &load(url))?;
    }
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); contenders.len()];
    for _ in 0..effort.rounds {
        for ((_, url, pids), samples) in contenders.iter().zip(&mut samples) {
            samples.push(wrk::measure(stage, &load(url), pids, &[])?);
        }
    }
    let mut rows = Vec::new();
    let same = contenders.iter().position(|(who, _, _)| *who == NGINX_SAME);
    let same = same.and_then(|at| samples.get(at));
    for ((who, _, _), own) in contenders.iter().zip(&samples) {
        let against = |reference: &[Sample]| {
            median(own.iter().zip(reference).map(|(own, other)| own.cpu_us / other.cpu_us))
        };
        let row = Row {
            who: (*who).into(),
            sample: Sample::median(own),
            ratio: against(samples.first().map_or(&[][..], |first| first)),
            same: same.map(|same| against(same)),
        };
        println!(
            "  {:<24} {:7.1} µs CPU  {:5.2}x  {:8.0} requests/s  p99 {:6.2} ms  core {:3.0}%",
            row.who,
            row.sample.cpu_us,
            row.ratio,
            row.sample.per_second,
            row.sample.p99_ms,
            row.sample.busy * 100.0
        );
        rows.push(row);
    }
    Ok(rows)
}
