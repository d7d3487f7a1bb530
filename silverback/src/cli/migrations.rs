//! `migrations`: the layout of the database (kong/cmd/migrations.lua).

use std::io::{BufRead, IsTerminal, Write};
use std::process::exit;
use std::time::Duration;

use anyhow::{Result, bail};
use silverback_store::postgres::migrations::{MigrationError, Migrations, Own, State};

use super::{Args, CONF, Command, Flag, PREFIX};
use crate::{conf::Conf, node};

pub(super) const COMMAND: Command = Command {
    name: "migrations",
    operands: "bootstrap | up | finish | list | status | reset",
    summary: "Make, update, show or remove the tables of a PostgreSQL database.",
    flags: &[
        Flag { long: "yes", short: Some('y'), value: "", help: "Assume yes; don't ask." },
        Flag { long: "quiet", short: Some('q'), value: "", help: "Say nothing." },
        Flag {
            long: "force",
            short: Some('f'),
            value: "",
            help: "Run what has run already; bootstrap removes everything first.",
        },
        Flag {
            long: "db-timeout",
            short: None,
            value: "SECONDS",
            help: "Longest time of each operation.",
        },
        Flag {
            long: "lock-timeout",
            short: None,
            value: "SECONDS",
            help: "How long to wait for another node that is at it (60).",
        },
        CONF,
        PREFIX,
    ],
    run,
};

/// What `list` ends with where something has to be done first, as Kong's does.
const NEEDS_BOOTSTRAP: i32 = 3;
const HAS_PENDING: i32 = 4;
const HAS_NEW: i32 = 5;

fn run(args: &Args) -> Result<()> {
    let [verb] = args.operands() else {
        bail!("expected one of: {}; see `migrations --help`", COMMAND.operands);
    };
    if !["bootstrap", "up", "finish", "list", "status", "reset"].contains(&verb.as_str()) {
        bail!("no such command for migrations: {verb}");
    }
    let conf = args.load_conf()?;
    match conf.settings.text("database") {
        Some("postgres") => {}
        Some("sqlite") => {
            println!("SQLite keeps its own layout up to date: there is nothing to do");
            return Ok(());
        }
        _ => bail!("there are no migrations without a database"),
    }
    let own = node::plugins::own_migrations(&conf)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_verb(args, verb, &conf, &own))
}

async fn run_verb(args: &Args, verb: &str, conf: &Conf, own: &[Own]) -> Result<()> {
    let mut server = node::database::server(conf)?;
    if let Some(limit) = seconds(args, "db-timeout")? {
        server.timeout = limit;
    }
    let lock = seconds(args, "lock-timeout")?.unwrap_or(Duration::from_secs(60));
    let say =
        if args.get("quiet").is_some() { |_: &str| () } else { |text: &str| println!("{text}") };
    let migrations = Migrations::new(server, &conf.plugins, own, say)?;
    let force = args.get("force").is_some();
    let done = match verb {
        "list" => return list(&migrations.state().await?, say),
        "status" => {
            println!("{}", migrations.state().await?.to_json());
            return Ok(());
        }
        "bootstrap" => {
            if force {
                migrations.reset(lock).await?;
            }
            migrations.bootstrap(lock).await
        }
        "up" => migrations.up(lock, force).await,
        "finish" => migrations.finish(lock).await,
        _ => return reset(args, &migrations, lock).await,
    };
    match done {
        // Whoever is at it does the work: that is no failure (kong/cmd/utils/migrations.lua).
        Err(error @ MigrationError::Locked) => {
            say(&error.to_string());
            Ok(())
        }
        done => Ok(done?),
    }
}

/// Makes or updates the tables before a start, if that is due (kong/cmd/start.lua). Where the
/// database can't be reached, the node says so itself, or does without.
pub(super) fn up(args: &Args, conf: &Conf) -> Result<()> {
    let mut server = node::database::server(conf)?;
    if let Some(limit) = seconds(args, "db-timeout")? {
        server.timeout = limit;
    }
    let lock = seconds(args, "lock-timeout")?.unwrap_or(Duration::from_secs(60));
    let own = node::plugins::own_migrations(conf)?;
    let migrations = Migrations::new(server, &conf.plugins, &own, |text| println!("{text}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match migrations.state().await {
            Err(MigrationError::Database(error)) if error.is_unreachable() => Ok(()),
            Ok(state) if !state.needs_bootstrap && state.new.is_none() => Ok(()),
            Ok(_) => match migrations.up(lock, false).await {
                Err(MigrationError::Locked) => Ok(()),
                done => Ok(done?),
            },
            Err(error) => Err(error.into()),
        }
    })
}

fn list(state: &State, say: fn(&str)) -> Result<()> {
    if state.needs_bootstrap {
        say(&MigrationError::NeedsBootstrap.to_string());
        exit(NEEDS_BOOTSTRAP);
    }
    let lists = [
        ("Executed migrations:", &state.executed),
        ("Pending migrations:", &state.pending),
        ("New migrations available:", &state.new),
    ];
    let shown = lists.iter().filter_map(|(title, names)| Some((title, names.as_ref()?)));
    let shown: Vec<String> = shown.map(|(title, names)| format!("{title}\n{names}")).collect();
    say(&shown.join("\n\n"));
    if state.pending.is_some() {
        say("\nRun 'silverback migrations finish' when ready");
        exit(HAS_PENDING);
    }
    if state.new.is_some() {
        say("\nRun 'silverback migrations up' to proceed");
        exit(HAS_NEW);
    }
    Ok(())
}

async fn reset(args: &Args, migrations: &Migrations, lock: Duration) -> Result<()> {
    if args.get("yes").is_none() {
        if !std::io::stdin().is_terminal() {
            bail!("not a tty: invoke 'reset' non-interactively with the --yes flag");
        }
        if !migrations.state().await?.needs_bootstrap && !confirmed()? {
            println!("cancelled");
            return Ok(());
        }
    }
    if !migrations.reset(lock).await? {
        exit(1);
    }
    Ok(())
}

/// Asks up to three times.
fn confirmed() -> Result<bool> {
    for _ in 0..3 {
        print!("> Are you sure? This operation is irreversible. [y/n] ");
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        match answer.trim() {
            "y" | "Y" | "yes" | "YES" => return Ok(true),
            "n" | "N" | "no" | "NO" => return Ok(false),
            _ => {}
        }
    }
    Ok(false)
}

fn seconds(args: &Args, flag: &str) -> Result<Option<Duration>> {
    let Some(text) = args.get(flag) else { return Ok(None) };
    let seconds = text.parse().ok().and_then(|n| Duration::try_from_secs_f64(n).ok());
    seconds.map(Some).ok_or_else(|| anyhow::anyhow!("--{flag} is no number of seconds: '{text}'"))
}
