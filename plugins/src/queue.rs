//! What waits to be sent: one queue for every plugin that sends (`kong/tools/queue.lua`).
//!
//! A request hands its entry over without waiting, whatever happens on the other side. Entries are
//! sent in batches on the background thread; those that fail are tried again, later and later.
//! Where more wait than may, the oldest are dropped, and the log says how many.

use std::{
    collections::VecDeque,
    sync::Arc,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::LogLevel;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use crate::background::{self, End};

/// How entries are kept and sent.
#[derive(Debug, Clone, Deserialize, Config)]
pub(crate) struct QueueSettings {
    /// How many entries are sent at once, at the most.
    #[field(default = 1, between(1, 1_000_000))]
    max_batch_size: Option<usize>,
    /// How long to wait for more entries of a batch after its first, in seconds.
    #[field(default = 1, between(0, 3600))]
    max_coalescing_delay: Option<f64>,
    /// How many entries may wait. Beyond that the oldest are dropped.
    #[field(default = 10000, between(1, 1_000_000))]
    max_entries: Option<usize>,
    /// How many bytes may wait; none: any number.
    max_bytes: Option<u64>,
    /// How long a batch that fails is tried again, in seconds, before it is dropped.
    #[field(default = 60)]
    max_retry_time: Option<f64>,
    /// How long to wait before the second try, in seconds; before each further one twice as long.
    #[field(default = 0.01, between(a_thousandth(), 1_000_000))]
    initial_retry_delay: Option<f64>,
    /// How long to wait between two tries at the most, in seconds.
    #[field(default = 60, between(a_thousandth(), 1_000_000))]
    max_retry_delay: Option<f64>,
    /// How many batches are sent at one time: 1, or -1 for entries that are sent each by itself at
    /// once.
    #[field(default = 1, one_of(-1, 1))]
    concurrency_limit: Option<i64>,
}

fn a_thousandth() -> serde_json::Number {
    serde_json::Number::from_f64(0.001).unwrap_or_else(|| 0.into())
}

/// How many batches are on their way with `concurrency_limit` -1.
const MOST_AT_ONCE: usize = 64;

impl QueueSettings {
    /// Batches of this size and coalescing, else as by default: for plugins that don't let users
    /// choose.
    pub(crate) fn batches(size: usize) -> QueueSettings {
        QueueSettings {
            max_batch_size: Some(size),
            max_coalescing_delay: Some(0.0),
            max_entries: None,
            max_bytes: None,
            max_retry_time: None,
            initial_retry_delay: None,
            max_retry_delay: None,
            concurrency_limit: None,
        }
    }

    /// What old fields of plugins say instead.
    pub(crate) fn or_of_old(mut self, size: Option<usize>, delay: Option<f64>) -> QueueSettings {
        self.max_batch_size = size.filter(|size| *size != 1).or(self.max_batch_size);
        self.max_coalescing_delay = delay.filter(|d| *d != 2.0).or(self.max_coalescing_delay);
        self
    }

    /// How many entries a batch may have.
    pub(crate) fn batch_size(&self) -> usize {
        if self.at_once() > 1 { 1 } else { self.max_batch_size.unwrap_or(1) }
    }

    fn at_once(&self) -> usize {
        if self.concurrency_limit == Some(-1) { MOST_AT_ONCE } else { 1 }
    }

    fn max_entries(&self) -> usize {
        self.max_entries.unwrap_or(10_000)
    }
}

fn seconds(given: Option<f64>, default: f64) -> Duration {
    Duration::try_from_secs_f64(given.unwrap_or(default)).unwrap_or_default()
}

/// Where entries go.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Sends a batch, all of it or, as far as can be told, nothing.
    ///
    /// # Errors
    /// Why it can't.
    fn send<'a>(&'a self, batch: &'a [Bytes]) -> LocalBoxFuture<'a, Result<(), String>>;
}

/// The end of a queue that requests see.
pub(crate) struct Queue {
    entries: mpsc::UnboundedSender<Bytes>,
    counts: Arc<Counts>,
    most: usize,
}

/// What both ends count.
#[derive(Default)]
struct Counts {
    /// Handed over, but not yet taken by the other end.
    on_the_way: AtomicUsize,
    /// Dropped before that, because the other end did not keep up.
    dropped: AtomicU64,
}

impl Queue {
    /// A queue of a plugin, `name`d in the log. It lives until it is dropped and empty.
    pub(crate) fn new(name: String, settings: QueueSettings, sink: impl Sink) -> Queue {
        let (entries, incoming) = mpsc::unbounded_channel();
        let counts = Arc::new(Counts::default());
        let queue = Queue { entries, counts: Arc::clone(&counts), most: settings.max_entries() };
        background::spawn(move |end| {
            let worker = Worker {
                name,
                waiting: VecDeque::new(),
                bytes: 0,
                incoming,
                counts,
                dropped: 0,
                end,
                ended: false,
            };
            worker.run(settings, Arc::new(sink))
        });
        queue
    }

