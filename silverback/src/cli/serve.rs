//! The hidden verb behind `start`: the node itself, whose standard output is `start`'s pipe.

use anyhow::Result;

use super::{Args, CONF, Command, PREFIX};
use crate::{
    node::{self, Console},
    prefix::Prefix,
};

/// The verb that `start` calls.
pub(super) const VERB: &str = "__serve";

pub(super) const COMMAND: Command =
    Command { name: VERB, operands: "", summary: "", flags: &[CONF, PREFIX], run };

fn run(args: &Args) -> Result<()> {
    // A session of its own: the terminal's end is not the node's.
    let outcome = rustix::process::setsid().map_err(Into::into).and_then(|_| serve(args));
    if let Err(error) = &outcome {
        Console::Background.refused(&format!("{error:#}"));
    }
    outcome
}

fn serve(args: &Args) -> Result<()> {
    let conf = args.load_conf_quietly()?.conf;
    let prefix = Prefix::new(conf.prefix.clone());
    node::run(conf, &prefix, Console::Background)
}
