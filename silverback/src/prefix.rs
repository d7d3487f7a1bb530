//! The prefix: the directory where a node keeps its pid, logs, sockets and certificates.
//!
//! The layout is Kong's, so that scripts find what they know: `pids/nginx.pid`, `logs/`,
//! `.kong_env`, `ssl/`. What the gateway makes is readable by its owner alone.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    process::{Pid, Signal},
};

use crate::conf::{Conf, LogTarget};

/// A prefix directory.
#[derive(Debug, Clone)]
pub(crate) struct Prefix {
    path: PathBuf,
    /// Locked while this process is the node of the prefix.
    claimed: Arc<OnceLock<File>>,
}

/// The directory of request bodies that plugin servers read from files; nginx's name for it.
pub(crate) const BODY_DIRECTORY: &str = "client_body_temp";
/// How long a node that ends may still hold what the next one needs.
const LAST_MOMENTS: Duration = Duration::from_secs(10);
/// How often a wait looks again.
const GLANCE: Duration = Duration::from_millis(10);

impl Prefix {
    /// The prefix at a path, which need not exist yet.
    pub(crate) fn new(path: PathBuf) -> Prefix {
        Prefix { path, claimed: Arc::default() }
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a node in the background sends what it has to say: `proxy_error_log`, or the usual
    /// file where that is none.
    pub(crate) fn error_log(&self, conf: &Conf) -> PathBuf {
        match &conf.logs.proxy_error.target {
            LogTarget::File(path) => path.clone(),
            _ => self.path.join("logs/error.log"),
        }
    }

    /// Makes the directories, and removes sockets that a node killed here has left behind.
    pub(crate) fn prepare(&self, conf: &Conf) -> Result<()> {
        for folder in ["", "pids", "logs", "ssl", "sockets", BODY_DIRECTORY] {
            make_directory(&self.path.join(folder))?;
        }
        if let Some(folder) = self.error_log(conf).parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("can't make {} (proxy_error_log)", folder.display()))?;
        }
        self.remove_dead_sockets()
    }

    fn remove_dead_sockets(&self) -> Result<()> {
        for entry in fs::read_dir(self.path.join("sockets"))?.flatten() {
            if entry.file_type().is_ok_and(|t| t.is_socket()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The error log, opened to be a process's standard error.
    pub(crate) fn open_error_log(&self, conf: &Conf) -> Result<Stdio> {
        let path = self.error_log(conf);
        let file = append(&path).with_context(|| format!("can't write {}", path.display()))?;
        Ok(file.into())
    }

    /// The node's id: `kong.id`, made at the first start. `node_id` in the configuration wins.
    pub(crate) fn node_id(&self, configured: Option<&str>) -> Result<String> {
        if let Some(id) = configured {
            return Ok(id.to_owned());
        }
        let path = self.path.join("kong.id");
        let kept = fs::read_to_string(&path).unwrap_or_default();
        if let Ok(id) = uuid::Uuid::parse_str(kept.trim()) {
            return Ok(id.to_string());
        }
        let id = uuid::Uuid::new_v4().to_string();
        // A command may be the first to come here: `config db_import` in a job of its own.
        make_directory(&self.path)?;
        self.write("kong.id", id.as_bytes())?;
        Ok(id)
    }

    /// Writes a file whole or not at all, readable by its owner.
    pub(crate) fn write(&self, name: &str, contents: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let fresh = self.path.join(format!("{name}.new"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .with_context(|| format!("can't write {}", fresh.display()))?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&fresh, &path).with_context(|| format!("can't write {}", path.display()))
    }

    // === the running node ===

    fn pid_file(&self) -> PathBuf {
        self.path.join("pids/nginx.pid")
    }

    /// A lock that the node holds as long as its process lives. A pid says less: that of a node
    /// which was killed may be another process's, or nobody's to bury in a container without init.
    fn lock_file(&self) -> PathBuf {
        self.path.join("pids/lock")
    }

    /// Says that this process is the node of the prefix. Waits for one that is about to end.
    pub(crate) fn claim(&self) -> Result<()> {
        let deadline = Instant::now() + LAST_MOMENTS;
        let path = self.lock_file();
        let lock = append(&path).with_context(|| format!("can't write {}", path.display()))?;
        while flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            self.refuse_if_running()?;
            if Instant::now() >= deadline {
                bail!("another process holds {}: Silverback starts or ends there", path.display());
            }
            thread::sleep(GLANCE);
        }
        let _ = self.claimed.set(lock);
        self.write("pids/nginx.pid", format!("{}\n", std::process::id()).as_bytes())
    }

    /// Whether a process holds the lock; nothing if that can't be told.
    fn is_locked(&self) -> Option<bool> {
        let lock = append(&self.lock_file()).ok()?;
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Some(false),
            Err(Errno::WOULDBLOCK) => Some(true),
            Err(_) => None,
        }
    }

    /// Says that no node runs here any more.
    pub(crate) fn release(&self) {
        // A file that is gone already is as good as removed.
        let _ = fs::remove_file(self.pid_file());
    }

    /// The pid of the node that runs here.
    pub(crate) fn running_pid(&self) -> Option<Pid> {
        let pid = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        let pid = Pid::from_raw(pid)?;
        let is_there = || rustix::process::test_kill_process(pid).is_ok();
        self.is_locked().unwrap_or_else(is_there).then_some(pid)
    }

    /// An error if a node runs here.
    pub(crate) fn refuse_if_running(&self) -> Result<()> {
        match self.running_pid() {
            Some(pid) if pid.as_raw_nonzero().get() as u32 != std::process::id() => bail!(
                "Silverback is already running in {} (pid {})",
                self.path.display(),
                pid.as_raw_nonzero()
            ),
            _ => Ok(()),
        }
    }

    /// Sends a signal to the node that runs here; its pid.
    pub(crate) fn signal(&self, signal: Signal) -> Result<Pid> {
        let Some(pid) = self.running_pid() else {
            bail!("Silverback is not running in {}", self.path.display());
        };
        rustix::process::kill_process(pid, signal)
            .with_context(|| format!("can't signal the node, pid {}", pid.as_raw_nonzero()))?;
        Ok(pid)
    }

    /// Whether the node is gone within this time.
    pub(crate) fn wait_until_gone(&self, time: Duration) -> bool {
        wait_while(time, || self.running_pid().is_some())
    }

    /// Whether the process that was the node has ended within this time, to the last.
    pub(crate) fn wait_for_end(&self, pid: Pid, time: Duration) -> bool {
        wait_while(time, || self.running_pid() == Some(pid) || is_alive(pid))
    }

    // === reloads ===

    /// How many reloads the node has answered: the text of `pids/reloads`, and what came of the
    /// last one.
    pub(crate) fn reloads(&self) -> Reloads {
        let text = fs::read_to_string(self.path.join("pids/reloads")).unwrap_or_default();
        let (count, error) = text.split_once('\n').unwrap_or(("", ""));
        Reloads { count: count.parse().unwrap_or(0), error: error.trim().to_owned() }
    }

    /// Says what came of a reload.
    pub(crate) fn record_reload(&self, error: &str) -> Result<()> {
        let count = self.reloads().count + 1;
        self.write("pids/reloads", format!("{count}\n{error}").as_bytes())
    }

    /// Waits until the node has reloaded once more than `before`.
    pub(crate) fn wait_for_reload(&self, before: &Reloads) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let now = self.reloads();
            if now.count != before.count {
                return if now.error.is_empty() { Ok(()) } else { bail!("{}", now.error) };
            }
            if self.running_pid().is_none() {
                bail!("the node ended while it reloaded; see its error log");
            }
            if Instant::now() >= deadline {
                bail!("the node has not reloaded within a minute; see its error log");
            }
            thread::sleep(GLANCE);
        }
    }
}