    /// Hands an entry over. It never waits.
    pub(crate) fn push(&self, entry: Bytes) {
        if self.counts.on_the_way.fetch_add(1, Relaxed) >= self.most {
            self.counts.on_the_way.fetch_sub(1, Relaxed);
            self.counts.dropped.fetch_add(1, Relaxed);
            return;
        }
        if self.entries.send(entry).is_err() {
            // The node is about to end.
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// The end of a queue that sends.
struct Worker {
    name: String,
    waiting: VecDeque<Bytes>,
    bytes: u64,
    incoming: mpsc::UnboundedReceiver<Bytes>,
    counts: Arc<Counts>,
    /// Dropped since the log was told.
    dropped: u64,
    end: End,
    /// Whether nothing more comes.
    ended: bool,
}

impl Worker {
    async fn run<S: Sink>(mut self, settings: QueueSettings, sink: Arc<S>) {
        let mut sending = JoinSet::new();
        loop {
            while !self.is_ready(&settings, sending.len()) {
                if self.ended && self.waiting.is_empty() && sending.is_empty() {
                    self.tell();
                    return;
                }
                tokio::select! {
                    biased;
                    Some(_) = sending.join_next() => {}
                    () = self.receive(&settings), if !self.ended => {}
                }
            }
            self.coalesce(&settings, &mut sending).await;
            self.tell();
            let batch = self.take(settings.batch_size());
            let (sink, settings) = (Arc::clone(&sink), settings.clone());
            let (name, end) = (self.name.clone(), self.end.clone());
            sending.spawn_local(async move { deliver(&name, &settings, &*sink, batch, end).await });
        }
    }

    /// Whether there is something to send, and nothing to wait for.
    fn is_ready(&self, settings: &QueueSettings, on_the_way: usize) -> bool {
        !self.waiting.is_empty() && on_the_way < settings.at_once()
    }

    /// Waits for the next entry, or the end.
    async fn receive(&mut self, settings: &QueueSettings) {
        tokio::select! {
            biased;
            entry = self.incoming.recv() => match entry {
                Some(entry) => self.accept(entry, settings),
                None => self.ended = true,
            },
            () = self.end.wait() => {
                // Workers have stopped: what they have handed over is all there will be.
                while let Ok(entry) = self.incoming.try_recv() {
                    self.accept(entry, settings);
                }
                self.ended = true;
            }
        }
    }

    /// Takes an entry; where there are too many now, the oldest go.
    fn accept(&mut self, entry: Bytes, settings: &QueueSettings) {
        self.counts.on_the_way.fetch_sub(1, Relaxed);
        let most = settings.max_bytes.unwrap_or(u64::MAX);
        if entry.len() as u64 > most {
            let text = format!(
                "queue {}: an entry of {} bytes is longer than max_bytes ({most}): it is dropped",
                self.name,
                entry.len()
            );
            silverback_pdk::log(LogLevel::Err, "", &text);
            return;
        }
        self.bytes += entry.len() as u64;
        self.waiting.push_back(entry);
        while self.waiting.len() > settings.max_entries() || self.bytes > most {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.bytes -= oldest.len() as u64;
            self.dropped += 1;
            if self.dropped == 1 {
                let text = format!("queue {} is full: the oldest entries are dropped", self.name);
                silverback_pdk::log(LogLevel::Err, "", &text);
            }
        }
    }

    /// Waits until a batch is full, or for as long as its first entry may wait.
    async fn coalesce(&mut self, settings: &QueueSettings, sending: &mut JoinSet<()>) {
        let until = Instant::now() + seconds(settings.max_coalescing_delay, 1.0);
        while self.waiting.len() < settings.batch_size() && !self.ended && until > Instant::now() {
            tokio::select! {
                biased;
                Some(_) = sending.join_next() => {}
                () = self.receive(settings) => {}
                () = tokio::time::sleep_until(until) => return,
            }
        }
        // What has come meanwhile may go along.
        while self.waiting.len() < settings.batch_size() {
            let Ok(entry) = self.incoming.try_recv() else { return };
            self.accept(entry, settings);
        }
    }

    fn take(&mut self, most: usize) -> Vec<Bytes> {
        let batch: Vec<Bytes> = self.waiting.drain(..most.min(self.waiting.len())).collect();
        self.bytes -= batch.iter().map(|entry| entry.len() as u64).sum::<u64>();
        batch
    }

    /// Tells the log what was dropped.
    fn tell(&mut self) {
        let dropped = self.dropped + self.counts.dropped.swap(0, Relaxed);
        self.dropped = 0;
        if dropped > 0 {
            let text = format!("queue {} sends again: {dropped} entries were dropped", self.name);
            silverback_pdk::log(LogLevel::Err, "", &text);
        }
    }
}

/// Sends a batch, again and again if need be, for as long as may be.
async fn deliver(
    name: &str,
    settings: &QueueSettings,
    sink: &impl Sink,
    batch: Vec<Bytes>,
    mut end: End,
) {
    let began = Instant::now();
    let longest = seconds(settings.max_retry_delay, 60.0);
    let mut delay = seconds(settings.initial_retry_delay, 0.01);
    loop {
        let Err(error) = sink.send(&batch).await else { return };
        let text = format!("queue {name}: entries could not be sent: {error}");
        silverback_pdk::log(LogLevel::Warn, "", &text);
        let over = began.elapsed() > seconds(settings.max_retry_time, 60.0);
        if over || end.has_come() {
            let count = batch.len();
            let text = format!("queue {name}: {count} entries were lost, for too long: {error}");
            silverback_pdk::log(LogLevel::Err, "", &text);
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(delay.min(longest)) => {}
            // One more try, and that is all.
            () = end.wait() => {}
        }
        delay = delay.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests;
