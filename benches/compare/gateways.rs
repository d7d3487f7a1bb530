//! The contenders: the same job written down for each of them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use silverback_e2e::gateway::free_port;

use crate::stage::{Running, Stage, ask};

/// A contender that runs.
pub(crate) struct Gateway {
    /// Its name in the tables.
    pub(crate) name: &'static str,
    /// Where it listens for HTTP.
    pub(crate) port: u16,
    /// Where it listens for HTTPS.
    pub(crate) tls_port: u16,
    /// Its process.
    pub(crate) running: Running,
}

/// Where a gateway shall listen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// For HTTP.
    pub(crate) plain: u16,
    /// For HTTPS.
    pub(crate) tls: u16,
}

impl Ports {
    /// Two that nobody listens on.
    pub(crate) fn free() -> Ports {
        Ports { plain: free_port(), tls: free_port() }
    }
}

/// The name of the reference in the tables.
pub(crate) const NGINX: &str = "nginx";
/// nginx that does what Silverback does beside passing messages on.
pub(crate) const NGINX_SAME: &str = "nginx, same headers";
/// Our own.
pub(crate) const SILVERBACK: &str = "Silverback";
/// The model.
pub(crate) const KONG: &str = "Kong";

/// nginx as it comes, one worker, connections kept alive on both sides, no logs.
pub(crate) fn nginx(stage: &Stage<'_>) -> Result<Gateway> {
    nginx_with(stage, NGINX, "")
}

/// The same with buffers that hold a whole 64 KiB body.
pub(crate) fn nginx_buffers(stage: &Stage<'_>) -> Result<Gateway> {
    let buffers = "proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_busy_buffers_size 96k;";
    nginx_with(stage, "nginx, larger buffers", buffers)
}

/// The same as it comes, with a request id and the headers that Kong's configuration of nginx (and
/// Silverback without being told) gives to upstreams and clients.
pub(crate) fn nginx_same(stage: &Stage<'_>) -> Result<Gateway> {
    const TO_UPSTREAM: [(&str, &str); 8] = [
        ("X-Forwarded-For", "$proxy_add_x_forwarded_for"),
        ("X-Forwarded-Proto", "$scheme"),
        ("X-Forwarded-Host", "$host"),
        ("X-Forwarded-Port", "$server_port"),
        ("X-Forwarded-Path", "$request_uri"),
        ("X-Real-IP", "$remote_addr"),
        ("Via", "\"1.1 nginx\""),
        ("X-Kong-Request-Id", "$request_id"),
    ];
    const TO_CLIENT: [(&str, &str); 5] = [
        ("Via", "\"1.1 nginx\""),
        ("X-Kong-Upstream-Status", "$upstream_status"),
        ("X-Kong-Upstream-Latency", "$upstream_response_time"),
        ("X-Kong-Proxy-Latency", "$request_time"),
        ("X-Kong-Request-Id", "$request_id"),
    ];
    let lines = |verb: &str, headers: &[(&str, &str)]| -> String {
        headers.iter().map(|(name, value)| format!("{verb} {name} {value}; ")).collect()
    };
    let more = lines("proxy_set_header", &TO_UPSTREAM) + &lines("add_header", &TO_CLIENT);
    nginx_with(stage, NGINX_SAME, &more)
}

fn nginx_with(stage: &Stage<'_>, name: &'static str, more: &str) -> Result<Gateway> {
    let ports = Ports::free();
    let key = format!("nginx-{}", ports.plain);
    let (directory, upstream) = (stage.directory.display(), stage.upstream_port);
    let conf = format!(
        "daemon off; worker_processes 1; pid {directory}/{key}.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 10000;
  client_body_temp_path {directory}/{key}-body; proxy_temp_path {directory}/{key}-proxy;
  fastcgi_temp_path {directory}/{key}-f; uwsgi_temp_path {directory}/{key}-u;
  scgi_temp_path {directory}/{key}-s;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 10000; }}
  server {{
    listen 127.0.0.1:{}; listen 127.0.0.1:{} ssl;
    ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem;
    ssl_protocols TLSv1.3;
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection \"\"; {more}
    }}
  }}
}}
",
        ports.plain, ports.tls
    );
    let conf = stage.write(&format!("{key}.conf"), &conf)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&stage.directory).arg("-c").arg(conf);
    start(stage, name, &key, &command, ports, "/")
}

/// haproxy, one thread, upstream connections shared by all clients.
pub(crate) fn haproxy(stage: &Stage<'_>) -> Result<Gateway> {
    let ports = Ports::free();
    let conf = format!(
        "global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  http-reuse always
frontend in
  bind 127.0.0.1:{}
  bind 127.0.0.1:{} ssl crt {}/both.pem ssl-min-ver TLSv1.3 alpn http/1.1
  default_backend up
backend up
  server up 127.0.0.1:{} pool-max-conn 512
",
        ports.plain,
        ports.tls,
        stage.directory.display(),
        stage.upstream_port
    );
    let conf = stage.write("haproxy.cfg", &conf)?;
    let mut command = Command::new("haproxy");
    command.arg("-q").arg("-db").arg("-f").arg(conf);
    start(stage, "haproxy", "haproxy", &command, ports, "/")
}

