//! Plugin servers: what a request costs the gateway by the number of PDK calls that its plugin
//! makes, beside what the same dialogue costs a client that does nothing else.

use std::fmt::Write;

use anyhow::{Result, bail};

use crate::gateways::{self, Gateway, Settings, services};
use crate::pingpong;
use crate::results::{Curve, Effort, Plugins, Point, Sample, Slope};
use crate::servers::{KINDS, Kind, Server};
use crate::stage::Stage;
use crate::stats::{line, median};
use crate::wrk::{self, Load};

/// PDK calls per request.
const CALLS: [usize; 6] = [0, 1, 2, 5, 10, 20];
/// Connections of the load unless told.
const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// Seconds of load per measurement unless told.
const SECONDS: u64 = 1;
/// The route without the plugin.
const PLAIN: &str = "plain";

/// A plugin server that works less than this share of what the bare client makes it do has not
/// been asked: a gateway that leaves plugins out is fast.
const SERVER_SHARE_MIN: f64 = 0.3;

/// A plugin server, and the gateway with it.
struct Contest<'a> {
    kind: &'a Kind,
    server: &'a Server,
    gateway: Option<&'a Gateway>,
}

/// The samples of one round.
struct Round {
    plain: Option<Sample>,
    gateway: Vec<Sample>,
    client: Vec<Sample>,
}

/// Measures each server at each number of connections.
pub(crate) fn run(stage: &Stage<'_>) -> Result<Plugins> {
    gateways::need("wrk")?;
    let options = stage.options;
    if let Some(unknown) = options.only.iter().find(|key| KINDS.iter().all(|k| k.key != **key)) {
        bail!("--only {unknown}: no such plugin server");
    }
    let effort = options.effort(SECONDS);
    let mut curves = Vec::new();
    for kind in KINDS
        .iter()
        .filter(|k| options.only.is_empty() || options.only.iter().any(|key| key == k.key))
    {
        let server = Server::start(stage, kind)?;
        let settings = settings(stage, kind, &server);
        // Silverback alone: Kong would need a server of its own for each plugin, and its figures
        // stand beside ours as they were measured.
        let gateway = gateways::silverback(stage, &settings)?;
        let all =
            if options.connections.is_empty() { &CONNECTIONS[..] } else { &options.connections };
        for connections in all {
            curves.push(curve(
                stage,
                effort,
                &Contest { kind, server: &server, gateway: gateway.as_ref() },
                *connections,
            )?);
        }
    }
    Ok(Plugins { effort, curves })
}

fn settings(stage: &Stage<'_>, kind: &Kind, server: &Server) -> Settings {
    let mut routes = format!("  - name: {PLAIN}\n    paths: [/{PLAIN}]\n");
    for calls in CALLS {
        let _ = writeln!(
            routes,
            "  - name: calls-{calls}\n    paths: [/calls-{calls}]\n    plugins:\n    \
             - name: {}\n      config: {{calls: {calls}}}",
            kind.plugin
        );
    }
    let declarative = services(stage, &routes);
    Settings { conf: server.conf(), declarative, probe: format!("/calls-{}", CALLS[1]) }
}

fn curve(
    stage: &Stage<'_>,
    effort: Effort,
    contest: &Contest<'_>,
    connections: usize,
) -> Result<Curve> {
    let Contest { kind, server, gateway } = *contest;
    println!("\nplugins, {}, {connections} connections", kind.label);
    let load = |gateway: &Gateway, path: String| Load {
        url: format!("http://127.0.0.1:{}/{path}", gateway.port),
        connections,
        seconds: effort.seconds,
        script: None,
    };
    if let Some(gateway) = gateway {
        wrk::warm_up(stage, &load(gateway, format!("calls-{}", CALLS[1])))?;
    }
    let server_pids = server.running.family();
    let milliseconds = effort.seconds * 1000;
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds {
        let mut round = Round { plain: None, gateway: Vec::new(), client: Vec::new() };
        let measure = |gateway: &Gateway, path: String| {
            let pids = gateway.running.family();
            wrk::measure(stage, &load(gateway, path), &pids, &server_pids)
        };
        round.plain = gateway.map(|g| measure(g, PLAIN.into())).transpose()?;
        for calls in CALLS {
            let own = gateway.map(|g| measure(g, format!("calls-{calls}"))).transpose()?;
            let game = server.game(calls, connections, milliseconds);
            let bare = pingpong::measure(stage, &game)?;
            if own.is_some_and(|own| own.server_us < bare.server_us * SERVER_SHARE_MIN) {
                bail!("the gateway answers 200, but the plugin with {calls} calls has not run");
            }
            round.gateway.extend(own);
            round.client.push(bare);
        }
        rounds.push(round);
    }
    let curve = summary(kind, connections, &rounds);
    print(&curve);
    Ok(curve)
}

