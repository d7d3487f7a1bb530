//! `reload`: a running node reads its configuration again, without losing a request.

use anyhow::{Result, bail};
use rustix::process::Signal;

use super::{Args, CONF, Command, NGINX_CONF, PREFIX};

pub(super) const COMMAND: Command = Command {
    name: "reload",
    operands: "",
    summary: "Let a running node read its configuration again (SIGHUP).",
    flags: &[CONF, PREFIX, NGINX_CONF],
    run,
};

fn run(args: &Args) -> Result<()> {
    let conf = args.load_conf()?;
    let prefix = crate::prefix::Prefix::new(conf.prefix.clone());
    if prefix.running_pid().is_none() {
        bail!("Silverback is not running at {}", prefix.path().display());
    }
    let before = prefix.reloads();
    conf.write_env_file(prefix.path())?;
    prefix.signal(Signal::HUP)?;
    prefix.wait_for_reload(&before)?;
    println!("Silverback reloaded");
    Ok(())
}
