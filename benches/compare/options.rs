//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use silverback_e2e::setup::root;

use crate::results::Effort;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
usage: compare [PART]... [OPTION]...

parts (all of them unless named):
  proxy       bare proxying beside nginx and haproxy: 1 KiB, TLS, 64 KiB
  plugins     plugin servers in Go, JavaScript and Python, 0 to 20 PDK calls per request
  start       from start to the first answer with 10,000 routes; memory when idle
  key-auth    100 routes with key-auth, rate-limiting and 100 consumers beside bare proxying
  lua         plugins in Lua beside bare proxying: header-echo, 30 that do nothing, 20 PDK calls
  micro       each bundled plugin by itself, in memory
  routing     100,000 routes beside one, by flavour
  change      one route more, many anew, again and again, and what a steady client sees
  idle        the memory of 20,000 idle connections
  admin       entities made through the Admin API on SQLite and PostgreSQL; time until a new route
              is served; memory of routes and of a million consumers

options:
  --quick             two rounds of a second; results go to target/bench/
  --rounds N          rounds (5)
  --seconds N         seconds of load per measurement (2; plugins: 1)
  --connections LIST  connections of the load (64; plugins: 1,16,64)
  --only LIST         plugin servers: go, js, python, gevent
  --silverback FILE   the binary (SILVERBACK_BIN, or the one beside this program)
  --kong COMMAND      a Kong to measure as well, e.g. /usr/local/bin/kong
  --report            only write the report again, from the last results";

/// A part of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Bare proxying.
    Proxy,
    /// Plugin servers.
    Plugins,
    /// Start and memory.
    Start,
    /// Many routes with key-auth.
    KeyAuth,
    /// Plugins in Lua.
    Lua,
    /// Each bundled plugin by itself.
    Micro,
    /// Routing among many routes.
    Routing,
    /// Changes under load.
    Change,
    /// Idle connections.
    Idle,
    /// Writing through the Admin API.
    Admin,
}

/// What to measure, and how long.
#[derive(Debug)]
pub(crate) struct Options {
    /// The parts, in the order given.
    pub(crate) parts: Vec<Part>,
    /// Results that are not for keeping.
    pub(crate) quick: bool,
    /// How many rounds.
    pub(crate) rounds: usize,
    /// Seconds of load per measurement, if told.
    seconds: Option<u64>,
    /// Connections of the load; empty means each part's own.
    pub(crate) connections: Vec<usize>,
    /// Plugin servers to measure; empty means all.
    pub(crate) only: Vec<String>,
    /// Silverback's binary.
    pub(crate) silverback: PathBuf,
    /// Kong's command.
    pub(crate) kong: Option<PathBuf>,
    /// Measure nothing.
    pub(crate) report_only: bool,
}

impl Options {
    /// Reads the command line; `None` when it asks for help.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>> {
        let beside = std::env::current_exe()?.with_file_name("silverback");
        let mut options = Options {
            parts: Vec::new(),
            quick: false,
            rounds: 5,
            seconds: None,
            connections: Vec::new(),
            only: Vec::new(),
            silverback: std::env::var_os("SILVERBACK_BIN").map_or(beside, PathBuf::from),
            kong: None,
            report_only: false,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "-h" | "--help" => return Ok(None),
                "proxy" => options.parts.push(Part::Proxy),
                "plugins" => options.parts.push(Part::Plugins),
                "start" => options.parts.push(Part::Start),
                "lua" => options.parts.push(Part::Lua),
                "micro" => options.parts.push(Part::Micro),
                "key-auth" | "keyauth" | "rate-limiting" => options.parts.push(Part::KeyAuth),
                "routing" => options.parts.push(Part::Routing),
                "change" => options.parts.push(Part::Change),
                "idle" => options.parts.push(Part::Idle),
                "admin" => options.parts.push(Part::Admin),
                "--quick" => (options.quick, options.rounds, options.seconds) = (true, 2, Some(1)),
                "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
                "--seconds" => options.seconds = Some(value()?.parse().context("--seconds")?),
                "--connections" => options.connections = numbers(&value()?)?,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--silverback" => options.silverback = value()?.into(),
                "--kong" => options.kong = Some(value()?.into()),
                "--report" => options.report_only = true,
                _ => bail!("{arg:?} is no part and no option\n{USAGE}"),
            }
        }
        if options.rounds == 0 || options.seconds == Some(0) {
            bail!("--rounds and --seconds are at least 1");
        }
        if options.parts.is_empty() {
            options.parts = vec![
                Part::Proxy,
                Part::Plugins,
                Part::Start,
                Part::KeyAuth,
                Part::Lua,
                Part::Micro,
                Part::Routing,
                Part::Change,
                Part::Idle,
                Part::Admin,
            ];
        }
        Ok(Some(options))
    }

    /// How long a part is to measure that takes this many seconds unless told.
    pub(crate) fn effort(&self, seconds: u64) -> Effort {
        Effort { rounds: self.rounds, seconds: self.seconds.unwrap_or(seconds) }
    }

    /// Where the results go.
    pub(crate) fn directory(&self) -> PathBuf {
        root().join(if self.quick { Path::new("target/bench") } else { Path::new("docs") })
    }
}

fn numbers(list: &str) -> Result<Vec<usize>> {
    let number = |text: &str| match text.trim().parse() {
        Ok(number) if (1..=1000).contains(&number) => Ok(number),
        _ => bail!("{text:?} is no number of connections (1 to 1000)"),
    };
    list.split(',').map(number).collect()
}
