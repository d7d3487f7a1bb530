//! A Redis of a test's own, from Debian's packages: nothing is kept on disk.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;

use crate::gateway::free_port;
use crate::wait::wait_until;

/// A running Redis. Dropping it kills it.
pub struct Redis {
    child: Child,
    port: u16,
    tls_port: u16,
    password: String,
    directory: PathBuf,
}

impl Redis {
    /// Starts one, with a password unless it is empty. It talks TLS on a port of its own, with the
    /// certificate [`Redis::certificate`].
    pub fn start(password: &str) -> Redis {
        let (port, tls_port) = (free_port(), free_port());
        Redis::start_at(password, port, tls_port)
    }

    /// Starts one on these ports.
    pub fn start_at(password: &str, port: u16, tls_port: u16) -> Redis {
        let directory = std::env::temp_dir().join(format!("sb-redis-{port}"));
        std::fs::create_dir_all(&directory).unwrap();
        let key = directory.join("key.pem");
        std::fs::write(&key, private_key()).unwrap();
        let (port_text, tls_text) = (port.to_string(), tls_port.to_string());
        let mut command = Command::new("redis-server");
        command.args(["--port", &port_text, "--tls-port", &tls_text, "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--tls-auth-clients", "no"]);
        command.arg("--tls-cert-file").arg(Redis::certificate());
        command.arg("--tls-key-file").arg(&key);
        if !password.is_empty() {
            command.args(["--requirepass", password]);
        }
        command.current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().unwrap_or_else(|why| {
            panic!("redis-server: {why}; `e2e/setup` installs it");
        });
        let password = password.to_owned();
        let redis = Redis { child, port, tls_port, password, directory };
        wait_until("redis-server", Duration::from_secs(10), || redis.ask("PING") == "PONG");
        redis
    }

    /// The port in clear.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port with TLS.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// The certificate that it shows: for localhost and `upstream.test`, signed by itself.
    pub fn certificate() -> PathBuf {
        conformance("tls.crt")
    }

    /// What a command answers, as redis-cli prints it.
    pub fn ask(&self, command: &str) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &self.port.to_string()]);
        if !self.password.is_empty() {
            cli.args(["--no-auth-warning", "-a", &self.password]);
        }
        let output = cli.args(command.split_whitespace()).output();
        let output = output.unwrap_or_else(|why| {
            panic!("redis-cli: {why}; `e2e/setup` installs it");
        });
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The key that goes with `conformance/tls.crt`, PEM.
pub fn private_key() -> Vec<u8> {
    let pems = std::fs::read_to_string(conformance("pems.json")).unwrap();
    let pems: serde_json::Value = serde_json::from_str(&pems).unwrap();
    let key = pems["upstream"].as_str().unwrap();
    base64::engine::general_purpose::STANDARD.decode(key).unwrap()
}

fn conformance(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "conformance", name].iter().collect()
}