fn summary(kind: &Kind, connections: usize, rounds: &[Round]) -> Curve {
    let at = |i: usize, of: fn(&Round) -> &Vec<Sample>| -> Option<Sample> {
        let samples: Vec<Sample> = rounds.iter().filter_map(|r| of(r).get(i).copied()).collect();
        (!samples.is_empty()).then(|| Sample::median(&samples))
    };
    let points = CALLS.iter().enumerate().map(|(i, calls)| Point {
        calls: *calls,
        gateway: at(i, |round| &round.gateway),
        client: at(i, |round| &round.client).unwrap_or_default(),
    });
    let gateways: Vec<Slope> =
        rounds.iter().filter(|r| !r.gateway.is_empty()).map(|r| slope(&r.gateway)).collect();
    let clients: Vec<Slope> = rounds.iter().map(|round| slope(&round.client)).collect();
    let ratios = gateways.iter().zip(&clients).map(|(own, bare)| own.call_us / bare.call_us);
    let plain: Vec<Sample> = rounds.iter().filter_map(|round| round.plain).collect();
    Curve {
        server: kind.key.into(),
        connections,
        plain: (!plain.is_empty()).then(|| Sample::median(&plain)),
        points: points.collect(),
        gateway: (!gateways.is_empty()).then(|| middle(&gateways)),
        client: middle(&clients),
        ratio: (!gateways.is_empty()).then(|| median(ratios)),
    }
}

fn slope(samples: &[Sample]) -> Slope {
    let through = |of: fn(&Sample) -> f64| {
        let points = CALLS.iter().zip(samples).map(|(calls, s)| (*calls as f64, of(s)));
        line(&points.collect::<Vec<_>>())
    };
    let (fixed_us, call_us) = through(|sample| sample.cpu_us);
    let (_, server_call_us) = through(|sample| sample.server_us);
    Slope { fixed_us, call_us, server_call_us }
}

fn middle(slopes: &[Slope]) -> Slope {
    Slope {
        fixed_us: median(slopes.iter().map(|s| s.fixed_us)),
        call_us: median(slopes.iter().map(|s| s.call_us)),
        server_call_us: median(slopes.iter().map(|s| s.server_call_us)),
    }
}

fn print(curve: &Curve) {
    if let Some(plain) = curve.plain {
        println!("  no plugin: gateway {:6.1} µs, {:6.0}/s", plain.cpu_us, plain.per_second);
    }
    for point in &curve.points {
        print!("  {:2} calls:", point.calls);
        if let Some(own) = point.gateway {
            print!(
                "  gateway {:6.1} µs, server {:6.1} µs, {:6.0}/s, core {:3.0}%;",
                own.cpu_us,
                own.server_us,
                own.per_second,
                own.busy * 100.0
            );
        }
        let bare = point.client;
        println!(
            "  client {:6.1} µs, server {:6.1} µs, {:6.0}/s",
            bare.cpu_us, bare.server_us, bare.per_second
        );
    }
    let bare = curve.client;
    println!("  a call: client {:.2} µs, server {:.2} µs", bare.call_us, bare.server_call_us);
    if let (Some(own), Some(ratio)) = (curve.gateway, curve.ratio) {
        println!("  a call: gateway {:.2} µs, {ratio:.2}x the client's", own.call_us);
    }
}
