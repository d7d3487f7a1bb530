//! The plugin servers, each with the plugin of its language in `benches/plugins`.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use silverback_e2e::setup::{env, js_server, python_server, root};

use crate::frames::Wire;
use crate::pingpong::Game;
use crate::stage::{Running, Stage};

/// What is known of a server before it runs.
pub(crate) struct Kind {
    /// Its name for `--only`.
    pub(crate) key: &'static str,
    /// Its name in tables.
    pub(crate) label: &'static str,
    /// Its protocol.
    pub(crate) wire: Wire,
    /// The plugin in it.
    pub(crate) plugin: &'static str,
    /// What Kong 3.10 was seen to take with it, where it was measured.
    pub(crate) kong: Option<Kong>,
}

/// CPU time of Kong 3.10 with one worker on a comparable machine, in microseconds.
pub(crate) struct Kong {
    /// Of a request for having the plugin, beside plain proxying.
    pub(crate) plugin_us: f64,
    /// Of a call.
    pub(crate) call_us: f64,
    /// The plugin server's, of a call.
    pub(crate) server_us: f64,
    /// Requests per second at 64 connections, by calls.
    pub(crate) rates: &'static [(usize, f64)],
}

/// Kong's plain proxying, in microseconds: between 15 and 20.
pub(crate) const KONG_PLAIN_US: f64 = 17.5;

/// All servers.
pub(crate) const KINDS: [Kind; 4] = [
    Kind {
        key: "go",
        label: "Go",
        wire: Wire::ProtoBuf,
        plugin: "bench-go",
        kong: Some(Kong {
            plugin_us: 40.0,
            call_us: 10.8,
            server_us: 9.1,
            rates: &[(0, 7946.0), (5, 3326.0), (20, 1956.0)],
        }),
    },
    Kind {
        key: "js",
        label: "JavaScript",
        wire: Wire::MsgPack,
        plugin: "bench-js",
        kong: Some(Kong { plugin_us: 58.0, call_us: 34.0, server_us: 32.0, rates: &[] }),
    },
    Kind {
        key: "python",
        label: "Python, threads",
        wire: Wire::MsgPack,
        plugin: "bench-py",
        kong: Some(Kong { plugin_us: 107.0, call_us: 45.0, server_us: 118.0, rates: &[] }),
    },
    Kind {
        key: "gevent",
        label: "Python, gevent",
        wire: Wire::MsgPack,
        plugin: "bench-py",
        kong: None,
    },
];

/// The server of this key.
pub(crate) fn kind(key: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.key == key)
}

/// A server that runs.
pub(crate) struct Server {
    kind: &'static Kind,
    socket: PathBuf,
    query: String,
    /// Its process.
    pub(crate) running: Running,
}

impl Server {
    /// Starts a server on the cores beside the gateway's, and waits until it listens.
    pub(crate) fn start(stage: &Stage<'_>, kind: &'static Kind) -> Result<Server> {
        let prefix = stage.directory.display().to_string();
        let plugins = |name: &str| root().join("benches/plugins").join(name).display().to_string();
        let (program, args, socket, dump) = match kind.key {
            "go" => {
                let program = build_go(&plugins("go"))?;
                let socket = format!("{}.socket", kind.plugin);
                (program, vec!["-kong-prefix".into(), prefix], socket, "-dump".to_owned())
            }
            "js" => {
                let directory = plugins("js");
                let dump = format!("-d {directory} --dump-all-plugins");
                let args = vec!["-p".into(), prefix, "-d".into(), directory];
                (js_server(), args, "js_pluginserver.sock".into(), dump)
            }
            _ => {
                let directory = plugins("py");
                let dump = format!("-d {directory} --dump-all-plugins");
                let socket = format!("{}.sock", kind.key);
                let mut args = vec!["-p".into(), prefix, "-d".into(), directory];
                args.extend(["--socket-name".into(), socket.clone()]);
                args.extend((kind.key == "gevent").then(|| "-g".to_owned()));
                (python_server(), args, socket, dump)
            }
        };
        let query = format!("{} {dump}", program.display());
        let socket = stage.path(&socket);
        let mut command = Command::new(program);
        command.args(args).env("PYTHONDONTWRITEBYTECODE", "1");
        let running = stage.run(kind.key, &stage.other_cores, &command)?;
        running.wait_until("listened", || UnixStream::connect(&socket).is_ok())?;
        Ok(Server { kind, socket, query, running })
    }

    /// The lines of a gateway's kong.conf for it: it is there already, so nothing starts it.
    pub(crate) fn conf(&self) -> String {
        format!(
            "plugins = bundled,{}\npluginserver_names = bench\npluginserver_bench_socket = {}\n\
             pluginserver_bench_query_cmd = {}\n",
            self.kind.plugin,
            self.socket.display(),
            self.query
        )
    }

    /// A game against it.
    pub(crate) fn game(&self, calls: usize, connections: usize, milliseconds: u64) -> Game {
        Game {
            wire: self.kind.wire.name().into(),
            socket: self.socket.clone(),
            plugin: self.kind.plugin.into(),
            calls,
            connections,
            milliseconds,
            server: self.running.pid(),
        }
    }
}

/// Builds the Go plugin, which is its own server, in `.env/`.
fn build_go(source: &str) -> Result<PathBuf> {
    let binary = env("go/bin").join("bench-go");
    let mut go = Command::new("go");
    go.args(["-C", source, "build", "-buildvcs=false", "-o"]).arg(&binary).arg(".");
    let output = go.output().context("go")?;
    if !output.status.success() {
        bail!("{source}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(binary)
}
