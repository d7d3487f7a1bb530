//! `restart`: stop, then start.

use anyhow::Result;

use super::start::{DB_TIMEOUT, LOCK_TIMEOUT, RUN_MIGRATIONS};
use super::{Args, CONF, Command, NGINX_CONF, PREFIX};

pub(super) const COMMAND: Command = Command {
    name: "restart",
    operands: "",
    summary: "Stop a node, running or not, and start it again.",
    flags: &[CONF, PREFIX, NGINX_CONF, RUN_MIGRATIONS, DB_TIMEOUT, LOCK_TIMEOUT],
    run,
};

fn run(args: &Args) -> Result<()> {
    // The configuration is read first: a node that runs is not stopped for a file that is wrong.
    let conf = args.load_conf()?;
    let prefix = crate::prefix::Prefix::new(conf.prefix.clone());
    if prefix.running_pid().is_some() {
        super::stop::stop(&prefix)?;
    }
    super::start::start(args, &conf)
}
