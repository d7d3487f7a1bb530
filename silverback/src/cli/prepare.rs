//! `prepare`: makes a prefix ready without starting anything.

use anyhow::Result;

use super::{Args, CONF, Command, NGINX_CONF, PREFIX};
use crate::prefix::Prefix;

pub(super) const COMMAND: Command = Command {
    name: "prepare",
    operands: "",
    summary: "Make the directories and files of a prefix without starting a node.",
    flags: &[CONF, PREFIX, NGINX_CONF],
    run,
};

fn run(args: &Args) -> Result<()> {
    let conf = args.load_conf()?;
    Prefix::new(conf.prefix.clone()).prepare(&conf)
}
