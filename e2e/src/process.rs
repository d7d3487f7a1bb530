//! Processes as the kernel tells of them: who runs, how much memory they hold, and an end to them.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The processes whose command line or environment names `path`, this process left out.
pub fn of_prefix(path: &Path) -> Vec<u32> {
    let path = path.display().to_string();
    all().filter(|pid| *pid != std::process::id() && mentions(*pid, &path)).collect()
}

/// The processes that run under `parent`, at any depth, whose command line contains `text`.
pub fn below(parent: u32, text: &str) -> Vec<u32> {
    let mut family = vec![parent];
    let everyone: Vec<(u32, u32)> = all().filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let mut known = 0;
    while known < family.len() {
        let head = family[known];
        family.extend(everyone.iter().filter(|(_, parent)| *parent == head).map(|(pid, _)| *pid));
        known += 1;
    }
    family.retain(|pid| *pid != parent && command_line(*pid).contains(text));
    family
}

/// Resident memory of a process in bytes, 0 when it is gone.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Whether a process runs (a zombie does not).
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
}

/// Whether anything is left of a process: one of several threads that was killed is a zombie before
/// the last of them, and its sockets with it, has gone.
pub fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Sends a signal, e.g. `KILL`, to processes. One that is gone already is no error.
pub fn signal(name: &str, pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).args(pids.iter().map(u32::to_string));
    let _ = kill.stderr(std::process::Stdio::null()).status();
}

/// The command line of a process, its arguments joined by spaces; empty when it is gone.
pub fn command_line(pid: u32) -> String {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&raw).replace('\0', " ")
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

fn mentions(pid: u32, path: &str) -> bool {
    let in_environment = || {
        let raw = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&raw).contains(path)
    };
    command_line(pid).contains(path) || in_environment()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_below_its_parent_until_it_is_killed() {
        let mut child = Command::new("sleep").arg("87.5").spawn().unwrap();
        assert_eq!(below(std::process::id(), "sleep 87.5"), [child.id()]);
        assert!(is_alive(child.id()));
        assert!(resident_bytes(child.id()) > 0);
        signal("KILL", &[child.id()]);
        child.wait().unwrap();
        assert!(!is_alive(child.id()));
        assert_eq!(resident_bytes(child.id()), 0);
    }
}
