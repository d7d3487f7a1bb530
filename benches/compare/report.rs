//! `docs/benchmarks.md` and its plots, made from the results.

use std::fmt::Write;
use std::fs;

use anyhow::Result;

use crate::figures::{Figure, Figures};
use crate::gateways::{NGINX, NGINX_SAME, SILVERBACK};
use crate::key_auth::LIMITED;
use crate::lua;
use crate::options::Options;
use crate::plot::{Panel, Scale, Series, svg};
use crate::results::{
    Admin, Creates, Curve, KeyAuth, Lua, Micro, MicroRow, On, Plugins, Proxy, Results, Row, Sample,
    Served, Start,
};
use crate::servers::{KONG_PLAIN_US, Kong, kind};

/// The gateway's cost of a call against the bare client's.
const CALL_TARGET: f64 = 1.3;
const FIRST_ANSWER_TARGET_MS: f64 = 300.0;
const IDLE_TARGET_MB: f64 = 25.0;
/// The names of the plots.
const PLOTS: [&str; 2] = ["plugins-cpu.svg", "plugins-rate.svg"];

const INTRODUCTION: &str = "\
# Benchmarks

This page is written by `make bench` from `benchmarks.json`. `make bench ARGS=--help` lists the
parts, which can be run alone (`make bench ARGS=proxy`), and the options; each part shows its own
last whole run, and its foot names the machine and the commit.

The gateway under test has one worker and a core to itself; the load (wrk), the upstream and the
plugin servers share the other cores, and all of it is on loopback. Contenders take turns in every
round, and a figure is the median of the rounds. CPU is what the kernel's scheduler has counted
for the gateway's processes, per request. It is the figure to compare: requests per second also
depend on what the load, the upstream and the plugin servers leave of their core. \"Core\" is how
much of its own core the gateway used.
";

const ROUTING: &str = "\
Requests for any of 100,000 routes, in no order, beside the same requests with one route for all of
them; and the router in a program of its own. Kong 3.10, with 50,000 routes: 3.3 ms a request.
";
const CHANGE: &str = "\
The node has one core for everything. A client asks 500 times a second for a route that does not
change; how long it waits counts from when a request was due. A step in its p99 would be half again
of what it sees in calm, and a millisecond. Kong 3.10, 50,000 routes anew: 13 s, of which 2.9 s
answer nothing; 20 reloads of 10,000 routes: from 238 to 501 MB.
";
const IDLE: &str = "\
Connections kept alive, each after a request; one worker. What the system keeps for a socket is
not counted.
";

/// Writes the page and the plots beside the results.
pub(crate) fn write(results: &Results, options: &Options) -> Result<()> {
    let directory = options.directory();
    fs::create_dir_all(&directory)?;
    let mut page = String::from(INTRODUCTION);
    if let Some(on) = &results.proxy {
        proxy(&mut page, on);
    }
    if let Some(on) = &results.plugins {
        plugins(&mut page, on);
        let plots = [cpu_plot(&on.result), rate_plot(&on.result)];
        for (name, plot) in PLOTS.iter().zip(plots) {
            fs::write(directory.join(name), plot)?;
        }
    }
    if let Some(on) = &results.start {
        start(&mut page, on);
    }
    if let Some(on) = &results.key_auth {
        key_auth(&mut page, on);
    }
    if let Some(on) = &results.lua {
        lua_plugins(&mut page, on);
    }
    if let Some(on) = &results.micro {
        micro(&mut page, on);
    }
    let sections = [
        ("Routing", ROUTING, &results.routing),
        ("Changes under load", CHANGE, &results.change),
        ("Idle connections", IDLE, &results.idle),
    ];
    for (title, text, on) in sections {
        if let Some(on) = on {
            let _ = write!(page, "\n## {title}\n\n{text}\n");
            figures(&mut page, &on.result);
            taken(&mut page, on);
        }
    }
    if let Some(on) = &results.admin {
        admin(&mut page, on);
    }
    let path = directory.join("benchmarks.md");
    fs::write(&path, page)?;
    println!("\nwritten: {}", path.display());
    Ok(())
}

// === bare proxying ===