/// How many reloads there have been, and what was wrong with the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reloads {
    count: u64,
    error: String,
}

/// Waits as long as something holds; whether it has come to an end within this time.
fn wait_while(time: Duration, holds: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while holds() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(GLANCE);
    }
    true
}

/// Whether a process runs: one that has ended may wait for long for whoever started it.
fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    match stat {
        Ok(stat) => !stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")),
        Err(_) => rustix::process::test_kill_process(pid).is_ok(),
    }
}

/// A directory that only its owner can look into; it may be there already.
fn make_directory(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("can't make the directory {}", folder.display()))
}

/// Opens a log file to add to.
pub(crate) fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(name: &str) -> Prefix {
        let path = std::env::temp_dir().join(format!("silverback-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("pids")).unwrap();
        Prefix::new(path)
    }

    #[test]
    fn the_node_id_stays() {
        let prefix = fresh("id");
        fs::remove_dir_all(prefix.path()).unwrap();
        let id = prefix.node_id(None).unwrap();
        assert_eq!(prefix.node_id(None).unwrap(), id);
        assert_eq!(prefix.node_id(Some("given")).unwrap(), "given");
    }

    #[test]
    fn a_dead_pid_is_no_running_node() {
        let prefix = fresh("pid");
        assert!(prefix.running_pid().is_none());
        prefix.write("pids/nginx.pid", b"999999999\n").unwrap();
        assert!(prefix.running_pid().is_none());
        // Nor is another process that has its pid by now.
        let own = format!("{}\n", std::process::id());
        prefix.write("pids/nginx.pid", own.as_bytes()).unwrap();
        assert!(prefix.running_pid().is_none());
        prefix.claim().unwrap();
        assert!(prefix.running_pid().is_some());
        prefix.release();
        assert!(prefix.running_pid().is_none());
    }

    #[test]
    fn a_reload_is_told_with_its_error() {
        let prefix = fresh("reload");
        let before = prefix.reloads();
        prefix.claim().unwrap();
        prefix.record_reload("").unwrap();
        prefix.wait_for_reload(&before).unwrap();
        let before = prefix.reloads();
        prefix.record_reload("kong.yml: line 3").unwrap();
        let error = prefix.wait_for_reload(&before).unwrap_err();
        assert_eq!(error.to_string(), "kong.yml: line 3");
    }
}
