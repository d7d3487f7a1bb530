//! Starting and ending the data plane.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
};

use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::watch;

use crate::{
    Config, Listener, Snapshot, Stats,
    dns::Facts,
    listener,
    logs::{AccessLog, LogTarget},
    upkeep::Upkeep,
    worker::{self, Order, Shared},
};

/// The data plane at work. It ends when it is told to, or when this is dropped.
#[derive(Debug)]
pub struct Handle {
    addresses: Vec<SocketAddr>,
    stats: Stats,
    /// The workers' sockets, by worker: for the generation that comes after.
    sockets: Vec<Vec<(Listener, TcpListener)>>,
    logs: Vec<OpenLog>,
    orders: watch::Sender<Order>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    /// Ends after the workers, which need it.
    upkeep: Upkeep,
    threads: Vec<JoinHandle<()>>,
}

/// Why the data plane can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address can't be listened on.
    #[error("can't listen on {address}: {error}; is another process using it?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// The access log can't be written.
    #[error("can't open the access log {target}: {error}")]
    AccessLog {
        /// Where it goes.
        target: LogTarget,
        /// The system's reason.
        error: io::Error,
    },
    /// A thread can't be made.
    #[error("can't start a thread: {0}")]
    Thread(io::Error),
}

/// Starts as many workers as the node has. They serve whatever snapshot is in `snapshots`, from
/// one request to the next.
///
/// # Errors
/// If an address or the access log can't be opened; then nothing runs.
pub fn start(config: Config, snapshots: Arc<ArcSwap<Snapshot>>) -> Result<Handle, StartError> {
    start_after(config, snapshots, None)
}

/// The same, taking over the sockets of workers that run: connections that wait to be accepted
/// there are served here. The ones before are to be drained then.
///
/// # Errors
/// As [`start`].
pub fn start_after(
    config: Config,
    snapshots: Arc<ArcSwap<Snapshot>>,
    before: Option<&Handle>,
) -> Result<Handle, StartError> {
    let workers = usize::from(config.node.workers.max(1));
    let logs = Logs::open(&config)?;
    // Every socket is opened before any is served: it starts whole or not at all.
    let mut addresses = Vec::new();
    let mut sockets: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for listener in &config.listeners {
        let mut address = listener.address;
        for (number, of_worker) in sockets.iter_mut().enumerate() {
            let inherited = before.and_then(|before| before.socket(number, listener));
            let opened = match inherited {
                Some(socket) => socket.try_clone(),
                None => listener::open(listener, address, config.limits.send_timeout),
            };
            let opened = opened.and_then(|socket| {
                // With port 0 the first worker's port is that of the others.
                address = socket.local_addr()?;
                Ok(socket)
            });
            let socket = opened.map_err(|error| StartError::Listen { address, error })?;
            of_worker.push((listener.clone(), socket));
            if number == 0 {
                addresses.push(address);
            }
        }
    }
    let (orders, heard) = watch::channel(Order::Serve);
    let stats = Stats::of(workers);
    let snapshot = snapshots.load_full();
    if let Some(before) = before {
        snapshot.adopt(&before.snapshots.load());
    }
    let upkeep = Upkeep::start(config.dns.clone(), &snapshot).map_err(StartError::Thread)?;
    let shared = Shared {
        config: Arc::new(config),
        snapshots: snapshots.clone(),
        stats: stats.clone(),
        access_log: logs.requests,
        stream_access_log: logs.streams,
        orders: heard,
        asks: upkeep.asks.clone(),
        dns_facts: upkeep.facts.clone(),
    };
    let clones = sockets.iter().map(|of_worker| clone(of_worker)).collect();
    let mut handle = Handle {
        addresses,
        stats,
        sockets: clones,
        logs: logs.open,
        orders,
        snapshots,
        upkeep,
        threads: Vec::new(),
    };
    for (number, sockets) in sockets.into_iter().enumerate() {
        let shared = shared.clone();
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || worker::run(number, shared, sockets))
            .map_err(StartError::Thread)?;
        handle.threads.push(thread);
    }
    Ok(handle)
}

/// What resolving names has come to, on all workers.
#[derive(Debug, Clone)]
pub struct DnsFacts(Arc<Facts>);

impl DnsFacts {
    /// For each name and type ("a.test|A") what was counted, as Kong's `/status/dns` shows it.
    pub fn names(&self) -> Map<String, Value> {
        self.0.names()
    }

    /// Sums over all names.
    pub fn sums(&self) -> Value {
        self.0.sums()
    }
}

/// A log with the thread that writes it.
type OpenLog = (AccessLog, JoinHandle<()>);

/// Where requests and streams have their lines.
struct Logs {
    requests: Option<AccessLog>,
    streams: Option<AccessLog>,
    /// Each of them once: they may be the same.
    open: Vec<OpenLog>,
}

impl Logs {
    fn open(config: &Config) -> Result<Logs, StartError> {
        let mut logs = Logs { requests: None, streams: None, open: Vec::new() };
        logs.requests = logs.open_one(config.access_log.as_ref())?;
        if config.stream_access_log == config.access_log {
            logs.streams.clone_from(&logs.requests);
        } else if config.listeners.iter().any(|listener| listener.stream) {
            logs.streams = logs.open_one(config.stream_access_log.as_ref())?;
        }
        Ok(logs)
    }

    fn open_one(&mut self, target: Option<&LogTarget>) -> Result<Option<AccessLog>, StartError> {
        let Some(target) = target else { return Ok(None) };
        let opened = AccessLog::open(target)
            .map_err(|error| StartError::AccessLog { target: target.clone(), error })?;
        let log = opened.0.clone();
        self.open.push(opened);
        Ok(Some(log))
    }
}

impl Handle {
    /// Where requests come in, in the order of the listeners, ports of 0 filled in.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What is counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What resolving names has come to.
    pub fn dns(&self) -> DnsFacts {
        DnsFacts(self.upkeep.facts.clone())
    }

    fn socket(&self, worker: usize, listener: &Listener) -> Option<&TcpListener> {
        let sockets = self.sockets.get(worker)?;
        sockets.iter().find(|(own, _)| own == listener).map(|(_, socket)| socket)
    }

    /// Opens the access logs again, after their files were moved away.
    pub fn reopen_log(&self) {
        self.logs.iter().for_each(|(log, _)| log.reopen());
    }

    /// Takes no new connections, waits for requests under way, for as long as `drain_timeout`
    /// allows, and ends. Blocks meanwhile.
    pub fn drain(mut self) {
        self.end(Order::Drain);
    }

    /// Ends at once, whatever is under way. Blocks until all workers have ended.
    pub fn stop(mut self) {
        self.end(Order::Stop);
    }

    fn end(&mut self, order: Order) {
        // A socket that nobody accepts at any more would let clients wait in vain.
        self.sockets.clear();
        self.orders.send_replace(order);
        for thread in self.threads.drain(..) {
            // A worker that has panicked has ended too.
            let _ = thread.join();
        }
        for (log, thread) in self.logs.drain(..) {
            drop(log);
            // Lines that wait are written before the process may end.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end(Order::Stop);
    }
}

/// Second handles of sockets; one that can't be had is opened anew by whoever wants it.
fn clone(sockets: &[(Listener, TcpListener)]) -> Vec<(Listener, TcpListener)> {
    let clone = |(listener, socket): &(Listener, TcpListener)| {
        Some((listener.clone(), socket.try_clone().ok()?))
    };
    sockets.iter().filter_map(clone).collect()
}
