//! `stop`: ends the node at once.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use super::{Args, Command, PREFIX};
use crate::prefix::Prefix;

pub(super) const COMMAND: Command = Command {
    name: "stop",
    operands: "",
    summary: "Stop a running node at once (SIGTERM).",
    flags: &[PREFIX],
    run,
};

/// How long a node may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(10);

fn run(args: &Args) -> Result<()> {
    stop(&args.running_prefix()?)?;
    println!("Silverback stopped");
    Ok(())
}

/// Stops the node of a prefix and waits until it is gone.
pub(super) fn stop(prefix: &Prefix) -> Result<()> {
    let pid = prefix.signal(Signal::TERM)?;
    if !prefix.wait_for_end(pid, GRACE) && prefix.running_pid() == Some(pid) {
        prefix.signal(Signal::KILL)?;
        prefix.wait_for_end(pid, GRACE);
    }
    Ok(())
}
