//! Changes of a configuration with many routes, under load: how soon they are served, what a
//! steady client sees of them, and what they leave behind in memory.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::figures::Figures;
use crate::gateways::services;
use crate::nodes::{Node, Plan, milliseconds, post, write};
use crate::stage::Stage;
use crate::stats::{median, part};
use crate::steady::{RATE, Steady};

/// How many routes there are when one comes.
const MANY: usize = 100_000;
/// How soon one more of them is to be served, in milliseconds.
const ONE_MS: f64 = 20.0;
/// How many routes are loaded as a whole, and how soon that is to be over.
const WHOLE: usize = 50_000;
const WHOLE_MS: f64 = 1_000.0;
/// How many routes come one by one.
const PROBES: usize = 50;
/// Before and after changes, the steady client is watched for so long.
const CALM: Duration = Duration::from_secs(5);
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(100);
/// What memory may become by reloading, against what it was after the first.
const FLAT: f64 = 1.2;

/// Measures them all.
pub(crate) fn run(stage: &Stage<'_>) -> Result<Figures> {
    let mut figures = Figures::default();
    println!("\nchange");
    for flavor in ["traditional_compatible", "expressions"] {
        one_more(stage, flavor, &mut figures)?;
    }
    whole(stage, &mut figures)?;
    let (few, many) = if stage.options.quick { (20, 5) } else { (50, 50) };
    reloads(stage, 10_000, few, &mut figures)?;
    reloads(stage, MANY, many, &mut figures)?;
    Ok(figures)
}

/// The routes of a file: `/calm` and `/r/0/` to `/r/COUNT/`, or under another letter.
fn routes(flavor: &str, letter: char, count: usize) -> String {
    let mut routes = String::new();
    let mut add = |name: &str, path: &str| {
        let condition = match flavor {
            "expressions" => format!("expression: http.path ^= \"{path}\""),
            _ => format!("paths: [{path}]"),
        };
        let _ = writeln!(routes, "  - name: {name}\n    {condition}\n    strip_path: false");
    };
    add("calm", "/calm");
    (0..count).for_each(|n| add(&format!("r{n}"), &format!("/{letter}/{n}/")));
    routes
}

