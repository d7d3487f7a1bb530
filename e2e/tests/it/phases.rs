//! Every phase that the PDKs have, in each language: it runs, and when it fails nothing passes.

use silverback_e2e::gateway::{Builder, Gateway, free_port};
use silverback_e2e::http::{Connection, NoAnswer, Request, send};
use silverback_e2e::servers::{self, PythonMode};
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::PATIENCE;

const PHASES: [&str; 6] = ["certificate", "rewrite", "access", "response", "log", "preread"];
const PLUGINS: [&str; 3] = ["go-fault", "js-fault", "py-fault"];

/// A gateway with all three plugins, an upstream, and a port whose TCP connections go there too.
struct Stage {
    gateway: Gateway,
    upstream: Upstream,
    stream_port: u16,
}

impl Stage {
    fn new() -> Stage {
        let stream_port = free_port();
        let builder = servers::js(servers::go(Builder::new(), "go-fault"));
        let builder = servers::python(builder, PythonMode::Threads)
            .set("stream_listen", &format!("127.0.0.1:{stream_port}"))
            .set("pluginserver_python_timeout", "1500");
        let upstream = Upstream::start();
        let gateway =
            servers::enable(builder, &PLUGINS).declarative("_format_version: '3.0'\n").start();
        Stage { gateway, upstream, stream_port }
    }

    /// Loads a configuration in which the plugin does `what` in `phase`, for every request.
    fn configure(&self, plugin: &str, phase: &str, what: &str) {
        let (port, stream_port) = (self.upstream.port(), self.stream_port);
        let protocols = if phase == "preread" { "[tcp]" } else { "[http, https]" };
        let yaml = format!(
            "_format_version: '3.0'
services:
- name: web
  url: http://127.0.0.1:{port}
  routes: [{{name: web, paths: [/]}}]
- name: stream
  url: tcp://127.0.0.1:{port}
  routes: [{{name: stream, protocols: [tcp], destinations: [{{port: {stream_port}}}]}}]
plugins:
- name: {plugin}
  protocols: {protocols}
  config: {{phase: {phase}, do: {what}, after_call: true}}
"
        );
        self.gateway.load(&yaml).unwrap();
        self.upstream.take_seen();
    }

    /// Sends a request by the listener that enters the phase; its status.
    fn ask(&self, phase: &str) -> Result<u16, NoAnswer> {
        let request = Request::get("/");
        let answer = match phase {
            "preread" => send(&format!("127.0.0.1:{}", self.stream_port), &request)?,
            "certificate" => {
                let (address, timeout) = (self.gateway.proxy_ssl(), PATIENCE);
                let name = Some("example.test");
                let (mut connection, _) = Connection::open_tls(&address, name, timeout)?;
                connection.ask(&request, false)?
            }
            _ => self.gateway.send(&request)?,
        };
        Ok(answer.status)
    }
}

#[test]
fn every_phase_runs() {
    let stage = Stage::new();
    for plugin in PLUGINS {
        for phase in PHASES {
            stage.configure(plugin, phase, "tell");
            let status = stage.ask(phase).map_err(|why| why.to_string());
            assert_eq!(status, Ok(200), "{plugin} in {phase}");
            stage.gateway.wait_log(&format!("{plugin} has run in {phase}"));
        }
    }
}

/// Where there is no HTTP answer to give, the connection ends and nothing reaches the upstream.
#[test]
fn a_failed_handshake_and_a_failed_stream_pass_nothing() {
    let stage = Stage::new();
    // What a JavaScript handler throws never leaves its server.
    for (plugin, what) in [("go-fault", "raise"), ("py-fault", "raise"), ("js-fault", "exit")] {
        for phase in ["certificate", "preread"] {
            stage.configure(plugin, phase, what);
            let status = stage.ask(phase);
            assert!(status.is_err(), "{plugin} {what} in {phase}: {status:?}");
            let seen = stage.upstream.take_seen();
            assert!(seen.is_empty(), "{plugin} {what} in {phase}: reached the upstream: {seen:?}");
        }
    }
}

/// A handler finds out who connects, leaves word of it, and sends the stream elsewhere.
#[test]
fn preread_chooses_where_a_stream_goes() {
    let stage = Stage::new();
    let elsewhere = Upstream::start();
    for plugin in PLUGINS {
        stage.configure(plugin, "preread", &format!("move, port: {}", elsewhere.port()));
        let status = stage.ask("preread").map_err(|why| why.to_string());
        assert_eq!(status, Ok(200), "{plugin}");
        stage.gateway.wait_log(&format!("{plugin} has moved 127.0.0.1"));
        let seen = (elsewhere.take_seen().len(), stage.upstream.take_seen().len());
        assert_eq!(seen, (1, 0), "{plugin}");
    }
}

#[test]
fn preread_closes_what_a_plugin_refuses() {
    let stage = Stage::new();
    for plugin in PLUGINS {
        stage.configure(plugin, "preread", "deny");
        let status = stage.ask("preread");
        assert!(status.is_err(), "{plugin}: {status:?}");
        assert!(stage.upstream.take_seen().is_empty(), "{plugin}");
        // The server is none the worse for it.
        stage.configure(plugin, "preread", "tell");
        let status = stage.ask("preread").map_err(|why| why.to_string());
        assert_eq!(status, Ok(200), "{plugin}");
    }
}
