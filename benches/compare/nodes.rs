//! A Silverback with an Admin API, to be changed while it serves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use silverback_e2e::gateway::free_port;
use silverback_e2e::http::{Connection, Request};
use silverback_e2e::process;

use crate::gateways::{self, SILVERBACK};
use crate::stage::{Running, Stage, ask, cpu_ns, tail};

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How often to ask for what is about to come.
const GLANCE: Duration = Duration::from_micros(200);

/// What a node is to run with, made before it starts.
pub(crate) struct Plan {
    /// Where it serves.
    pub(crate) proxy: u16,
    /// Where its Admin API is.
    pub(crate) admin: u16,
    binary: PathBuf,
    conf: PathBuf,
    key: String,
}

/// A node that runs.
pub(crate) struct Node {
    pub(crate) proxy: u16,
    pub(crate) admin: u16,
    /// Ends with this.
    pub(crate) running: Running,
    log: PathBuf,
}

impl Plan {
    /// A node with further lines of kong.conf, in a fresh prefix.
    pub(crate) fn new(stage: &Stage<'_>, lines: &str) -> Result<Plan> {
        let own = gateways::commands(stage).into_iter().find(|(name, _)| *name == SILVERBACK);
        let (_, binary) = own.context("there is no Silverback to measure")?;
        let (proxy, admin) = (free_port(), free_port());
        let key = format!("node-{proxy}");
        let prefix = stage.path(&key);
        std::fs::create_dir_all(&prefix)?;
        // Several addresses, so that a client has ports enough for many connections.
        let listen: Vec<_> = (1..=4).map(|n| format!("127.0.0.{n}:{proxy}")).collect();
        let conf = format!(
            "prefix = {}
proxy_listen = {}
admin_listen = 127.0.0.1:{admin}
status_listen = off
nginx_worker_processes = 1
nginx_daemon = off
proxy_access_log = off
admin_access_log = off
{lines}",
            prefix.display(),
            listen.join(", "),
        );
        let conf = stage.write(&format!("{key}.conf"), &conf)?;
        Ok(Plan { proxy, admin, binary: binary.to_owned(), conf, key })
    }

    /// Runs a command of the binary with the node's settings.
    pub(crate) fn command(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.binary);
        let output = command.args(args).arg("-c").arg(&self.conf).output()?;
        if !output.status.success() {
            bail!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Starts it, and waits until its Admin API answers.
    pub(crate) fn start(&self, stage: &Stage<'_>) -> Result<Node> {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n $(ulimit -Hn); exec \"$@\"", "sh"]);
        command.arg(&self.binary).arg("start").arg("-c").arg(&self.conf);
        let running = stage.run(&self.key, &stage.gateway_cores, &command)?;
        let log = stage.path(&format!("{}.log", self.key));
        let node = Node { proxy: self.proxy, admin: self.admin, running, log };
        node.until("the Admin API answers", || ask(node.admin, "/status", "") == Some(200))?;
        Ok(node)
    }
}

impl Node {
    /// A node that starts at once.
    pub(crate) fn start(stage: &Stage<'_>, lines: &str) -> Result<Node> {
        Plan::new(stage, lines)?.start(stage)
    }

    /// Waits until something is so: how long that took, in milliseconds.
    pub(crate) fn until(&self, what: &str, mut so: impl FnMut() -> bool) -> Result<f64> {
        let begin = Instant::now();
        while !so() {
            if !process::is_alive(self.running.pid()) || begin.elapsed() > PATIENCE {
                bail!("never: {what}\n{}", tail(&self.log));
            }
            std::thread::sleep(GLANCE);
        }
        Ok(milliseconds(begin.elapsed()))
    }

    /// Waits until a path is answered 200 by the proxy.
    pub(crate) fn until_served(&self, path: &str) -> Result<f64> {
        self.until(path, || ask(self.proxy, path, "") == Some(200))
    }

    pub(crate) fn connect(&self) -> Result<Connection> {
        let address = format!("127.0.0.1:{}", self.admin);
        Connection::open(&address, PATIENCE).map_err(|why| anyhow!("the Admin API: {why}"))
    }

    /// Makes the service `up`, the upstream of the stage.
    pub(crate) fn add_service(&self, stage: &Stage<'_>) -> Result<()> {
        let url = format!("http://127.0.0.1:{}", stage.upstream_port);
        let body = format!(r#"{{"name":"up","url":"{url}"}}"#);
        post(&mut self.connect()?, "/services", &body)
    }

    /// Resident memory in MB.
    pub(crate) fn resident_mb(&self) -> f64 {
        let pids = self.running.family().into_iter();
        pids.map(process::resident_bytes).sum::<u64>() as f64 / 1e6
    }

    /// CPU time so far, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> Result<f64> {
        Ok(cpu_ns(&self.running.family())? as f64 / 1e6)
    }

    /// Replaces the declarative configuration: how long that took, in milliseconds.
    pub(crate) fn replace(&self, file: &str) -> Result<f64> {
        let body = serde_json::json!({ "config": file }).to_string();
        let begin = Instant::now();
        post(&mut self.connect()?, "/config?check_hash=0", &body)?;
        Ok(milliseconds(begin.elapsed()))
    }

    /// Has it read its declarative file again.
    pub(crate) fn hang_up(&self) {
        process::signal("HUP", &self.running.family());
    }
}

/// Makes something by POST.
pub(crate) fn post(connection: &mut Connection, target: &str, body: &str) -> Result<()> {
    let request = Request::new("POST", target).header("Content-Type", "application/json");
    let answer = connection.ask(&request.body(body), true);
    let answer = answer.map_err(|why| anyhow!("POST {target}: {why}"))?;
    if answer.status != 201 {
        let start: String = body.chars().take(200).collect();
        bail!("POST {target} {start}: {} {}", answer.status, answer.text());
    }
    Ok(())
}

/// Writes a file and says where.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
