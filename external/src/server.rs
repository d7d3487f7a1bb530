//! A plugin server as the workers see it: where to connect, which instances it has, how it is.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    config::Config,
    info::Protocol,
    instance::Instance,
    status::{Condition, Counts, ServerStatus},
};

/// One plugin server, shared by all workers and its supervisor.
pub(crate) struct Server {
    /// Its place in the workers' tables of connections: unique in the process.
    pub(crate) index: usize,
    pub(crate) config: Config,
    pub(crate) protocol: Protocol,
    /// Text that is no UTF-8 has to go as bytes.
    pub(crate) strict_text: bool,
    /// The names of its plugins.
    pub(crate) plugins: Vec<String>,
    pub(crate) counts: Counts,
    current: ArcSwapOption<Generation>,
    generations: AtomicU64,
    condition: watch::Sender<Condition>,
    pub(crate) facts: Mutex<Facts>,
    sequence: AtomicI32,
    orders: mpsc::UnboundedSender<Order>,
    closing: mpsc::UnboundedSender<(Arc<Generation>, i64)>,
    instances: Mutex<HashMap<String, Weak<Instance>>>,
}

/// One run of a server's process. Connections and instances belong to one; a new process has
/// none of the old one's.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    /// Where it listens.
    pub(crate) path: PathBuf,
    /// Events that run on it.
    pub(crate) events: AtomicUsize,
    /// The pid of who listens there, as the system tells it; 0 where it does not.
    listener: AtomicU32,
    /// The pid that the server itself tells on each connection, as those in Go do; 0 until then.
    told: AtomicU32,
}

impl Generation {
    fn new(number: u64, path: PathBuf, listener: u32) -> Generation {
        let (events, told) = (AtomicUsize::new(0), AtomicU32::new(0));
        Generation { number, path, events, listener: AtomicU32::new(listener), told }
    }

    /// Whether a pid is the one that was noted first.
    fn agrees(noted: &AtomicU32, pid: u32) -> bool {
        let noted = noted.compare_exchange(0, pid, Ordering::Relaxed, Ordering::Relaxed);
        noted.is_ok() || noted == Err(pid)
    }
}

/// What the supervisor knows and the status shows.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) pid: Option<u32>,
    pub(crate) up_since: Option<SystemTime>,
    pub(crate) restarts: u64,
    pub(crate) last_error: Option<String>,
}

/// What the supervisor is asked to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Replace the process by a new one, gracefully.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Stop the process.
    Stop(oneshot::Sender<()>),
    /// An event timed out before it had done anything, or a traceback was seen: find out whether
    /// the server still takes events.
    Suspect(&'static str, Duration),
}

/// The receiving ends of a server's channels, for its supervisor.
pub(crate) struct Ends {
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
    pub(crate) closing: mpsc::UnboundedReceiver<(Arc<Generation>, i64)>,
}

impl Server {
    pub(crate) fn new(
        config: Config,
        protocol: Protocol,
        strict_text: bool,
        plugins: Vec<String>,
    ) -> (Arc<Server>, Ends) {
        static INDEX: AtomicUsize = AtomicUsize::new(0);
        let (orders, orders_end) = mpsc::unbounded_channel();
        let (closing, closing_end) = mpsc::unbounded_channel();
        let server = Server {
            index: INDEX.fetch_add(1, Ordering::Relaxed),
            protocol,
            strict_text,
            plugins,
            counts: Counts::default(),
            current: ArcSwapOption::empty(),
            generations: AtomicU64::new(0),
            condition: watch::Sender::new(Condition::Starting),
            facts: Mutex::default(),
            sequence: AtomicI32::new(first_sequence()),
            orders,
            closing,
            instances: Mutex::default(),
            config,
        };
        if server.config.start_cmd.is_none() {
            server.renew(server.config.socket.clone(), 0);
            server.condition.send_replace(Condition::External);
        }
        (Arc::new(server), Ends { orders: orders_end, closing: closing_end })
    }

    /// The running process, waiting for it while it starts.
    ///
    /// # Errors
    /// If it is down, or does not come up in time; the text says why.
    pub(crate) async fn ready(&self) -> Result<Arc<Generation>, String> {
        if let Some(generation) = self.current.load_full() {
            return Ok(generation);
        }
        let mut condition = self.condition.subscribe();
        let settled = condition.wait_for(|c| !matches!(c, Condition::Starting));
        match tokio::time::timeout(self.config.start_timeout, settled).await {
            Ok(_) => self.current.load_full().ok_or_else(|| self.why_down()),
            Err(_) => Err(format!("it has not come up in {:?}", self.config.start_timeout)),
        }
    }

    /// The number of the running process; none while there is none.
    pub(crate) fn generation(&self) -> Option<u64> {
        self.current.load().as_ref().map(|generation| generation.number)
    }

