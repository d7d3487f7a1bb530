//! `health`: whether the node of a prefix is running.

use anyhow::{Result, bail};

use super::{Args, Command, PREFIX};

pub(super) const COMMAND: Command = Command {
    name: "health",
    operands: "",
    summary: "Say whether the node in a prefix is running.",
    flags: &[PREFIX],
    run,
};

fn run(args: &Args) -> Result<()> {
    let prefix = args.running_prefix()?;
    let running = prefix.running_pid().is_some();
    println!("silverback..{}\n", if running { "running" } else { "not running" });
    if !running {
        bail!("Silverback is not running at {}", prefix.path().display());
    }
    println!("Silverback is healthy at {}", prefix.path().display());
    Ok(())
}
