//! The command line: Kong's verbs and flags, a file per verb.

mod check;
mod config;
mod docker_start;
mod health;
mod migrations;
mod plugins;
mod prepare;
mod quit;
mod reload;
mod restart;
mod serve;
mod start;
mod stop;
mod vault;
mod version;

use std::{collections::HashMap, ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};

use crate::conf::{Conf, ENV_FILE, LoadArgs, Loaded};

/// A verb: what it is called, what it takes, what it does.
struct Command {
    name: &'static str,
    /// Words after the verb, as the usage line shows them.
    operands: &'static str,
    summary: &'static str,
    flags: &'static [Flag],
    run: fn(&Args) -> Result<()>,
}

/// A flag of a verb.
struct Flag {
    long: &'static str,
    short: Option<char>,
    /// What its value is called; empty for a switch.
    value: &'static str,
    help: &'static str,
}

const CONF: Flag =
    Flag { long: "conf", short: Some('c'), value: "FILE", help: "Configuration file." };
const PREFIX: Flag =
    Flag { long: "prefix", short: Some('p'), value: "DIR", help: "Override the prefix directory." };
const NGINX_CONF: Flag = Flag {
    long: "nginx-conf",
    short: None,
    value: "FILE",
    help: "Taken for compatibility: there is no nginx to configure.",
};

/// Every verb, in the order of the help text. Those without a summary are not shown.
const COMMANDS: &[Command] = &[
    start::COMMAND,
    stop::COMMAND,
    quit::COMMAND,
    restart::COMMAND,
    reload::COMMAND,
    health::COMMAND,
    check::COMMAND,
    prepare::COMMAND,
    config::COMMAND,
    migrations::COMMAND,
    plugins::COMMAND,
    vault::COMMAND,
    version::COMMAND,
    docker_start::COMMAND,
    serve::COMMAND,
];

/// What was written after the verb.
#[derive(Default)]
pub(crate) struct Args {
    values: HashMap<&'static str, String>,
    operands: Vec<String>,
}

impl Args {
    /// The value of a flag.
    fn get(&self, long: &str) -> Option<&str> {
        self.values.get(long).map(String::as_str)
    }

    /// Whether a switch was given.
    fn has(&self, long: &str) -> bool {
        self.values.contains_key(long)
    }

    /// The words that belong to no flag.
    fn operands(&self) -> &[String] {
        &self.operands
    }

    /// A number of seconds, or the default.
    fn seconds(&self, long: &str, default: u64) -> Result<Duration> {
        let Some(text) = self.get(long) else { return Ok(Duration::from_secs(default)) };
        let seconds: f64 =
            text.parse().ok().filter(|s: &f64| s.is_finite()).with_context(|| {
                format!("--{long} takes a number of seconds, and '{text}' is none")
            })?;
        Ok(Duration::from_secs_f64(seconds.max(0.0)))
    }

    /// The configuration that `-c`, `-p` and the environment name; warnings go to stderr.
    fn load_conf(&self) -> Result<Conf> {
        let Loaded { conf, warnings, notices } = self.load_conf_quietly()?;
        for warning in warnings {
            eprintln!("[warn] {warning}");
        }
        if self.has("v") || self.has("vv") {
            for notice in notices {
                eprintln!("[notice] {notice}");
            }
        }
        Ok(conf)
    }

    fn load_conf_quietly(&self) -> Result<Loaded> {
        Ok(Conf::load(&self.load_args())?)
    }

    fn load_args(&self) -> LoadArgs {
        let (conf, prefix) = (self.get("conf"), self.get("prefix"));
        LoadArgs::from_process(conf.map(PathBuf::from), prefix.map(PathBuf::from))
    }

    /// The configuration of the node in the prefix, as it was started; where there was none yet,
    /// that of [`Args::load_conf`].
    fn node_conf(&self) -> Result<Conf> {
        let conf = self.load_conf()?;
        if self.get("conf").is_none() && conf.prefix.join(ENV_FILE).exists() {
            return Ok(Conf::read_env_file(&conf.prefix)?);
        }
        Ok(conf)
    }

    /// The prefix of a node that should be running.
    fn running_prefix(&self) -> Result<crate::prefix::Prefix> {
        let args = LoadArgs { without_secrets: true, ..self.load_args() };
        let conf = Conf::load(&args)?.conf;
        if !conf.prefix.exists() {
            bail!("no such prefix: {}", conf.prefix.display());
        }
        Ok(crate::prefix::Prefix::new(conf.prefix))
    }
}