/// Routes that come one by one over the Admin API.
fn one_more(stage: &Stage<'_>, flavor: &str, figures: &mut Figures) -> Result<()> {
    let plan = Plan::new(stage, &format!("database = sqlite\nrouter_flavor = {flavor}\n"))?;
    let file = stage.path("many.yml");
    write(&file, &services(stage, &routes(flavor, 'r', MANY)))?;
    plan.command(&["config", "db_import", &file.display().to_string()])?;
    let node = plan.start(stage)?;
    node.until_served("/calm")?;
    let steady = Steady::start(node.proxy, "/calm");
    let before = Instant::now();
    std::thread::sleep(CALM);
    let from = Instant::now();
    let mut active = Vec::new();
    let mut connection = node.connect()?;
    for n in 0..PROBES * stage.options.rounds.min(3) {
        let condition = match flavor {
            "expressions" => format!(r#""expression":"http.path == \"/new-{n}\"""#),
            _ => format!(r#""paths":["/new-{n}"]"#),
        };
        let begin = Instant::now();
        post(&mut connection, "/services/up/routes", &format!("{{{condition}}}"))?;
        node.until_served(&format!("/new-{n}"))?;
        active.push(milliseconds(begin.elapsed()));
        std::thread::sleep(PAUSE);
    }
    let to = Instant::now();
    let seen = steady.stop()?;
    let what = format!("{flavor}: one route more than {MANY}");
    figures.judge(
        format!("{what}, from POST to served, median"),
        median(active.clone()),
        "ms",
        ONE_MS,
    );
    figures.note(format!("{what}, from POST to served, p99"), part(active.clone(), 0.99), "ms");
    let longest = active.into_iter().fold(0.0, f64::max);
    figures.judge(format!("{what}, from POST to served, longest"), longest, "ms", ONE_MS);
    let calm = seen.between(before, from);
    beside(figures, &what, calm, seen.between(from, to));
    Ok(())
}

/// What the steady client saw: a step would be half again of what it sees in calm, and one
/// millisecond.
fn beside(figures: &mut Figures, what: &str, calm: (f64, f64), then: (f64, f64)) {
    let client = format!("{what}, a client of {RATE}/s");
    figures.note(format!("{client}: p99 in calm"), calm.0, "ms");
    figures.judge(format!("{client}: p99 meanwhile"), then.0, "ms", calm.0 * 1.5 + 1.0);
    figures.note(format!("{client}: longest in calm"), calm.1, "ms");
    figures.note(format!("{client}: longest meanwhile"), then.1, "ms");
}

/// A node without a database, its file, and this in it.
fn declarative(stage: &Stage<'_>, file: &Path, text: &str) -> Result<Node> {
    write(file, text)?;
    let lines = format!("database = off\ndeclarative_config = {}\n", file.display());
    let node = Node::start(stage, &lines)?;
    node.until_served("/calm")?;
    Ok(node)
}

/// All routes at once, by the Admin API and by a signal, each time all of them others.
fn whole(stage: &Stage<'_>, figures: &mut Figures) -> Result<()> {
    let file = stage.path("whole.yml");
    let texts =
        ['a', 'b'].map(|letter| services(stage, &routes("traditional_compatible", letter, WHOLE)));
    let node = declarative(stage, &file, &texts[0])?;
    let steady = Steady::start(node.proxy, "/calm");
    let before = Instant::now();
    std::thread::sleep(CALM);
    let from = Instant::now();
    let (mut posted, mut cpu, mut signalled) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..2 * stage.options.rounds {
        let cpu_before = node.cpu_ms()?;
        let turn = (n + 1) % 2;
        let last = format!("/{}/{}/", ['a', 'b'][turn], WHOLE - 1);
        if n % 4 < 2 {
            let begin = Instant::now();
            node.replace(&texts[turn])?;
            node.until_served(&last)?;
            posted.push(milliseconds(begin.elapsed()));
            cpu.push(node.cpu_ms()? - cpu_before);
        } else {
            write(&file, &texts[turn])?;
            let begin = Instant::now();
            node.hang_up();
            node.until_served(&last)?;
            signalled.push(milliseconds(begin.elapsed()));
        }
        std::thread::sleep(PAUSE);
    }
    let to = Instant::now();
    let seen = steady.stop()?;
    let what = format!("{WHOLE} routes anew");
    figures.judge(format!("{what} by POST /config, until served"), median(posted), "ms", WHOLE_MS);
    figures.judge(format!("{what} by SIGHUP, until served"), median(signalled), "ms", WHOLE_MS);
    figures.note(format!("{what}, the node's CPU time"), median(cpu), "ms");
    beside(figures, &what, seen.between(before, from), seen.between(from, to));
    Ok(())
}

/// The same number of routes again and again.
fn reloads(stage: &Stage<'_>, count: usize, times: usize, figures: &mut Figures) -> Result<()> {
    let file = stage.path("reloads.yml");
    let texts =
        ['a', 'b'].map(|letter| services(stage, &routes("traditional_compatible", letter, count)));
    let node = declarative(stage, &file, &texts[0])?;
    // Idle workers let go of what they served by, and its memory goes back.
    let at_rest = || {
        std::thread::sleep(Duration::from_secs(4));
        let mut memory = node.resident_mb();
        for _ in 0..30 {
            std::thread::sleep(Duration::from_secs(1));
            let before = std::mem::replace(&mut memory, node.resident_mb());
            if memory > before * 0.99 {
                break;
            }
        }
        memory
    };
    let loaded = at_rest();
    let what = format!("{count} routes");
    figures.note(format!("{what}: memory once loaded"), loaded, "MB");
    let steady = Steady::start(node.proxy, "/calm");
    let before = Instant::now();
    std::thread::sleep(CALM);
    let from = Instant::now();
    let (mut took, mut meanwhile) = (Vec::new(), Vec::new());
    let mut first = loaded;
    for n in 1..=times {
        let begin = Instant::now();
        took.push(node.replace(&texts[n % 2])?);
        meanwhile.push((begin, Instant::now()));
        if n == 1 || n == 10 || n == 20 || n == times {
            let memory = at_rest();
            let what = format!("{what}: memory after {n} reloads");
            if n == 1 {
                first = memory;
                figures.note(what, memory, "MB");
            } else {
                figures.judge(what, memory, "MB", first * FLAT);
            }
        }
    }
    figures.note(format!("{what}: a reload, median of {times}"), median(took), "ms");
    let seen = steady.stop()?;
    let what = format!("{what}: {times} reloads");
    beside(figures, &what, seen.between(before, from), seen.within(&meanwhile));
    Ok(())
}
