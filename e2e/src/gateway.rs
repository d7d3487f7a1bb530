//! A gateway in a prefix of its own, on ports of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use crate::http::{Answer, NoAnswer, Request, send};
use crate::wait::{PATIENCE, wait_until};
use crate::{process, setup};

/// What a gateway is to be started with.
pub struct Builder {
    prefix: PathBuf,
    directory: PathBuf,
    settings: BTreeMap<String, String>,
    ports: Ports,
}

/// The ports of a gateway's listeners.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// The proxy in plain text.
    pub proxy: u16,
    /// The proxy with TLS.
    pub proxy_ssl: u16,
    /// The Admin API.
    pub admin: u16,
}

/// A running gateway. Dropping it stops it and kills whatever of it is left; when the test has
/// failed, the end of its log is printed.
pub struct Gateway {
    prefix: PathBuf,
    directory: PathBuf,
    settings: BTreeMap<String, String>,
    ports: Ports,
    keep_prefix: bool,
}

/// The kinds of entities at the top, those that refer to others first. The rest goes with them.
const KINDS: [&str; 11] = [
    "plugins",
    "routes",
    "services",
    "snis",
    "upstreams",
    "certificates",
    "ca_certificates",
    "consumers",
    "vaults",
    "keys",
    "key-sets",
];

impl Builder {
    /// A DB-less gateway without access log, with one worker.
    #[expect(clippy::new_without_default, reason = "it makes a directory and takes ports")]
    pub fn new() -> Builder {
        let ports = Ports { proxy: free_port(), proxy_ssl: free_port(), admin: free_port() };
        let prefix = make_prefix();
        let directory = PathBuf::from(".");
        let builder = Builder { prefix, directory, settings: BTreeMap::new(), ports };
        builder
            .set("proxy_listen", &format!("127.0.0.1:{}, {} ssl", ports.proxy, at(ports.proxy_ssl)))
            .set("admin_listen", &at(ports.admin))
            .set("admin_gui_listen", "off")
            .set("status_listen", "off")
            .set("nginx_worker_processes", "1")
            .set("proxy_access_log", "off")
            .set("admin_access_log", "off")
            .set("anonymous_reports", "off")
            .set("log_level", "info")
            .set("worker_consistency", "strict")
            .set("db_update_frequency", "0.5")
            .set("database", "off")
    }

    /// Sets a configuration key, as `KONG_NAME` in the environment.
    pub fn set(self, name: &str, value: &str) -> Builder {
        self.environment(&format!("KONG_{}", name.to_uppercase()), value)
    }

    /// Starts it in that directory rather than the tests'.
    pub fn directory(mut self, directory: &Path) -> Builder {
        self.directory = directory.to_owned();
        self
    }

    /// Sets an environment variable as it stands.
    pub fn environment(mut self, name: &str, value: &str) -> Builder {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// Adds a plugin server under `pluginserver_names`, with its properties.
    pub fn plugin_server(self, name: &str, socket: &str, start: &str, query: &str) -> Builder {
        let names = self.settings.get("KONG_PLUGINSERVER_NAMES").cloned();
        let names = names.map_or(name.into(), |names| format!("{names},{name}"));
        let key = |property: &str| format!("pluginserver_{}_{property}", name.replace('-', "_"));
        let mut builder = self.set("pluginserver_names", &names);
        for (property, value) in [("socket", socket), ("start_cmd", start), ("query_cmd", query)] {
            if !value.is_empty() {
                builder = builder.set(&key(property), value);
            }
        }
        builder
    }

    /// Writes the declarative configuration that the gateway starts with.
    pub fn declarative(self, yaml: &str) -> Builder {
        let file = self.prefix.join("kong.yml");
        fs::write(&file, yaml).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
        self.set("declarative_config", &file.display().to_string())
    }

    /// The prefix, which exists from now on.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The listeners' ports.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// The environment variables that it will have.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// Starts the gateway and waits until it answers. Panics with what it said if it does not.
    pub fn start(self) -> Gateway {
        self.try_start().unwrap_or_else(|why| panic!("the gateway did not start: {why}"))
    }

    /// Starts the gateway; what it printed, if it does not start.
    pub fn try_start(self) -> Result<Gateway, String> {
        let Builder { prefix, directory, settings, ports } = self;
        let gateway = Gateway { prefix, directory, settings, ports, keep_prefix: false };
        let output = gateway.command("start");
        if !output.status.success() {
            return Err(said(&output) + &gateway.log_tail());
        }
        Ok(gateway)
    }
}

impl Gateway {
    /// The proxy's address in plain text.
    pub fn proxy(&self) -> String {
        at(self.ports.proxy)
    }

    /// The proxy's address with TLS.
    pub fn proxy_ssl(&self) -> String {
        at(self.ports.proxy_ssl)
    }

    /// The Admin API's address.
    pub fn admin(&self) -> String {
        at(self.ports.admin)
    }

    /// The ports.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// The prefix.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// Sends a request through the proxy.
    pub fn send(&self, request: &Request) -> Result<Answer, NoAnswer> {
        send(&self.proxy(), request)
    }

