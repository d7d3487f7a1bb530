//! Keeps what is held in memory in step with the database, whoever changes it.
//!
//! One task hears of changes: of this node's writes directly, of others' by NOTIFY, and of Kong's
//! nodes by reading `cluster_events`. What it hears says only what may have changed; how it is now
//! it reads from the database. So the order in which it hears does not matter, and where something
//! may have been missed, all of it is read again.

pub(crate) mod ear;
pub(crate) mod load;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use silverback_model::set::{Entities, Kinds};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::cache::Cache;
use super::error::DatabaseError;
use super::hint::Hint;
use super::pool::Pool;
use super::replica::Replica;
use super::settings::Settings;
use super::tables::Tables;
use crate::Told;
use crate::feed::Feed;
use ear::Ear;

/// Kinds that are held in memory: what snapshots are compiled of, and what is as few. Of others,
/// those of plugins among them, there may be more than fit.
const HELD: [&str; 13] = [
    "workspaces",
    "services",
    "routes",
    "plugins",
    "filter_chains",
    "upstreams",
    "targets",
    "certificates",
    "ca_certificates",
    "snis",
    "vaults",
    "key_sets",
    "keys",
];

/// Whether all entities of a kind are held in memory.
pub(crate) fn is_held(kind: &str) -> bool {
    HELD.contains(&kind)
}

/// Waits between tries to reach the database: the first, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Something that may have changed, and who waits until it is published.
pub(crate) struct Order {
    pub(crate) hints: Vec<Hint>,
    /// Other kinds, to go on with.
    pub(crate) kinds: Option<Arc<Kinds>>,
    /// Told the version that has it.
    pub(crate) done: Option<oneshot::Sender<u64>>,
}

/// What is said of the database in `/status`.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Whether the database could be asked the last time.
    pub(crate) reachable: AtomicBool,
    /// What was wrong then.
    pub(crate) error: std::sync::Mutex<String>,
    /// Whether no NOTIFY comes through, so that others' changes are looked for from time to time.
    pub(crate) polls: AtomicBool,
}

impl Health {
    pub(crate) fn new(reachable: bool) -> Health {
        let health = Health::default();
        health.reachable.store(reachable, Ordering::Relaxed);
        health
    }

    fn set<T>(&self, outcome: &Result<T, DatabaseError>) {
        let unreachable = outcome.as_ref().err().filter(|error| error.is_unreachable());
        self.reachable.store(unreachable.is_none(), Ordering::Relaxed);
        if let Ok(mut error) = self.error.lock() {
            *error = unreachable.map(ToString::to_string).unwrap_or_default();
        }
    }
}

/// What is shared between the task and who asks it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    pub(crate) primary: Arc<Pool>,
    pub(crate) replica: Option<Replica>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) health: Health,
    /// What other nodes tell of what plugins keep.
    pub(crate) told: broadcast::Sender<Told>,
    /// Known from the first time that the database could be asked.
    pub(crate) tables: std::sync::Mutex<Option<Arc<Tables>>>,
}

impl Shared {
    /// Forgets what may have changed.
    pub(crate) fn forget(&self, hint: &Hint) {
        // First: who looks it up from now on asks the primary.
        if let Some(replica) = &self.replica {
            replica.note(hint);
        }
        self.cache.forget(hint);
    }

    /// The tables, if they are known.
    pub(crate) fn known_tables(&self) -> Option<Arc<Tables>> {
        self.tables.lock().ok()?.clone()
    }

    pub(crate) fn set_tables(&self, tables: Option<Arc<Tables>>) {
        if let Ok(mut known) = self.tables.lock() {
            *known = tables;
        }
    }
}

/// The task.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    orders: mpsc::UnboundedReceiver<Order>,
    io: tokio::runtime::Handle,
    ear: Ear,
    /// The newest of what is held.
    tip: Entities,
    pending: HashSet<Hint>,
    waiting: Vec<oneshot::Sender<u64>>,
    /// When to try again what did not work.
    again: Option<Instant>,
    wait: Duration,
}