fn proxy(page: &mut String, on: &On<Proxy>) {
    let Proxy { effort, connections, cases } = &on.result;
    let _ = write!(
        page,
        "\n## Bare proxying\n\nOne worker, {connections} connections kept alive, upstream \
         connections kept alive, no plugin, no logs; {} rounds\nof {} s. nginx is Debian's with \
         its default buffers, which send a 64 KiB body by way of a file where the client\nis not \
         quick enough; \"larger buffers\" holds it in memory. It only passes messages on; \"same \
         headers\"\nalso does what Silverback and Kong do on the way: it makes a request id, tells \
         upstreams of the client\n(X-Forwarded-*, X-Real-IP, Via) and clients of the upstream \
         (Via, status, latencies). The aim is against\nthe plain one.\n",
        effort.rounds, effort.seconds
    );
    for case in cases {
        let _ = write!(page, "\n### {}\n\n", case.name);
        rows(page, NGINX, &case.rows);
        if let Some(own) = case.rows.iter().find(|row| row.who == SILVERBACK) {
            let target = case.target;
            verdict(page, "CPU per request against nginx", own.ratio, target, "×");
            if let Some(same) = own.same {
                let _ = writeln!(page, "\nAgainst {NGINX_SAME}: {same:.2}×.");
            }
        }
    }
    taken(page, on);
}

fn rows(page: &mut String, reference: &str, rows: &[Row]) {
    let _ = write!(
        page,
        "| | CPU µs/request | × {reference} | requests/s | p99 ms | core |\n\
         |---|---:|---:|---:|---:|---:|\n"
    );
    for Row { who, sample, ratio, .. } in rows {
        let Sample { cpu_us, per_second, p99_ms, busy, .. } = sample;
        let _ = writeln!(
            page,
            "| {who} | {cpu_us:.1} | {ratio:.2} | {per_second:.0} | {p99_ms:.2} | {:.0}% |",
            busy * 100.0
        );
    }
}

// === plugin servers ===

fn plugins(page: &mut String, on: &On<Plugins>) {
    let Plugins { effort, curves } = &on.result;
    let _ = write!(
        page,
        "\n## Plugin servers\n\nA plugin whose access handler calls `kong.request.get_header` 0 \
         to 20 times; {} rounds of {} s. The \"client\" is\nthe yardstick: a bare program on the \
         gateway's core that holds the same dialogue with the same server process\nover as many \
         connections (non-blocking, epoll), and does nothing else. The cost of a call is the \
         slope of the\nline of least squares through the six points of a round.\n\n\
         ![CPU by calls]({})\n\n![Rate by calls]({})\n\n### A call\n\n\
         | Server | connections | gateway µs | client µs | gateway / client | server µs |\n\
         |---|---:|---:|---:|---:|---:|\n",
        effort.rounds, effort.seconds, PLOTS[0], PLOTS[1]
    );
    for curve in curves {
        let own = curve.gateway.map_or("–".into(), |slope| format!("{:.2}", slope.call_us));
        let ratio = curve.ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"));
        let server = curve.gateway.unwrap_or(curve.client).server_call_us;
        let _ = writeln!(
            page,
            "| {} | {} | {own} | {:.2} | {ratio} | {server:.2} |",
            label(curve),
            curve.connections,
            curve.client.call_us
        );
    }
    if let Some(worst) = curves.iter().filter_map(|curve| curve.ratio).max_by(f64::total_cmp) {
        verdict(
            page,
            "The gateway's CPU per call against the client's, at worst",
            worst,
            CALL_TARGET,
            "×",
        );
    }
    limit(page, curves);
    beside_kong(page, curves);
    for curve in curves {
        points(page, curve);
    }
    taken(page, on);
}

