//! `version`: prints the version of Kong that is spoken, as scripts expect it; `-a` says more.

use anyhow::Result;

use super::{Args, Command, Flag};
use crate::node::KONG_VERSION;

pub(super) const COMMAND: Command = Command {
    name: "version",
    operands: "",
    summary: "Print the version of Kong that Silverback speaks; with -a its own as well.",
    flags: &[Flag { long: "all", short: Some('a'), value: "", help: "Every version there is." }],
    run,
};

fn run(args: &Args) -> Result<()> {
    if args.has("all") {
        println!("Kong: {KONG_VERSION}\nSilverback: {}", env!("CARGO_PKG_VERSION"));
    } else {
        println!("{KONG_VERSION}");
    }
    Ok(())
}
