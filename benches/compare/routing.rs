//! Routing among many routes: end to end beside one route, and the router alone.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use http::HeaderMap;
use silverback_model::entities::{Protocol, Route};
use silverback_router::{Flavor, Lookup, RouteInput, Router};
use uuid::Uuid;

use crate::figures::Figures;
use crate::gateways::{self, Settings, services};
use crate::proxy::in_turns;
use crate::stage::Stage;
use crate::stats::median;

/// How many routes.
const ROUTES: usize = 100_000;
/// What they may cost a request, in microseconds of CPU.
const TARGET_US: f64 = 2.0;
const CONNECTIONS: usize = 64;
const SECONDS: u64 = 2;
/// How many look-ups the router is measured by.
const LOOKUPS: usize = 200_000;

const FLAVORS: [(&str, Flavor); 2] = [
    ("traditional_compatible", Flavor::TraditionalCompatible),
    ("expressions", Flavor::Expressions),
];

/// Measures each flavour.
pub(crate) fn run(stage: &Stage<'_>) -> Result<Figures> {
    gateways::need("wrk")?;
    let effort = stage.options.effort(SECONDS);
    let mut figures = Figures::default();
    for (name, flavor) in FLAVORS {
        println!("\nrouting, {name}");
        let one = gateways::silverback(stage, &settings(stage, name, 1))?;
        let many = gateways::silverback(stage, &settings(stage, name, ROUTES))?;
        let (one, many) = (one.context("no Silverback")?, many.context("no Silverback")?);
        let contenders = [("one route", &one), ("many routes", &many)].map(|(who, node)| {
            (who, format!("http://127.0.0.1:{}/", node.port), node.running.family())
        });
        let rows = in_turns(stage, effort, &contenders, CONNECTIONS, Some(&script()))?;
        let cpu = |at: usize| rows.get(at).map_or(0.0, |row| row.sample.cpu_us);
        figures.note(format!("{name}: a request, one route"), cpu(0), "µs CPU");
        figures.note(format!("{name}: a request, {ROUTES} routes"), cpu(1), "µs CPU");
        let what = format!("{name}: more for {ROUTES} routes than for one");
        figures.judge(what, cpu(1) - cpu(0), "µs CPU", TARGET_US);
        for count in [1, 1_000, ROUTES] {
            let what = format!("{name}: the router alone, {count} routes");
            figures.note(what, alone(flavor, count)?, "ns a look-up");
        }
    }
    Ok(figures)
}

fn path(number: usize) -> String {
    format!("/api/v{}/resource-{number}/", number % 10)
}

fn settings(stage: &Stage<'_>, flavor: &str, count: usize) -> Settings {
    let mut routes = String::new();
    for number in 0..count {
        let path = if count == 1 { "/".to_owned() } else { path(number) };
        let _ = match flavor {
            "expressions" => writeln!(
                routes,
                "  - expression: http.path ^= \"{path}\"\n    strip_path: false\n    \
                 name: r{number}"
            ),
            _ => {
                writeln!(routes, "  - paths: [{path}]\n    strip_path: false\n    name: r{number}")
            }
        };
    }
    Settings {
        conf: format!("router_flavor = {flavor}\n"),
        declarative: services(stage, &routes),
        probe: path(0),
    }
}

/// wrk's script: each request asks for any of the routes.
fn script() -> String {
    format!(
        "function request()
  local n = math.random(0, {ROUTES} - 1)
  return wrk.format('GET', '/api/v' .. (n % 10) .. '/resource-' .. n .. '/')
end
"
    )
}

/// What a look-up costs, in nanoseconds: the median of some runs over routes in no order.
fn alone(flavor: Flavor, count: usize) -> Result<f64> {
    let route = |number: usize| Route {
        id: Uuid::from_u128(number as u128),
        paths: if flavor == Flavor::Expressions { Vec::new() } else { vec![path(number)] },
        expression: (flavor == Flavor::Expressions)
            .then(|| format!("http.path ^= \"{}\"", path(number))),
        ..Route::default()
    };
    let routes: Vec<Route> = (0..count).map(route).collect();
    let inputs: Vec<_> = routes.iter().map(|route| RouteInput { route, service: None }).collect();
    let router = Router::build(flavor, &inputs)?;
    let mut seed = 7_u64;
    let mut any = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % count
    };
    let paths: Vec<String> = (0..LOOKUPS).map(|_| path(any()) + "item").collect();
    let headers = HeaderMap::new();
    let round = || {
        let begin = Instant::now();
        for path in &paths {
            let found = router.find(&Lookup {
                method: "GET",
                host: "bench.test",
                path,
                query: "",
                headers: &headers,
                scheme: Protocol::Http,
                sni: None,
                source: None,
                destination: None,
            });
            black_box(found);
        }
        begin.elapsed().as_nanos() as f64 / LOOKUPS as f64
    };
    Ok(median((0..5).map(|_| round())))
}
