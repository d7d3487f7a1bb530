//! `docker-start`: the node in the foreground, for containers.

use anyhow::Result;

use super::{Args, CONF, Command, PREFIX};
use crate::{node, prefix::Prefix};

pub(super) const COMMAND: Command = Command {
    name: "docker-start",
    operands: "",
    summary: "Run a node in the foreground: SIGQUIT drains, SIGTERM stops, SIGHUP reloads.",
    flags: &[CONF, PREFIX],
    run,
};

fn run(args: &Args) -> Result<()> {
    let conf = args.load_conf()?;
    let prefix = Prefix::new(conf.prefix.clone());
    prefix.refuse_if_running()?;
    prefix.prepare(&conf)?;
    node::run(conf, &prefix, node::Console::Foreground)
}
