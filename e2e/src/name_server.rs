//! A DNS server of a test's own: BIND's named, from Debian's packages.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::gateway::free_port;
use crate::process;
use crate::wait::wait_until;

/// A running name server that knows the zone `test`. It cannot say anything of the zone `broken`,
/// and refuses what lies in neither. Dropping it kills it.
pub struct NameServer {
    child: Child,
    port: u16,
    directory: PathBuf,
    serial: u32,
}

impl NameServer {
    /// Starts one. `records` are lines of a zone file: "a 60 A 10.0.0.1".
    pub fn start(records: &str) -> NameServer {
        let port = free_port();
        let directory = std::env::temp_dir().join(format!("sb-dns-{port}"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("named.conf"), conf(&directory, port)).unwrap();
        fs::write(directory.join("broken.zone"), "this is no zone\n").unwrap();
        write_zone(&directory, records, 1);
        let mut command = Command::new(program());
        command.arg("-f").arg("-n").arg("1").arg("-c").arg(directory.join("named.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|why| {
            panic!("named: {why}; `e2e/setup` installs it");
        });
        let server = NameServer { child, port, directory, serial: 1 };
        wait_until("named", Duration::from_secs(20), || server.knows(1));
        server
    }

    /// Its port on 127.0.0.1, for UDP and TCP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Replaces the records of its zone, and waits until it answers by them.
    pub fn set(&mut self, records: &str) {
        self.serial += 1;
        write_zone(&self.directory, records, self.serial);
        process::signal("HUP", &[self.child.id()]);
        let serial = self.serial;
        wait_until("the new zone", Duration::from_secs(20), || self.knows(serial));
    }

    /// Answers nothing any more, until [`NameServer::go_on`].
    pub fn pause(&self) {
        process::signal("STOP", &[self.child.id()]);
        // Its threads stop one after the other, and on a busy machine late.
        wait_until("named to stop", Duration::from_secs(20), || self.is_stopped());
    }

    /// Whether all its threads have stopped.
    fn is_stopped(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.child.id())) else {
            return false;
        };
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        })
    }

    /// Answers again.
    pub fn go_on(&self) {
        process::signal("CONT", &[self.child.id()]);
    }

    /// How often it was asked for a name, whatever the type.
    pub fn asked(&self, name: &str) -> usize {
        let log = fs::read_to_string(self.directory.join("queries.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(&format!("query: {name} IN "))).count()
    }

    /// Whether it has loaded the zone with this number.
    fn knows(&self, serial: u32) -> bool {
        let log = fs::read_to_string(self.directory.join("general.log")).unwrap_or_default();
        log.contains(&format!("zone test/IN: loaded serial {serial}\n")) && log.contains("running")
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Debian puts it where only root's PATH looks.
fn program() -> &'static str {
    let usual = "/usr/sbin/named";
    if fs::exists(usual).unwrap_or(false) { usual } else { "named" }
}

fn conf(directory: &std::path::Path, port: u16) -> String {
    let directory = directory.display();
    format!(
        "options {{ directory \"{directory}\"; listen-on port {port} {{ 127.0.0.1; }};
           listen-on-v6 {{ none; }}; recursion no; pid-file none; session-keyfile none;
           dnssec-validation no; notify no; minimal-responses yes; querylog yes;
           lock-file none; }};
         controls {{ }};
         logging {{
           channel queries {{ file \"queries.log\"; severity info; }};
           channel general {{ file \"general.log\"; severity info; }};
           category queries {{ queries; }};
           category default {{ general; }}; category general {{ general; }};
         }};
         zone \"test\" {{ type primary; file \"test.zone\"; }};
         zone \"broken\" {{ type primary; file \"broken.zone\"; }};\n"
    )
}

fn write_zone(directory: &std::path::Path, records: &str, serial: u32) {
    let mut zone = "$TTL 60\n$ORIGIN test.\n".to_owned();
    let _ = writeln!(zone, "@ IN SOA ns root {serial} 3600 600 86400 60\n@ IN NS ns");
    let _ = writeln!(zone, "ns IN A 127.0.0.1\n{records}");
    fs::write(directory.join("test.zone"), zone).unwrap();
}
