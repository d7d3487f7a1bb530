//! `check FILE`: whether a configuration file is valid.

use std::path::PathBuf;

use anyhow::Result;

use super::{Args, Command};
use crate::conf::{Conf, LoadArgs};

pub(super) const COMMAND: Command = Command {
    name: "check",
    operands: "[FILE]",
    summary: "Say whether a configuration file is valid, and what is wrong with it.",
    flags: &[super::CONF],
    run,
};

fn run(args: &Args) -> Result<()> {
    let file = args.operands().first().map(String::as_str).or_else(|| args.get("conf"));
    let loaded = Conf::load(&LoadArgs::from_process(file.map(PathBuf::from), None))?;
    for warning in loaded.warnings {
        eprintln!("[warn] {warning}");
    }
    println!("configuration at {} is valid", file.unwrap_or("the default place"));
    Ok(())
}
