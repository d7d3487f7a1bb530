//! Where a measurement takes place: a directory, cores, and processes that end with it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use silverback_e2e::process;

use crate::certificate;
use crate::options::Options;
use crate::upstream;

/// How long a process may take until it answers.
const READY_MAX: Duration = Duration::from_secs(20);
/// How long a process may take to end before it is killed.
const END_MAX: Duration = Duration::from_secs(3);

/// What all measurements share.
pub(crate) struct Stage<'a> {
    /// The command line.
    pub(crate) options: &'a Options,
    /// A directory of our own, which goes when the stage goes.
    pub(crate) directory: PathBuf,
    /// The core of the gateway under test, as `taskset` wants it.
    pub(crate) gateway_cores: String,
    /// The cores of everything else.
    pub(crate) other_cores: String,
    /// Where the upstream listens.
    pub(crate) upstream_port: u16,
    upstream: Option<Running>,
    keep: bool,
}

impl<'a> Stage<'a> {
    /// Makes the directory and a certificate, and starts the upstream.
    pub(crate) fn new(options: &'a Options) -> Result<Stage<'a>> {
        let directory = std::env::temp_dir().join(format!("sb-bench-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let cores = std::thread::available_parallelism()?.get();
        let (gateway_cores, other_cores) = match cores {
            1 => ("0".into(), "0".into()),
            2 => ("1".into(), "0".into()),
            _ => (format!("{}", cores - 1), format!("0-{}", cores - 2)),
        };
        if cores == 1 {
            eprintln!("warning: with one core the load disturbs what it measures");
        }
        // Clients that are threads of this program leave the gateway its core, too.
        let own = std::process::id().to_string();
        let _ = Command::new("taskset").args(["-apc", &other_cores, &own]).output();
        let upstream_port = silverback_e2e::gateway::free_port();
        let mut stage = Stage {
            options,
            directory,
            gateway_cores,
            other_cores,
            upstream_port,
            upstream: None,
            keep: false,
        };
        certificate::write(&stage.directory)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([upstream::VERB, &upstream_port.to_string()]);
        let running = stage.run("upstream", &stage.other_cores, &command)?;
        running.wait_until("answers", || ask(upstream_port, "/", "") == Some(200))?;
        stage.upstream = Some(running);
        Ok(stage)
    }

    /// Keeps the directory, with what everyone has logged, for a look at what went wrong.
    pub(crate) fn keep_if(&mut self, failed: bool) {
        self.keep = failed;
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file in the directory.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Starts a process on some cores. What it prints goes to `NAME.log`. It ends with us, also
    /// when we are killed.
    pub(crate) fn run(&self, name: &str, cores: &str, command: &Command) -> Result<Running> {
        let log = self.path(&format!("{name}.log"));
        let output = File::create(&log)?;
        let mut pinned = pinned(cores, command);
        pinned.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = pinned.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Running { child, name: name.to_owned(), log })
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.upstream = None;
        if self.keep {
            eprintln!("configurations and logs are kept in {}", self.directory.display());
            return;
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The command on some cores, to be ended when this process ends.
pub(crate) fn pinned(cores: &str, command: &Command) -> Command {
    let mut pinned = Command::new("setpriv");
    pinned.args(["--pdeathsig", "TERM", "taskset", "-c", cores]);
    pinned.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            pinned.env(key, value);
        }
    }
    pinned
}

/// A process and those below it. Dropping it ends them.
pub(crate) struct Running {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Running {
    /// The pid.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process and all below it.
    pub(crate) fn family(&self) -> Vec<u32> {
        family(self.pid())
    }

    /// Waits until `ready`, or fails with what the process printed.
    pub(crate) fn wait_until(&self, what: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + READY_MAX;
        while !ready() {
            if !process::is_alive(self.pid()) || Instant::now() > deadline {
                bail!("{} never {what}:\n{}", self.name, tail(&self.log));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let family = self.family();
        process::signal("TERM", &family);
        let deadline = Instant::now() + END_MAX;
        while family.iter().any(|pid| process::is_alive(*pid)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let left: Vec<u32> = family.into_iter().filter(|pid| process::is_alive(*pid)).collect();
        process::signal("KILL", &left);
        let _ = self.child.wait();
    }
}

/// A process and all below it.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    pids.extend(process::below(pid, ""));
    pids
}

/// CPU time that processes have used so far, in nanoseconds, ended threads included: what the
/// scheduler has counted, not ticks.
pub(crate) fn cpu_ns(pids: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for pid in pids {
        let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(*pid)?))
            .with_context(|| format!("the CPU clock of process {pid}"))?;
        sum += clock_ns(clock)?;
    }
    Ok(sum)
}

/// CPU time that this process has used so far, in nanoseconds.
pub(crate) fn own_cpu_ns() -> Result<u64> {
    clock_ns(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock_ns(clock: ClockId) -> Result<u64> {
    let time = Duration::from(clock.now()?);
    Ok(u64::try_from(time.as_nanos())?)
}

/// Asks a local port for a path, with further header lines; the status of the answer.
pub(crate) fn ask(port: u16, path: &str, headers: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n{headers}");
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).ok()?;
    std::str::from_utf8(status.get(9..)?).ok()?.parse().ok()
}

/// The last lines of a file.
pub(crate) fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