    /// Waits until it is no longer starting; gives what is wrong then.
    pub(crate) async fn settled(&self) -> Result<(), String> {
        let mut condition = self.condition.subscribe();
        // The sender lives as long as the server does.
        let _ = condition.wait_for(|c| !matches!(c, Condition::Starting)).await;
        if self.current.load().is_some() { Ok(()) } else { Err(self.why_down()) }
    }

    fn why_down(&self) -> String {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        match &facts.last_error {
            Some(error) => format!("it is down: {error}"),
            None => "it is down".to_owned(),
        }
    }

    /// Says that a process listens at `path`, and its pid if the system tells that. One that a
    /// connection has found out about before stays as it is.
    pub(crate) fn renew(&self, path: PathBuf, listener: u32) {
        let known = self.current.load();
        let is_known = |known: &Arc<Generation>| {
            listener != 0
                && known.path == path
                && known.listener.load(Ordering::Relaxed) == listener
        };
        if known.as_ref().is_some_and(is_known) {
            return;
        }
        let number = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        self.current.store(Some(Arc::new(Generation::new(number, path, listener))));
    }

    /// Whether a connection that was made for a process leads to that process, by the pid of who
    /// listens (0: unknown). If not, somebody has started the server anew: ids of instances mean
    /// nothing there, or others.
    pub(crate) fn leads_to(&self, generation: &Generation, listener: u32) -> bool {
        if listener != 0 && !Generation::agrees(&generation.listener, listener) {
            self.lost(generation, listener);
        }
        self.generation() == Some(generation.number)
    }

    /// Whether the pid that a server told on a connection is that of the process it was made for.
    pub(crate) fn is_same(&self, generation: &Generation, told: u32) -> bool {
        let same = Generation::agrees(&generation.told, told);
        if !same {
            self.lost(generation, 0);
        }
        same
    }

    /// Takes note that an instance is not known there. Servers in Go forget instances as they go,
    /// and tell their pid. Others never do: that is another process, which counts from the start.
    pub(crate) fn has_forgotten(&self, generation: &Generation) {
        if self.protocol == Protocol::MsgPack && generation.told.load(Ordering::Relaxed) == 0 {
            self.lost(generation, generation.listener.load(Ordering::Relaxed));
        }
    }

    /// A process has gone: what follows it has none of its instances.
    fn lost(&self, generation: &Generation, listener: u32) {
        let current = self.current.load();
        if current.as_ref().is_some_and(|current| current.number == generation.number) {
            let number = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
            let next = Generation::new(number, generation.path.clone(), listener);
            // If another worker was first, that one's stays.
            self.current.compare_and_swap(&current, Some(Arc::new(next)));
        }
    }

    /// Says how it is. Without a running process, requests fail or wait from now on.
    pub(crate) fn set_condition(&self, condition: Condition) {
        if !matches!(condition, Condition::Running | Condition::External | Condition::Reloading) {
            self.current.store(None);
        }
        self.condition.send_replace(condition);
    }

    pub(crate) fn condition(&self) -> Condition {
        *self.condition.borrow()
    }

    /// A number that no other instance of this process has: positive, and what the embedded Go
    /// server makes an instance's id of.
    pub(crate) fn next_sequence(&self) -> i32 {
        let advance = |n: i32| Some(if n == i32::MAX { 1 } else { n + 1 });
        let taken = self.sequence.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance);
        taken.unwrap_or(1)
    }

    /// Asks the supervisor for something. Without one the order falls away.
    pub(crate) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// Has an instance closed that nobody uses any more.
    pub(crate) fn close_later(&self, generation: Arc<Generation>, id: i64) {
        let _ = self.closing.send((generation, id));
    }

    /// The process of that number, if it still runs.
    pub(crate) fn current(&self) -> Option<Arc<Generation>> {
        self.current.load_full()
    }

    /// The instance of a plugin with this configuration: the one there is, or a new one.
    pub(crate) fn instance(self: &Arc<Self>, plugin: &str, config: String) -> Arc<Instance> {
        let key = format!("{plugin}\n{config}");
        let mut instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = instances.get(&key).and_then(Weak::upgrade) {
            return instance;
        }
        // Now and then: looking at all of them for each new one would take long with many.
        if instances.len().is_power_of_two() {
            instances.retain(|_, instance| instance.strong_count() > 0);
        }
        let instance = Arc::new(Instance::new(Arc::clone(self), plugin.to_owned(), config));
        instances.insert(key, Arc::downgrade(&instance));
        instance
    }

    /// What /status and the metrics show.
    pub(crate) fn status(&self) -> ServerStatus {
        let instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        let instances = instances.values().filter(|i| i.strong_count() > 0).count();
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        ServerStatus::of(self, &facts, instances)
    }
}

/// Where to begin counting: gateways that share a server must not use each other's numbers.
fn first_sequence() -> i32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = since.as_nanos() as u64 ^ u64::from(std::process::id()) << 32;
    let mixed = (seed ^ seed >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    i32::try_from(mixed >> 34).unwrap_or(1).max(1)
}
