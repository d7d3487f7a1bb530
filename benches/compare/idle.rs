//! What an idle connection costs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::figures::Figures;
use crate::gateways::services;
use crate::nodes::{Node, write};
use crate::stage::Stage;

/// How many connections.
const CONNECTIONS: usize = 20_000;
/// What each may take, in KB.
const TARGET_KB: f64 = 10.0;
/// How long the node rests before its memory is read.
const REST: Duration = Duration::from_secs(3);

/// Opens them, each with a request that was answered, and reads the node's memory.
pub(crate) fn run(stage: &Stage<'_>) -> Result<Figures> {
    println!("\nidle");
    // As many as may be open, here and there.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let most = CONNECTIONS.min(usize::try_from(hard)?.saturating_sub(500));
    if most < CONNECTIONS {
        println!("  only {most} connections: raise ulimit -n above {}", CONNECTIONS + 500);
    }
    let file = stage.path("idle.yml");
    write(&file, &services(stage, "  - name: all\n    paths: [/]\n    strip_path: false\n"))?;
    let lines = format!(
        "database = off\ndeclarative_config = {}\nnginx_http_keepalive_timeout = 600s\n\
         nginx_events_worker_connections = 65536\n",
        file.display()
    );
    let node = Node::start(stage, &lines)?;
    node.until_served("/")?;
    // The first thousand fill what is kept for all.
    let mut connections = Vec::with_capacity(CONNECTIONS);
    let open = |connections: &mut Vec<TcpStream>, count: usize| -> Result<()> {
        while connections.len() < count {
            connections.push(connect(&node, connections.len())?);
        }
        std::thread::sleep(REST);
        Ok(())
    };
    let mut figures = Figures::default();
    figures.note("memory without connections", node.resident_mb(), "MB");
    open(&mut connections, 1_000)?;
    let few = node.resident_mb();
    open(&mut connections, most)?;
    let many = node.resident_mb();
    figures.note(format!("memory with {most} connections"), many, "MB");
    let each = (many - few) * 1000.0 / (most - 1_000) as f64;
    figures.judge("an idle connection", each, "KB", TARGET_KB);
    // They are all still of use.
    for stream in connections.iter_mut().step_by(100) {
        request(stream).context("a connection that was idle")?;
    }
    Ok(figures)
}

/// Connects, to one address after the other: a client has 28,000 ports for each.
fn connect(node: &Node, number: usize) -> Result<TcpStream> {
    let address = format!("127.0.0.{}:{}", 1 + number % 4, node.proxy);
    let mut stream = TcpStream::connect(&address).with_context(|| address.clone())?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    request(&mut stream)?;
    Ok(stream)
}

fn request(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n")?;
    let mut answer = vec![0; 8 * 1024];
    let mut length = 0;
    loop {
        let count = stream.read(answer.get_mut(length..).unwrap_or_default())?;
        if count == 0 {
            bail!("closed");
        }
        length += count;
        let text = String::from_utf8_lossy(answer.get(..length).unwrap_or_default());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if !head.starts_with("HTTP/1.1 200") {
            bail!("{head}");
        }
        if body.len() >= 1024 {
            return Ok(());
        }
    }
}