    /// A GET through the proxy. Panics when there is no answer.
    pub fn get(&self, target: &str) -> Answer {
        self.send(&Request::get(target)).unwrap_or_else(|why| panic!("GET {target}: {why}"))
    }

    /// A request to the Admin API. Panics when there is no answer.
    pub fn ask_admin(&self, request: &Request) -> Answer {
        let target = &request.target;
        send(&self.admin(), request).unwrap_or_else(|why| panic!("admin {target}: {why}"))
    }

    /// Replaces the whole declarative configuration through the Admin API.
    pub fn load(&self, yaml: &str) -> Result<(), String> {
        let body = serde_json::json!({ "config": yaml }).to_string();
        let request = Request::new("POST", "/config").header("Content-Type", "application/json");
        let answer = send(&self.admin(), &request.body(body)).map_err(|why| why.to_string())?;
        match answer.status {
            200 | 201 => Ok(()),
            status => Err(format!("POST /config answered {status}: {}", answer.text())),
        }
    }

    /// Deletes every entity of a gateway with a database, through the Admin API.
    pub fn clear(&self) -> Result<(), String> {
        for kind in KINDS {
            loop {
                let list = self.ask_admin(&Request::get(&format!("/{kind}?size=1000")));
                let list = list.json();
                let Some(entities) = list["data"].as_array() else {
                    return Err(format!("GET /{kind} answered {list}"));
                };
                if entities.is_empty() {
                    break;
                }
                for entity in entities {
                    let target = format!("/{kind}/{}", entity["id"].as_str().unwrap_or_default());
                    let answer = self.ask_admin(&Request::new("DELETE", &target));
                    if answer.status != 204 {
                        return Err(format!("DELETE {target}: {}", answer.text()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits until the proxy answers a GET of `target` with `status`.
    pub fn wait_status(&self, target: &str, status: u16) {
        let what = format!("GET {target} to be {status}");
        let got = || self.send(&Request::get(target)).is_ok_and(|answer| answer.status == status);
        wait_until(&what, PATIENCE, got);
    }

    /// Runs a command of the gateway's binary on this prefix, e.g. `reload`.
    pub fn command(&self, name: &str) -> Output {
        // Output goes to a file: a daemon that keeps a pipe open would hold us here for ever.
        let file = |end: &str| self.prefix.join(format!("{name}.{end}"));
        let make = |end: &str| {
            let path = file(end);
            fs::File::create(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
        };
        let status = Command::new(setup::gateway())
            .args([name, "-p"])
            .arg(&self.prefix)
            .current_dir(&self.directory)
            .env_clear()
            .envs(std::env::vars_os().filter(|(key, _)| !key.to_string_lossy().starts_with("KONG")))
            .envs(&self.settings)
            .stdin(Stdio::null())
            .stdout(make("stdout"))
            .stderr(make("stderr"))
            .status();
        let status = status.unwrap_or_else(|err| panic!("running the gateway: {err}"));
        let read = |end: &str| fs::read(file(end)).unwrap_or_default();
        Output { status, stdout: read("stdout"), stderr: read("stderr") }
    }

    /// The pid of the gateway's main process, as its pid file under the prefix says.
    pub fn pid(&self) -> u32 {
        let file = self.prefix.join("pids/nginx.pid");
        let text = fs::read_to_string(&file).unwrap_or_default();
        text.trim().parse().unwrap_or_else(|_| panic!("no pid in {}: {text:?}", file.display()))
    }

    /// The pids of plugin servers whose command line contains `text`.
    pub fn servers(&self, text: &str) -> Vec<u32> {
        process::below(self.pid(), text)
    }

    /// The gateway's error log so far.
    pub fn log(&self) -> String {
        let raw = fs::read(self.prefix.join("logs/error.log")).unwrap_or_default();
        String::from_utf8_lossy(&raw).into_owned()
    }

    /// Waits until the error log contains `text`.
    pub fn wait_log(&self, text: &str) {
        wait_until(&format!("{text:?} in the log"), PATIENCE, || self.log().contains(text));
    }

    /// Keeps the prefix when the gateway ends, for a second start with [`Gateway::command`].
    pub fn keep_prefix(&mut self) {
        self.keep_prefix = true;
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(60)..];
        format!("\n--- {}/logs/error.log\n{}\n", self.prefix.display(), tail.join("\n"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        if self.prefix.join("pids").exists() {
            self.command("stop");
        }
        // Whatever is left after a stop is a defect, but not one that later tests should suffer.
        process::signal("KILL", &process::of_prefix(&self.prefix));
        if !self.keep_prefix {
            let _ = fs::remove_dir_all(&self.prefix);
        }
    }
}

/// What a command printed.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// A fresh directory. Unix socket paths are short, so it stands right under the temporary one. No
/// name is the start of another: processes are found by it ([`process::of_prefix`]).
fn make_prefix() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("sb-{}-{:04}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    fs::create_dir_all(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    path
}

/// A port nobody listens on, never given twice by this process, and below those that the kernel
/// gives to outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 600 * 20) as u16;
    for _ in 0..12_000 {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 20000 and 32000");
}