impl Follower {
    /// The task for entities that were read since the ear is open, or that are old if it is not.
    pub(crate) fn new(
        shared: Arc<Shared>,
        orders: mpsc::UnboundedReceiver<Order>,
        io: tokio::runtime::Handle,
        tip: Entities,
        ear: Ear,
    ) -> Follower {
        shared.health.polls.store(ear.is_deaf(), Ordering::Relaxed);
        Follower {
            shared,
            orders,
            io,
            ear,
            tip,
            pending: HashSet::new(),
            waiting: Vec::new(),
            again: None,
            wait: WAITS.0,
        }
    }

    /// Works until the store is gone.
    pub(crate) async fn run(mut self) {
        let mut listen_at = Instant::now();
        let frequency = self.shared.settings.update_frequency.max(Duration::from_millis(10));
        let mut poll_at = Instant::now() + frequency;
        loop {
            let again = self.again;
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.take(order),
                    None => return,
                },
                hints = self.ear.hear() => match hints {
                    Some(hints) => self.add(hints),
                    None => listen_at = Instant::now() + self.wait,
                },
                () = sleep_until(listen_at), if !self.ear.is_open() => {
                    let opened = self.ear.open(&self.io).await;
                    self.shared.health.set(&opened);
                    self.shared.health.polls.store(self.ear.is_deaf(), Ordering::Relaxed);
                    if opened.is_ok() {
                        // Whatever happened meanwhile was not heard.
                        self.add(vec![Hint::All]);
                    } else {
                        listen_at = Instant::now() + self.back_off();
                    }
                }
                () = sleep_until(poll_at), if self.ear.is_open() => {
                    if let Ok(hints) = self.ear.read_events().await {
                        self.add(hints);
                    }
                    poll_at = Instant::now() + frequency;
                }
                () = async { sleep_until(again.unwrap_or_else(Instant::now)).await },
                    if again.is_some() => self.again = None,
            }
            while let Ok(order) = self.orders.try_recv() {
                self.take(order);
            }
            self.add_heard();
            if !self.pending.is_empty() && self.again.is_none() {
                self.catch_up().await;
            }
        }
    }

    fn take(&mut self, order: Order) {
        self.add(order.hints);
        if let Some(kinds) = order.kinds {
            self.tip = self.tip.renewed(&kinds);
        }
        self.waiting.extend(order.done);
        // Who waits has just written: the database is there.
        self.again = None;
    }

    fn add_heard(&mut self) {
        let heard = self.ear.heard();
        self.add(heard);
    }

    fn add(&mut self, hints: Vec<Hint>) {
        for hint in hints {
            if let Hint::Plugin { channel, data } = hint {
                // Nobody may be there who wants to know.
                let _ = self.shared.told.send(Told { channel, data });
                continue;
            }
            self.shared.forget(&hint);
            self.pending.insert(hint);
        }
    }

    fn back_off(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (self.wait * 2).min(WAITS.1);
        wait
    }

    /// Reads what may have changed, and publishes it.
    async fn catch_up(&mut self) {
        let hints = std::mem::take(&mut self.pending);
        let loaded = load::load(&self.shared, &self.tip, &hints).await;
        self.shared.health.set(&loaded);
        match loaded {
            Ok(changed) => {
                self.wait = WAITS.0;
                let feed = &self.shared.feed;
                let known = Arc::ptr_eq(feed.state().entities.kinds(), self.tip.kinds());
                let version = match changed.or_else(|| (!known).then(|| self.tip.clone())) {
                    Some(entities) => {
                        self.tip = entities.clone();
                        feed.publish(Arc::new(entities), feed.state().hash.clone())
                    }
                    None => feed.state().version,
                };
                for done in self.waiting.drain(..) {
                    let _ = done.send(version);
                }
            }
            Err(_) => {
                self.pending.extend(hints);
                // They have written; that it is not read yet is not theirs to wait for.
                self.waiting.clear();
                self.again = Some(Instant::now() + self.back_off());
            }
        }
    }
}