/// Whether the server's share of a request is larger than the gateway's everywhere: given a core
/// each, the larger one is full first. Where it is not, whether it could be.
fn limit(page: &mut String, curves: &[Curve]) {
    let all = curves.iter().flat_map(|curve| {
        curve.points.iter().filter_map(move |point| Some((curve, point, point.gateway?)))
    });
    let (mut count, mut given, mut own_fault) = (0, Vec::new(), Vec::new());
    for (curve, point, own) in all {
        count += 1;
        if own.server_us >= own.cpu_us {
            continue;
        }
        let calls = if point.calls == 1 { "call" } else { "calls" };
        let place = format!(
            "{} with {} {calls} at {} connections",
            label(curve),
            point.calls,
            curve.connections
        );
        let (cpu_us, server_us) = (own.cpu_us, own.server_us);
        match curve.plain.map(|plain| plain.cpu_us + point.client.cpu_us) {
            Some(least_us) if least_us > server_us => {
                given.push(format!("{place} ({server_us:.1} against {least_us:.1} µs)"));
            }
            _ => own_fault.push(format!("{place} ({server_us:.1} against {cpu_us:.1} µs)")),
        }
    }
    if count == 0 {
        return;
    }
    let _ = write!(
        page,
        "\nThe plugin server takes more CPU per request than the gateway, proxying included, and \
         so is the limit where each\nhas a core, at {} of {count} points.\n",
        count - given.len() - own_fault.len()
    );
    if !own_fault.is_empty() {
        let _ = writeln!(page, "The gateway takes more in {}.", own_fault.join(", "));
    }
    if !given.is_empty() {
        let _ = writeln!(
            page,
            "It could not be otherwise, while proxying costs what it does, in {}: there the \
             server's share is smaller than\nwhat a request without the plugin and the bare \
             client's dialogue take together.",
            given.join(", ")
        );
    }
}

fn beside_kong(page: &mut String, curves: &[Curve]) {
    if curves.iter().all(|curve| curve.gateway.is_none()) {
        return;
    }
    page.push_str(
        "\n### Beside Kong 3.10\n\nKong's figures are from another run on a machine of this kind, \
         with one worker, where nginx's plain proxying took\n15 to 20 µs; ours are those at the \
         most connections. \"Plugin\" is what a request with the plugin and no call costs\nmore \
         than one without.\n\n\
         | Server | plugin: Silverback µs | Kong µs | call: Silverback µs | Kong µs | server: \
         here µs | with Kong µs |\n|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for curve in widest(curves) {
        let Some(Kong { plugin_us, call_us, server_us, .. }) = kong(curve) else { continue };
        let (Some(slope), Some(plain)) = (curve.gateway, curve.plain) else { continue };
        let bare = curve.points.first().and_then(|point| point.gateway);
        let plugin = bare.map_or(slope.fixed_us, |sample| sample.cpu_us) - plain.cpu_us;
        let _ = writeln!(
            page,
            "| {} | {plugin:.1} | {plugin_us:.0} | {:.2} | {call_us} | {:.2} | {server_us} |",
            label(curve),
            slope.call_us,
            slope.server_call_us
        );
    }
}

fn points(page: &mut String, curve: &Curve) {
    let _ = write!(
        page,
        "\n### {}, {} connections\n\n\
         | Calls | gateway µs | server µs | requests/s | p99 ms | core | client µs \
         | its server µs | events/s | Kong requests/s |\n{}\n",
        label(curve),
        curve.connections,
        "|---:".repeat(10) + "|"
    );
    if let Some(plain) = curve.plain {
        let _ = writeln!(page, "| no plugin | {} | | | | |", own_columns(plain));
    }
    for point in &curve.points {
        let own = point.gateway.map_or("– | – | – | – | –".into(), own_columns);
        let rates = kong(curve).map_or(&[][..], |kong| kong.rates);
        let rate = rates.iter().find(|(calls, _)| *calls == point.calls && curve.connections == 64);
        let Sample { cpu_us, server_us, per_second, .. } = point.client;
        let _ = writeln!(
            page,
            "| {} | {own} | {cpu_us:.1} | {server_us:.1} | {per_second:.0} | {} |",
            point.calls,
            rate.map_or(String::new(), |(_, rate)| format!("{rate}"))
        );
    }
}

fn own_columns(sample: Sample) -> String {
    let Sample { cpu_us, server_us, per_second, p99_ms, busy } = sample;
    let busy = busy * 100.0;
    format!("{cpu_us:.1} | {server_us:.1} | {per_second:.0} | {p99_ms:.2} | {busy:.0}%")
}

fn label(curve: &Curve) -> &str {
    kind(&curve.server).map_or(&curve.server, |kind| kind.label)
}

fn kong(curve: &Curve) -> Option<&'static Kong> {
    kind(&curve.server)?.kong.as_ref()
}

/// The curves at the most connections, one for each server.
fn widest(curves: &[Curve]) -> Vec<&Curve> {
    let most = curves.iter().map(|curve| curve.connections).max().unwrap_or(0);
    curves.iter().filter(|curve| curve.connections == most).collect()
}

