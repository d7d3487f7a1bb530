//! How a plugin server is: for /status, metrics, and those who wait for it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use serde::Serialize;

use crate::server::{Facts, Server};

/// What a server does right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It has been started and does not listen yet: requests wait for it.
    Starting,
    /// It listens.
    Running,
    /// It listens, and one that will replace it is being started.
    Reloading,
    /// It ended and will be started again in a moment.
    BackingOff,
    /// It has ended again and again soon after each start; attempts go on, seconds apart.
    CrashLoop,
    /// It was told to stop.
    Stopped,
    /// Somebody else runs it; the gateway only connects.
    External,
}

/// What has happened on a server since the gateway started.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) events: AtomicU64,
    pub(crate) calls: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// What /status shows of a server.
#[derive(Debug, Clone, Serialize)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// What it does right now.
    pub state: Condition,
    /// "MsgPack:1" or "ProtoBuf:1".
    pub protocol: &'static str,
    /// The plugins it offers.
    pub plugins: Vec<String>,
    /// Where it listens.
    pub socket: String,
    /// Its process.
    pub pid: Option<u32>,
    /// Memory of the process that is resident, bytes.
    pub rss: Option<u64>,
    /// When it came up, seconds since 1970.
    pub up_since: Option<u64>,
    /// How often it was started again after it had ended.
    pub restarts: u64,
    /// Instances in use.
    pub instances: usize,
    /// Events it was given.
    pub events: u64,
    /// Calls of PDK functions it made.
    pub calls: u64,
    /// Events that failed.
    pub failures: u64,
    /// Events that failed because it did not answer in time.
    pub timeouts: u64,
    /// Events that were refused because too many waited.
    pub refused: u64,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
}

impl ServerStatus {
    pub(crate) fn of(server: &Server, facts: &Facts, instances: usize) -> ServerStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &server.counts;
        let path =
            server.current().map_or_else(|| server.config.socket.clone(), |g| g.path.clone());
        ServerStatus {
            name: server.config.name.clone(),
            state: server.condition(),
            protocol: server.protocol.name(),
            plugins: server.plugins.clone(),
            socket: path.display().to_string(),
            pid: facts.pid,
            rss: facts.pid.and_then(resident),
            up_since: facts.up_since.and_then(seconds),
            restarts: facts.restarts,
            instances,
            events: count(&counts.events),
            calls: count(&counts.calls),
            failures: count(&counts.failures),
            timeouts: count(&counts.timeouts),
            refused: count(&counts.refused),
            last_error: facts.last_error.clone(),
        }
    }
}

fn seconds(time: SystemTime) -> Option<u64> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The resident memory of a process in bytes, as /proc says in KiB.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
