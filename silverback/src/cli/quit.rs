//! `quit`: lets the node finish its requests, then ends it.

use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::Signal;

use super::{Args, Command, Flag, PREFIX};

pub(super) const COMMAND: Command = Command {
    name: "quit",
    operands: "",
    summary: "Stop a running node when its requests are finished (SIGQUIT).",
    flags: &[
        PREFIX,
        Flag {
            long: "timeout",
            short: Some('t'),
            value: "SECONDS",
            help: "How long it may take before the node is stopped all the same (10).",
        },
        Flag {
            long: "wait",
            short: Some('w'),
            value: "SECONDS",
            help: "How long to wait before the shutdown begins (0).",
        },
    ],
    run,
};

fn run(args: &Args) -> Result<()> {
    let prefix = args.running_prefix()?;
    let wait = args.seconds("wait", 0)?;
    let timeout = args.seconds("timeout", 10)?.max(Duration::from_secs(1));
    if !wait.is_zero() && prefix.wait_until_gone(wait) {
        bail!("Silverback stopped while waiting (unexpected)");
    }
    let pid = prefix.signal(Signal::QUIT)?;
    if prefix.wait_for_end(pid, timeout) {
        println!("Silverback stopped (gracefully)");
    } else {
        super::stop::stop(&prefix)?;
        println!("Timeout, Silverback stopped forcefully");
    }
    Ok(())
}