// === the plots ===

const OWN: (&str, &str, &str) = ("Silverback", "#1660b8", "none");
const CLIENT: (&str, &str, &str) = ("bare client", "#777777", "5 3");
const SERVER: (&str, &str, &str) = ("plugin server", "#d9822b", "none");
const KONG: (&str, &str, &str) = ("Kong 3.10", "#b3261e", "2 3");

fn series(style: (&'static str, &'static str, &'static str), points: Vec<(f64, f64)>) -> Series {
    Series { label: style.0, colour: style.1, dashes: style.2, points }
}

/// The points of a curve: `own` of the gateway's samples, `bare` of the client's.
fn trace(curve: &Curve, own: bool, figure: fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    let sample = |point: &crate::results::Point| match own {
        true => point.gateway,
        false => Some(point.client),
    };
    let points = curve.points.iter();
    points.filter_map(|p| Some((p.calls as f64, figure(&sample(p)?)))).collect()
}

fn cpu_plot(plugins: &Plugins) -> String {
    let panel = |curve: &&Curve| {
        let calls = curve.points.iter().map(|point| point.calls as f64);
        let kong = kong(curve).map_or(Vec::new(), |kong| {
            calls.map(|n| (n, KONG_PLAIN_US + kong.plugin_us + n * kong.call_us)).collect()
        });
        let has_own = curve.gateway.is_some();
        Panel {
            title: format!("{}, {} connections", label(curve), curve.connections),
            series: vec![
                series(OWN, trace(curve, true, |s| s.cpu_us)),
                series(CLIENT, trace(curve, false, |s| s.cpu_us)),
                series(SERVER, trace(curve, has_own, |s| s.server_us)),
                series(KONG, kong),
            ],
        }
    };
    let panels: Vec<Panel> = widest(&plugins.curves).iter().map(panel).collect();
    svg("CPU per request by PDK calls", "CPU µs per request", Scale::Linear, &panels)
}

fn rate_plot(plugins: &Plugins) -> String {
    let panel = |curve: &&Curve| {
        let kong = kong(curve).map_or(&[][..], |kong| kong.rates);
        Panel {
            title: format!("{}, {} connections", label(curve), curve.connections),
            series: vec![
                series(OWN, trace(curve, true, |s| s.per_second)),
                series(CLIENT, trace(curve, false, |s| s.per_second)),
                series(KONG, kong.iter().map(|(calls, rate)| (*calls as f64, *rate)).collect()),
            ],
        }
    };
    let panels: Vec<Panel> = widest(&plugins.curves).iter().map(panel).collect();
    svg("Requests per second by PDK calls", "requests per second", Scale::Log, &panels)
}

// === start, and many routes ===

fn start(page: &mut String, on: &On<Start>) {
    let Start { rounds, routes, rows } = &on.result;
    let _ = write!(
        page,
        "\n## Start and memory\n\nFrom exec to the first 200 with {routes} routes, median of \
         {rounds} starts; resident memory with one worker and no\nplugin server, 2 s after the \
         first answer. Kong 3.10: 4.2 s, 142 MB.\n\n\
         | | first answer ms | CPU ms | idle, one route MB | with the routes MB |\n\
         |---|---:|---:|---:|---:|\n"
    );
    for row in rows {
        let _ = writeln!(
            page,
            "| {} | {:.0} | {:.0} | {:.1} | {:.1} |",
            row.who, row.first_answer_ms, row.cpu_ms, row.idle_mb, row.routes_mb
        );
    }
    if let Some(own) = rows.iter().find(|row| row.who == SILVERBACK) {
        verdict(page, "First answer", own.first_answer_ms, FIRST_ANSWER_TARGET_MS, " ms");
        verdict(page, "Idle memory", own.idle_mb, IDLE_TARGET_MB, " MB");
    }
    taken(page, on);
}

fn key_auth(page: &mut String, on: &On<KeyAuth>) {
    let KeyAuth { effort, connections, rows: all } = &on.result;
    let _ = write!(
        page,
        "\n## 100 routes, key-auth and rate-limiting, 100 consumers\n\nRequests go around 100 \
         routes and 100 keys, in all rows; {connections} connections, {} rounds of {} s.\n\n",
        effort.rounds, effort.seconds
    );
    rows(page, "one route", all);
    let of = |who: &str| all.iter().find(|row| row.who == who).map(|row| row.ratio);
    if let Some(ratio) = of(LIMITED) {
        verdict(page, "CPU per request with both against one route without", ratio, 1.25, "×");
    }
    taken(page, on);
}

fn lua_plugins(page: &mut String, on: &On<Lua>) {
    let Lua { effort, connections, rows: all } = &on.result;
    let _ = write!(
        page,
        "\n## Plugins in Lua\n\nPlugins for all requests of one route; {connections} connections, \
         {} rounds of {} s. header-echo is the classic first\nplugin, in the style of Kong 0.14: \
         access reads a header of the request, header_filter sets one of the answer.\nOf the \
         thirty plugins each has handlers that do nothing: of access, or of rewrite, access, \
         header_filter,\nbody_filter and log. Kong 3.10 takes about 48 µs for thirty.\n\n",
        effort.rounds, effort.seconds
    );
    rows(page, "no plugin", all);
    for (row, than, target) in lua::LIMITS {
        if let Some(more) = lua::more(all, row, than) {
            verdict(page, &format!("CPU of \"{row}\" over \"{than}\""), more, target, " µs");
        }
    }
    taken(page, on);
}

fn micro(page: &mut String, on: &On<Micro>) {
    let Micro { rounds, requests, rows } = &on.result;
    let _ = write!(
        page,
        "\n## Bundled plugins, each by itself\n\nThe handlers of a plugin on exchanges in memory, \
         configured as in its page's example (docs/plugins),\nfor a request that it lets pass \
         where it lets any pass; the median of {rounds} rounds of {requests} requests.\nWhat \
         goes on in the background, such as sending logs, is not in it.\n\n\
         | plugin | CPU ns/request |\n|---|---:|\n"
    );
    for MicroRow { plugin, cpu_ns } in rows {
        let _ = writeln!(page, "| {plugin} | {cpu_ns:.0} |");
    }
    taken(page, on);
}

// === the Admin API ===

fn admin(page: &mut String, on: &On<Admin>) {
    let Admin { effort, creates, served, figures: others } = &on.result;
    let _ = write!(
        page,
        "\n## Admin API\n\nConsumers made by POST over connections kept alive, each on disk \
         before its 201; {} rounds of {} s.\n\n\
         | database | connections | creates/s | p99 ms |\n|---|---:|---:|---:|\n",
        effort.rounds, effort.seconds
    );
    for Creates { database, connections, per_second, p99_ms } in creates {
        let _ = writeln!(page, "| {database} | {connections} | {per_second:.0} | {p99_ms:.2} |");
    }
    let _ = write!(
        page,
        "\nRoutes made one by one, each asked for through the proxy until it answers 200.\n\n\
         | database | routes before | until 201, ms | from 201 to served, ms | p99 ms |\n\
         |---|---:|---:|---:|---:|\n"
    );
    for Served { database, routes, created_ms, served_ms, served_p99_ms } in served {
        let _ = writeln!(
            page,
            "| {database} | {routes} | {created_ms:.2} | {served_ms:.2} | {served_p99_ms:.2} |"
        );
    }
    if !others.rows.is_empty() {
        page.push('\n');
        figures(page, others);
    }
    taken(page, on);
}

fn figures(page: &mut String, figures: &Figures) {
    page.push_str("| | | target, at most | |\n|---|---:|---:|---|\n");
    for figure in &figures.rows {
        let Figure { what, value, unit, target } = figure;
        let value = Figure::number(*value);
        let target = target.map_or(String::new(), Figure::number);
        let _ = writeln!(page, "| {what} | {value} {unit} | {target} | {} |", figure.verdict());
    }
}

fn verdict(page: &mut String, what: &str, got: f64, target: f64, unit: &str) {
    let word = if got <= target { "met" } else { "**missed**" };
    let digits = match unit {
        "×" => 2,
        " µs" => 1,
        _ => 0,
    };
    let _ =
        write!(page, "\n{what}: {got:.digits$}{unit}; target at most {target}{unit}: {word}.\n");
}

fn taken<T>(page: &mut String, on: &On<T>) {
    let _ = write!(page, "\nTaken on {}.\n", on.machine);
}