/// What Silverback, or a Kong, is to run with.
#[derive(Default)]
pub(crate) struct Settings {
    /// Further lines of its kong.conf.
    pub(crate) conf: String,
    /// Its declarative configuration, in YAML.
    pub(crate) declarative: String,
    /// A path that answers 200.
    pub(crate) probe: String,
}

impl Settings {
    /// One route for every path to the upstream, no plugin.
    pub(crate) fn bare(stage: &Stage<'_>) -> Settings {
        let declarative = services(stage, "  - name: all\n    paths: [/]\n    strip_path: false\n");
        Settings { conf: String::new(), declarative, probe: "/".into() }
    }
}

/// A declarative configuration of one service, the upstream, with these routes.
pub(crate) fn services(stage: &Stage<'_>, routes: &str) -> String {
    let port = stage.upstream_port;
    format!(
        "_format_version: \"3.0\"\nservices:\n- name: up\n  url: http://127.0.0.1:{port}\n  \
         routes:\n{routes}"
    )
}

/// Silverback, and Kong if the caller names one, whichever are there.
pub(crate) fn kong_like(stage: &Stage<'_>, settings: &Settings) -> Result<Vec<Gateway>> {
    let commands = commands(stage).into_iter();
    commands.map(|(name, command)| start_node(stage, name, command, settings)).collect()
}

/// Silverback alone, if it is there.
pub(crate) fn silverback(stage: &Stage<'_>, settings: &Settings) -> Result<Option<Gateway>> {
    let own = commands(stage).into_iter().find(|(name, _)| *name == SILVERBACK);
    own.map(|(name, command)| start_node(stage, name, command, settings)).transpose()
}

fn start_node(
    stage: &Stage<'_>,
    name: &'static str,
    command: &Path,
    settings: &Settings,
) -> Result<Gateway> {
    let ports = Ports::free();
    let command = node(stage, name, command, ports, settings)?;
    start(stage, name, &format!("{name}-{}", ports.plain), &command, ports, &settings.probe)
}

/// The names and binaries of Silverback and Kong. One that is missing is said and left out.
pub(crate) fn commands<'a>(stage: &'a Stage<'_>) -> Vec<(&'static str, &'a Path)> {
    let mut commands = vec![(SILVERBACK, stage.options.silverback.as_path())];
    commands.extend(stage.options.kong.as_deref().map(|command| (KONG, command)));
    commands.retain(|(name, command)| {
        let there = command.exists();
        if !there {
            eprintln!("{name} is left out: there is no {}", command.display());
        }
        there
    });
    commands
}

/// The command that runs a node in the foreground, in a fresh prefix.
pub(crate) fn node(
    stage: &Stage<'_>,
    name: &str,
    command: &Path,
    ports: Ports,
    settings: &Settings,
) -> Result<Command> {
    let key = format!("{name}-{}", ports.plain);
    let prefix = stage.path(&key);
    fs::create_dir_all(&prefix)?;
    let declarative = stage.write(&format!("{key}.yml"), &settings.declarative)?;
    let directory = stage.directory.display();
    let conf = format!(
        "prefix = {}
database = off
declarative_config = {}
proxy_listen = 127.0.0.1:{}, 127.0.0.1:{} ssl
admin_listen = off
admin_gui_listen = off
status_listen = off
nginx_worker_processes = 1
nginx_daemon = off
proxy_access_log = off
anonymous_reports = off
ssl_cert = {directory}/cert.pem
ssl_cert_key = {directory}/key.pem
{}",
        prefix.display(),
        declarative.display(),
        ports.plain,
        ports.tls,
        settings.conf
    );
    let conf = stage.write(&format!("{key}.conf"), &conf)?;
    let mut command = Command::new(command);
    command.arg("start").arg("-c").arg(conf);
    Ok(command)
}

fn start(
    stage: &Stage<'_>,
    name: &'static str,
    key: &str,
    command: &Command,
    ports: Ports,
    probe: &str,
) -> Result<Gateway> {
    let running = stage.run(key, &stage.gateway_cores, command)?;
    running.wait_until("answered 200", || ask(ports.plain, probe, "") == Some(200))?;
    Ok(Gateway { name, port: ports.plain, tls_port: ports.tls, running })
}

/// Whether a command can be run.
pub(crate) fn is_installed(command: &str) -> bool {
    let mut which = Command::new("sh");
    which.args(["-c", &format!("command -v {command}")]).stdout(Stdio::null());
    which.status().is_ok_and(|status| status.success())
}

/// Fails where something that a part cannot do without is not installed.
pub(crate) fn need(command: &str) -> Result<()> {
    is_installed(command)
        .then_some(())
        .with_context(|| format!("{command} is missing: e2e/setup --bench installs it"))
}