/// Runs the command line and says how it went.
pub(crate) fn run(words: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[OsString]) -> Result<()> {
    let Some(verb) = words.get(1) else {
        print!("{}", usage());
        return Ok(());
    };
    let verb = verb.to_string_lossy();
    match verb.as_ref() {
        "--help" | "-h" | "help" => {
            print!("{}", usage());
            return Ok(());
        }
        "--version" => return (version::COMMAND.run)(&Args::default()),
        _ => {}
    }
    let Some(command) = COMMANDS.iter().find(|c| c.name == verb) else {
        bail!("No such command: {verb}\n\n{}", usage());
    };
    match parse(command, &words[2..])? {
        Some(args) => (command.run)(&args),
        None => {
            print!("{}", command_usage(command));
            Ok(())
        }
    }
}

/// The arguments of a command, or none if its help was asked for.
fn parse(command: &Command, words: &[OsString]) -> Result<Option<Args>> {
    let mut args = Args::default();
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(arg) = parser.next()? {
        let flag = match &arg {
            lexopt::Arg::Value(word) => {
                args.operands.push(word.to_string_lossy().into_owned());
                continue;
            }
            lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => return Ok(None),
            lexopt::Arg::Short('v') | lexopt::Arg::Long("v") => {
                args.values.insert("v", String::new());
                continue;
            }
            lexopt::Arg::Long("vv") => {
                args.values.insert("vv", String::new());
                continue;
            }
            lexopt::Arg::Short(c) => command.flags.iter().find(|f| f.short == Some(*c)),
            lexopt::Arg::Long(name) => command.flags.iter().find(|f| f.long == *name),
        };
        let Some(flag) = flag else {
            bail!("{}\n\n{}", arg.unexpected(), command_usage(command));
        };
        let value =
            if flag.value.is_empty() { String::new() } else { parser.value()?.string_lossy() };
        args.values.insert(flag.long, value);
    }
    Ok(Some(args))
}

/// `OsString` to text, replacing what is not UTF-8.
trait StringLossy {
    fn string_lossy(self) -> String;
}

impl StringLossy for OsString {
    fn string_lossy(self) -> String {
        self.to_string_lossy().into_owned()
    }
}

fn usage() -> String {
    let mut text = String::from(
        "Usage: silverback COMMAND [OPTIONS]\n\n\
         An API gateway that runs what Kong Gateway runs.\n\n\
         The available commands are:\n",
    );
    for command in COMMANDS.iter().filter(|c| !c.summary.is_empty()) {
        text += &format!("  {:<14}{}\n", command.name, command.summary);
    }
    text += "\nOptions:\n  -h, --help    What a command takes.\n  -v, --v       Say more.\n  \
             --vv          Say much more.\n  --version     Print the version.\n";
    text
}

fn command_usage(command: &Command) -> String {
    let operands =
        if command.operands.is_empty() { String::new() } else { format!(" {}", command.operands) };
    let mut text =
        format!("Usage: silverback {}{operands} [OPTIONS]\n\n{}\n", command.name, command.summary);
    if !command.flags.is_empty() {
        text += "\nOptions:\n";
    }
    for flag in command.flags {
        let short = flag.short.map_or_else(|| "    ".to_owned(), |c| format!("-{c}, "));
        let names = format!("{short}--{} {}", flag.long, flag.value);
        text += &format!("  {:<26}{}\n", names.trim_end(), flag.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expect: &str) {
        let words: Vec<OsString> =
            std::iter::once("silverback").chain(words.iter().copied()).map(Into::into).collect();
        let said = dispatch(&words).map_or_else(|e| e.to_string(), |()| "fine".to_owned());
        assert!(said.starts_with(expect), "{words:?} said {said:?}");
    }

    #[test]
    fn mistakes_are_named() {
        check(&["strat"], "No such command: strat");
        check(&["stop", "--pefix", "x"], "invalid option '--pefix'");
        check(&["stop", "-p"], "missing argument for option '-p'");
        check(&["quit", "-p", "/nonexistent/prefix", "-t", "soon"], "no such prefix");
    }

    #[test]
    fn help_never_fails() {
        check(&["--help"], "fine");
        for command in COMMANDS {
            check(&[command.name, "--help"], "fine");
        }
    }

    #[test]
    fn a_command_is_listed_once() {
        for (i, command) in COMMANDS.iter().enumerate() {
            assert!(!COMMANDS[..i].iter().any(|c| c.name == command.name), "{}", command.name);
        }
    }
}
