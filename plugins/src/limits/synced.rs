//! Counters kept on this node and brought into step with Redis every `sync_rate` seconds: no
//! request waits for Redis but the first of its window. Between two looks nodes don't know of one
//! another's requests, so that together they may let some more pass; each by itself is exact.

use std::{
    collections::HashMap as StdMap,
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use papaya::HashMap;
use silverback_pdk::LogLevel;
use tokio::sync::OnceCell;

use super::{Limit, Moment, Used, is_exceeded, remote};
use crate::{
    background,
    redis::{Redis, RedisFault, RedisSettings},
};

/// How many keys are sent at once.
const BATCH: usize = 500;
/// How many seconds after its window a counter is kept.
const KEPT: u64 = 10;

/// The counters of all instances with the same Redis and rate.
pub(crate) struct Synced(Arc<Ledger>);

struct Ledger {
    redis: Redis,
    counters: HashMap<String, Arc<Counter>>,
    /// Whether the last look at Redis failed: said once, not every time.
    failing: AtomicBool,
}

/// The count of one window.
#[derive(Default)]
struct Counter {
    /// Whether Redis was asked what others have counted.
    known: OnceCell<()>,
    /// What this node and, as far as it knows, others have counted.
    total: AtomicU64,
    /// What Redis has not been told yet.
    pending: AtomicU64,
    /// What Redis said last, this node's part included.
    seen: AtomicU64,
    /// When the window ends, in seconds since 1970.
    end: AtomicU64,
}

/// The ledgers in use, by settings and rate in milliseconds.
static LEDGERS: LazyLock<Mutex<Ledgers>> = LazyLock::new(Mutex::default);

type Ledgers = StdMap<(RedisSettings, u64), Weak<Synced>>;

impl Synced {
    /// The counters that go with a Redis and a rate in seconds; instances share them.
    pub(crate) fn of(redis: &Redis, rate: f64) -> Arc<Synced> {
        let rate = Duration::try_from_secs_f64(rate).unwrap_or(Duration::MAX);
        let millis = u64::try_from(rate.as_millis()).unwrap_or(u64::MAX);
        let key = (redis.settings().clone(), millis);
        // Taken where configurations are loaded, never by requests.
        let mut ledgers = LEDGERS.lock().unwrap_or_else(PoisonError::into_inner);
        ledgers.retain(|_, synced| synced.strong_count() > 0);
        if let Some(synced) = ledgers.get(&key).and_then(Weak::upgrade) {
            return synced;
        }
        let ledger = Arc::new(Ledger {
            redis: redis.clone(),
            counters: HashMap::new(),
            failing: AtomicBool::new(false),
        });
        let synced = Arc::new(Synced(Arc::clone(&ledger)));
        let owner = Arc::downgrade(&synced);
        background::spawn(move |end| keep_in_step(ledger, owner, rate, end));
        ledgers.insert(key, Arc::downgrade(&synced));
        synced
    }

    /// Counts one more where nothing is exceeded: what was used before. The keys go with the
    /// limits.
    ///
    /// # Errors
    /// If a window is new here, and Redis can't say what others have counted.
    pub(crate) async fn take(
        &self,
        keys: &[String],
        limits: &[Limit],
        now: Moment,
    ) -> Result<Used, RedisFault> {
        let mut counters = Vec::with_capacity(keys.len());
        for (key, limit) in keys.iter().zip(limits) {
            let counter = self.counter(key, now.window(limit.period).end);
            counter.known.get_or_try_init(|| self.ask(key, &counter)).await?;
            counters.push(counter);
        }
        let mut used = Used::default();
        for (used, counter) in used.iter_mut().zip(&counters) {
            *used = counter.total.load(Relaxed);
        }
        if limits.iter().zip(used).any(|(limit, used)| is_exceeded(*limit, used)) {
            return Ok(used);
        }
        for (at, (counter, limit)) in counters.iter().zip(limits).enumerate() {
            let more = |total| (!is_exceeded(*limit, total)).then_some(total + 1);
            let taken = counter.total.fetch_update(Relaxed, Relaxed, more);
            if let Some(used) = used.get_mut(at) {
                *used = taken.unwrap_or_else(|total| total);
            }
            if taken.is_err() {
                for counter in counters.iter().take(at) {
                    counter.total.fetch_sub(1, Relaxed);
                }
                return Ok(used);
            }
        }
        for counter in &counters {
            counter.pending.fetch_add(1, Relaxed);
        }
        Ok(used)
    }

    fn counter(&self, key: &str, end: u64) -> Arc<Counter> {
        let counters = self.0.counters.pin();
        if let Some(counter) = counters.get(key) {
            return Arc::clone(counter);
        }
        let new = || Arc::new(Counter { end: AtomicU64::new(end), ..Counter::default() });
        Arc::clone(counters.get_or_insert_with(key.to_owned(), new))
    }

    async fn ask(&self, key: &str, counter: &Counter) -> Result<(), RedisFault> {
        let [found, ..] = remote::used(&self.0.redis, &[key.to_owned()]).await?;
        counter.seen.store(found, Relaxed);
        counter.total.store(found, Relaxed);
        Ok(())
    }
}

/// Looks at Redis every so often, and once more when no instance is left or the node ends.
async fn keep_in_step(
    ledger: Arc<Ledger>,
    owner: Weak<Synced>,
    rate: Duration,
    mut end: background::End,
) {
    while owner.strong_count() > 0 && !end.has_come() {
        tokio::select! {
            () = tokio::time::sleep(rate) => {}
            () = end.wait() => {}
        }
        ledger.sync().await;
    }
    ledger.sync().await;
}

impl Ledger {
    async fn sync(&self) {
        let now = Moment::of(SystemTime::now());
        let mut due = Vec::new();
        {
            let counters = self.counters.pin();
            for (key, counter) in &counters {
                let over = counter.end.load(Relaxed) + KEPT < now.0;
                let pending = counter.pending.load(Relaxed);
                if over {
                    counters.remove(key);
                } else if counter.known.initialized() {
                    due.push((key.clone(), Arc::clone(counter), pending));
                }
            }
        }
        for batch in due.chunks(BATCH) {
            let outcome = self.send(batch, now).await;
            let failed = outcome.is_err();
            if let (Err(fault), false) = (outcome, self.failing.load(Relaxed)) {
                let text = format!("counters are not in step: {fault}; they will be sent later");
                silverback_pdk::log(LogLevel::Err, "rate-limiting", &text);
            }
            self.failing.store(failed, Relaxed);
            if failed {
                return;
            }
        }
    }

    /// Sends what is pending, and learns what others have counted meanwhile.
    async fn send(
        &self,
        batch: &[(String, Arc<Counter>, u64)],
        now: Moment,
    ) -> Result<(), RedisFault> {
        let keys: Vec<String> = batch.iter().map(|(key, ..)| key.clone()).collect();
        let amounts: Vec<(u64, String)> =
            batch.iter().map(|(_, counter, pending)| (*pending, life(counter, now))).collect();
        let totals = remote::add(&self.redis, &keys, &amounts).await?;
        for ((_, counter, sent), total) in batch.iter().zip(totals) {
            counter.pending.fetch_sub(*sent, Relaxed);
            let total = u64::try_from(total).unwrap_or_default();
            let before = counter.seen.swap(total, Relaxed) + sent;
            counter.total.fetch_add(total.saturating_sub(before), Relaxed);
        }
        Ok(())
    }
}

fn life(counter: &Counter, now: Moment) -> String {
    let end = counter.end.load(Relaxed);
    remote::life(super::Window { number: 0, start: 0, end }, now)
}
