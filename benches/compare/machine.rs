//! Where the figures were taken.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};
use silverback_e2e::setup;

use crate::results::On;
use crate::stage::Stage;

/// The machine, and the versions of what ran on it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) cpu: String,
    /// How many cores.
    pub(crate) cores: usize,
    /// Memory in MiB.
    pub(crate) memory_mib: u64,
    /// The kernel's version.
    pub(crate) kernel: String,
    /// The day, in UTC.
    pub(crate) day: String,
    /// The load average of the last minute, at the start: what else there was to do.
    pub(crate) load: f64,
    /// Versions by name.
    pub(crate) versions: BTreeMap<String, String>,
}

impl Machine {
    /// A result taken on this machine.
    pub(crate) fn with<T>(&self, result: T) -> On<T> {
        On { machine: self.clone(), result }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, memory_mib, kernel, day, load, versions } = self;
        write!(f, "{cores} × {cpu}, {memory_mib} MiB, Linux {kernel}, {day}, load {load:.2}")?;
        for (name, version) in versions {
            write!(f, "; {name} {version}")?;
        }
        Ok(())
    }
}

/// Looks at the machine.
pub(crate) fn facts(stage: &Stage<'_>) -> Machine {
    let field = |path: &str, name: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split(':').nth(1).unwrap_or_default().trim().to_owned()
    };
    let memory = field("/proc/meminfo", "MemTotal");
    let memory_kib = memory.split(' ').next().and_then(|text| text.parse::<u64>().ok());
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut machine = Machine {
        cpu: field("/proc/cpuinfo", "model name"),
        // Those of the machine: this program keeps to some of them.
        cores: cpus.lines().filter(|line| line.starts_with("processor")).count(),
        memory_mib: memory_kib.unwrap_or(0) / 1024,
        kernel: first_line("uname", &["-r"]),
        day: first_line("date", &["-u", "+%F"]),
        load: load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
        versions: BTreeMap::new(),
    };
    let silverback = stage.options.silverback.display().to_string();
    let root = setup::root().display().to_string();
    let versions: [(&str, &str, &[&str]); 8] = [
        ("silverback", &silverback, &["version", "-a"]),
        ("commit", "git", &["-C", &root, "rev-parse", "--short", "HEAD"]),
        ("nginx", "nginx", &["-v"]),
        ("haproxy", "haproxy", &["-v"]),
        ("wrk", "wrk", &["-v"]),
        ("go", "go", &["env", "GOVERSION"]),
        ("node", "node", &["--version"]),
        ("python", "python3", &["--version"]),
    ];
    for (name, command, args) in versions {
        let lines = printed(command, args);
        // Silverback prints the version of Kong that it stands for, and its own.
        let own = lines.lines().find(|line| line.to_lowercase().starts_with(name));
        let line = own.or(lines.lines().next()).unwrap_or_default();
        if !line.is_empty() {
            machine.versions.insert(name.to_owned(), short(line));
        }
    }
    machine
}

fn first_line(command: &str, args: &[&str]) -> String {
    printed(command, args).lines().next().unwrap_or_default().trim().to_owned()
}

/// What a command prints, on whichever output; empty if it can't be run.
fn printed(command: &str, args: &[&str]) -> String {
    let Ok(output) = Command::new(command).args(args).output() else { return String::new() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// The word that holds the version.
fn short(line: &str) -> String {
    let word = line.split(' ').find(|word| word.contains(|c: char| c.is_ascii_digit()));
    let word = word.unwrap_or(line);
    word.rsplit('/').next().unwrap_or(word).to_owned()
}
