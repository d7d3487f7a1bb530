//! `vault get`: what a reference stands for, as a node in this prefix would see it.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use silverback_model::{SecretRef, is_reference, set::Entities};

use super::{Args, CONF, Command, PREFIX, config};
use crate::{
    conf::{Conf, Database},
    node,
};

pub(super) const COMMAND: Command = Command {
    name: "vault",
    operands: "get REFERENCE",
    summary: "Print the secret that a reference stands for: {vault://env/NAME}, or env/NAME.",
    flags: &[CONF, PREFIX],
    run,
};

fn run(args: &Args) -> Result<()> {
    let words: Vec<&str> = args.operands().iter().map(String::as_str).collect();
    match words[..] {
        ["get", reference] => {
            println!("{}", get(&args.node_conf()?, reference)?);
            Ok(())
        }
        ["get"] => {
            bail!("the 'get' command needs a <reference> argument \nsilverback vault get REFERENCE")
        }
        _ => bail!("unknown command '{}'; see `vault --help`", words.join(" ")),
    }
}

fn get(conf: &Conf, reference: &str) -> Result<String> {
    let reference = match is_reference(reference) {
        true => reference.to_owned(),
        false => format!("{{vault://{reference}}}"),
    };
    let reference = SecretRef::parse(&reference).map_err(|text| anyhow!(text))?;
    let vaults = node::vaults::open(conf, None)?;
    // Vaults with a prefix of their own are entities, which take longer to get at.
    let entities = match reference.name.as_str() {
        "env" => None,
        _ => entities(conf)?,
    };
    let secret = vaults.get(&reference, entities.as_deref());
    secret.map(|secret| secret.to_string()).map_err(|text| anyhow!(text))
}

/// The entities of the node, if it has any.
fn entities(conf: &Conf) -> Result<Option<Arc<Entities>>> {
    if conf.database != Database::Off {
        return config::stored(conf).map(Some);
    }
    match (&conf.declarative_config, &conf.declarative_config_string) {
        (Some(file), _) => config::load(conf, file).map(|(_, _, loaded)| Some(loaded.entities)),
        (None, Some(text)) => config::parsed(conf, text, "declarative_config_string")
            .map(|(_, _, loaded)| Some(loaded.entities)),
        (None, None) => Ok(None),
    }
}
