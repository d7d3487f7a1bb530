//! `start`: returns when the node answers, or says why it can't.

use std::{
    io::{BufRead, BufReader},
    process::{Command as Process, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{Args, CONF, Command, Flag, NGINX_CONF, PREFIX, migrations, serve};
use crate::{
    conf::{Conf, Database},
    node::{self, Console},
    prefix::Prefix,
};

/// Makes or updates the tables before the start.
pub(super) const RUN_MIGRATIONS: Flag = Flag {
    long: "run-migrations",
    short: None,
    value: "",
    help: "First make or update the tables of a PostgreSQL database.",
};
/// See [`RUN_MIGRATIONS`].
pub(super) const DB_TIMEOUT: Flag = Flag {
    long: "db-timeout",
    short: None,
    value: "SECONDS",
    help: "Longest time of each operation of that.",
};
/// See [`RUN_MIGRATIONS`].
pub(super) const LOCK_TIMEOUT: Flag = Flag {
    long: "lock-timeout",
    short: None,
    value: "SECONDS",
    help: "How long to wait for another node that is at it (60).",
};

pub(super) const COMMAND: Command = Command {
    name: "start",
    operands: "",
    summary: "Start a node in the background; it answers when the command returns.",
    flags: &[
        CONF,
        PREFIX,
        NGINX_CONF,
        RUN_MIGRATIONS,
        DB_TIMEOUT,
        LOCK_TIMEOUT,
        Flag {
            long: "nginx-conf-flags",
            short: None,
            value: "FLAGS",
            help: "Taken for compatibility.",
        },
    ],
    run,
};

fn run(args: &Args) -> Result<()> {
    start(args, &args.load_conf()?)
}

/// Starts a node and waits for its first word.
pub(super) fn start(args: &Args, conf: &Conf) -> Result<()> {
    let prefix = Prefix::new(conf.prefix.clone());
    prefix.refuse_if_running()?;
    prefix.prepare(conf)?;
    if args.get("run-migrations").is_some() && conf.database == Database::Postgres {
        migrations::up(args, conf)?;
    }
    if !conf.daemon {
        return node::run(conf.clone(), &prefix, Console::Foreground);
    }
    let log = prefix.open_error_log(conf)?;
    let program = std::env::current_exe().context("can't find this program's own file")?;
    let given = args.get("conf").map(|file| ["--conf", file]);
    let mut node = Process::new(program)
        .arg(serve::VERB)
        .args(given.into_iter().flatten())
        .arg("--prefix")
        .arg(prefix.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("can't start the node's process")?;
    let said = match node.stdout.take() {
        Some(pipe) => first_words(BufReader::new(pipe))?,
        None => String::new(),
    };
    if said == Console::READY {
        println!("Silverback started");
        return Ok(());
    }
    let status = node.wait()?;
    match said.strip_prefix(Console::REFUSED) {
        Some(why) => bail!("{}", why.trim_end()),
        None => bail!(
            "the node ended before it answered ({status}); its last words are in {}",
            prefix.error_log(conf).display()
        ),
    }
}

/// What the node says: that it is ready, or all that it says until it is gone.
fn first_words(mut pipe: impl BufRead) -> Result<String> {
    let mut said = String::new();
    while said != Console::READY && pipe.read_line(&mut said)? > 0 {}
    Ok(said)
}
