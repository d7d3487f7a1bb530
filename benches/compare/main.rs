//! What Silverback costs, side by side with what else one could run, in one run on one machine.
//!
//! The gateway under test has a core to itself; the load, the upstream and the plugin servers have
//! the rest. Every figure is the median of rounds in which the contenders take turns, so that a
//! machine that slows down slows all of them, and what counts is their ratio. CPU time is what the
//! kernel's scheduler has counted for the contender's processes, in nanoseconds, per request.
//!
//! `compare --help` lists the parts. Results go to `docs/benchmarks.json`, and from there to
//! `docs/benchmarks.md` and its plots; those of `--quick` go to `target/bench/` instead.

mod admin;
mod certificate;
mod change;
mod figures;
mod frames;
mod gateways;
mod idle;
mod key_auth;
mod lua;
mod machine;
mod micro;
mod nodes;
mod options;
mod pingpong;
mod plot;
mod plugins;
mod proxy;
mod report;
mod results;
mod routing;
mod servers;
mod stage;
mod start;
mod stats;
mod steady;
mod upstream;
mod wrk;

use anyhow::Result;

use options::{Options, Part};
use results::Results;
use stage::Stage;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    // The load's other ends are this program again, so that each is a process on its own core.
    match args.peek().map(String::as_str) {
        Some(upstream::VERB) => return upstream::run(args.skip(1)),
        Some(pingpong::VERB) => return pingpong::run(args.skip(1)),
        _ => {}
    }
    let Some(options) = Options::parse(args)? else {
        println!("{}", options::USAGE);
        return Ok(());
    };
    let mut results = Results::read(&options)?;
    if !options.report_only {
        let mut stage = Stage::new(&options)?;
        let outcome = measure(&stage, &mut results);
        stage.keep_if(outcome.is_err());
        outcome?;
    }
    report::write(&results, &options)
}

fn measure(stage: &Stage<'_>, results: &mut Results) -> Result<()> {
    let machine = machine::facts(stage);
    println!("{machine}");
    for part in &stage.options.parts {
        match part {
            Part::Proxy => results.proxy = Some(machine.with(proxy::run(stage)?)),
            Part::Plugins => results.plugins = Some(machine.with(plugins::run(stage)?)),
            Part::Start => results.start = Some(machine.with(start::run(stage)?)),
            Part::KeyAuth => results.key_auth = Some(machine.with(key_auth::run(stage)?)),
            Part::Lua => results.lua = Some(machine.with(lua::run(stage)?)),
            Part::Micro => results.micro = Some(machine.with(micro::run(stage)?)),
            Part::Routing => results.routing = Some(machine.with(routing::run(stage)?)),
            Part::Change => results.change = Some(machine.with(change::run(stage)?)),
            Part::Idle => results.idle = Some(machine.with(idle::run(stage)?)),
            Part::Admin => results.admin = Some(machine.with(admin::run(stage)?)),
        }
        // A later part that fails does not take the earlier ones with it.
        results.write(stage.options)?;
    }
    Ok(())
}
