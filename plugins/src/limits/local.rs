//! This node's own counters, shared by all workers and instances: exact, without a lock.

use std::{
    cell::RefCell,
    sync::{
        LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use foldhash::quality::RandomState;
use papaya::HashMap;

use super::{Limit, Moment, Period, Used, Window, is_exceeded};

/// The counters of this process. They outlive configurations, as in Kong.
pub(crate) static COUNTERS: LazyLock<Counters> = LazyLock::new(|| Counters::new(MOST));

/// How many there may be: some 100 MB at the most.
const MOST: usize = 500_000;
/// How many bytes each takes, about: its cells, its key, its place in the map.
const BYTES: usize = 200;
/// How many new counters bring about a look for those whose windows are over.
const SWEEP: usize = 10_000;

/// Counters by key.
pub(crate) struct Counters {
    map: HashMap<Box<[u8]>, Counter, RandomState>,
    made: AtomicUsize,
    most: usize,
}

/// One cell for each period: the number of a window in the upper bits, the count in the lower.
#[derive(Default)]
struct Counter([AtomicU64; Period::ALL.len()]);

/// What a cell holds while its counter is taken out of the map. Windows this late are not met:
/// the numbers of none have all bits set.
const GONE: u64 = u64::MAX;

/// How many of a cell's bits count: what the number of a window leaves, for thousands of years.
fn count_bits(period: Period) -> u32 {
    match period {
        Period::Second => 28,
        Period::Minute => 34,
        Period::Hour => 40,
        Period::Day => 44,
        Period::Month => 46,
        Period::Year => 50,
    }
}

/// A counter that is being removed: its successor is to be used.
struct Gone;

impl Counter {
    fn cell(&self, period: Period) -> &AtomicU64 {
        let [second, minute, hour, day, month, year] = &self.0;
        match period {
            Period::Second => second,
            Period::Minute => minute,
            Period::Hour => hour,
            Period::Day => day,
            Period::Month => month,
            Period::Year => year,
        }
    }

    /// Adds to the count of a window, unless it is `refuse`d: the count before, and whether it
    /// was added. A request that comes late counts in the window that has begun meanwhile.
    fn add(
        &self,
        period: Period,
        window: Window,
        value: u64,
        refuse: impl Fn(u64) -> bool,
    ) -> Result<(u64, bool), Gone> {
        let (cell, bits) = (self.cell(period), count_bits(period));
        let most = (1 << bits) - 1;
        let mut seen = cell.load(Relaxed);
        loop {
            if seen == GONE {
                return Err(Gone);
            }
            let (number, count) = (seen >> bits, seen & most);
            let (number, count) =
                if number < window.number { (window.number, 0) } else { (number, count) };
            if refuse(count) {
                return Ok((count, false));
            }
            let new = (number << bits) | count.saturating_add(value).min(most);
            match cell.compare_exchange_weak(seen, new, Relaxed, Relaxed) {
                Ok(_) => return Ok((count, true)),
                Err(now) => seen = now,
            }
        }
    }

    /// The count of a window.
    fn count(&self, period: Period, window: Window) -> Result<u64, Gone> {
        self.add(period, window, 0, |_| true).map(|(count, _)| count)
    }

    /// Takes back what [`Counter::add`] has added.
    fn take_back(&self, period: Period, window: Window) {
        let (cell, bits) = (self.cell(period), count_bits(period));
        // A window that is over needs no correction.
        let _ = cell.fetch_update(Relaxed, Relaxed, |seen| {
            let counts = seen != GONE && seen >> bits == window.number;
            (counts && seen & ((1 << bits) - 1) > 0).then(|| seen - 1)
        });
    }

    /// Marks it as gone if all its windows are over.
    fn retire(&self, now: Moment) -> bool {
        for (at, period) in Period::ALL.into_iter().enumerate() {
            let cell = self.cell(period);
            let seen = cell.load(Relaxed);
            let over = seen != GONE && seen >> count_bits(period) < now.window(period).number;
            if !over || cell.compare_exchange(seen, GONE, Relaxed, Relaxed).is_err() {
                // Those before were over: they may as well begin anew.
                for period in Period::ALL.into_iter().take(at) {
                    self.cell(period).store(0, Relaxed);
                }
                return false;
            }
        }
        true
    }

    fn is_gone(&self) -> bool {
        self.cell(Period::Second).load(Relaxed) == GONE
    }
}

thread_local! {
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Counters {
    pub(crate) fn new(most: usize) -> Counters {
        Counters {
            map: HashMap::with_hasher(RandomState::default()),
            made: AtomicUsize::new(0),
            most,
        }
    }

    /// About how many bytes are in use, and how many may be.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        ((self.map.len() * BYTES) as u64, (self.most * BYTES) as u64)
    }

    /// Counts one more where nothing is exceeded: what was used before. The key is given in
    /// parts.
    pub(crate) fn take(&self, key: &[&[u8]], limits: &[Limit], now: Moment) -> Used {
        self.with(key, now, |counter| take(counter, limits, now))
    }

    /// What was used.
    pub(crate) fn used(&self, key: &[&[u8]], limits: &[Limit], now: Moment) -> Used {
        self.with(key, now, |counter| used(counter, limits, now))
    }

    /// Counts, whatever the limits.
    pub(crate) fn add(&self, key: &[&[u8]], limits: &[Limit], value: u64, now: Moment) {
        self.with(key, now, |counter| {
            for limit in limits {
                counter.add(limit.period, now.window(limit.period), value, |_| false)?;
            }
            Ok(())
        });
    }

    fn with<T>(&self, key: &[&[u8]], now: Moment, work: impl Fn(&Counter) -> Result<T, Gone>) -> T {
        KEY.with_borrow_mut(|buffer| {
            buffer.clear();
            for part in key {
                buffer.extend_from_slice(part);
            }
            self.with_key(buffer, now, work)
        })
    }

    fn with_key<T>(
        &self,
        key: &[u8],
        now: Moment,
        work: impl Fn(&Counter) -> Result<T, Gone>,
    ) -> T {
        let map = self.map.pin();
        loop {
            let counter = match map.get(key) {
                Some(counter) => counter,
                None => {
                    self.make_room(now);
                    map.get_or_insert_with(key.into(), Counter::default)
                }
            };
            match work(counter) {
                Ok(done) => return done,
                // Whoever marked it may not have removed it yet.
                Err(Gone) => drop(map.remove_if(key, |_, counter| counter.is_gone())),
            }
        }
    }

    /// Removes counters whose windows are over, now and then; where that is not enough, an eighth
    /// of all, and says so.
    fn make_room(&self, now: Moment) {
        let made = self.made.fetch_add(1, Relaxed) + 1;
        let full = self.map.len() >= self.most;
        if !made.is_multiple_of(SWEEP) && !full {
            return;
        }
        let map = self.map.pin();
        map.retain(|_, counter| !counter.retire(now));
        if map.len() < self.most {
            return;
        }
        let mut dropped = 0_usize;
        let mut seen = 0_usize;
        map.retain(|_, _| {
            seen += 1;
            dropped += usize::from(seen.is_multiple_of(8));
            !seen.is_multiple_of(8)
        });
        let text = format!(
            "rate limits: more than {} counters are in use; {dropped} were dropped, and those \
             clients count from 0 again",
            self.most
        );
        silverback_pdk::log(silverback_pdk::LogLevel::Warn, "", &text);
    }
}

fn used(counter: &Counter, limits: &[Limit], now: Moment) -> Result<Used, Gone> {
    let mut used = Used::default();
    for (used, limit) in used.iter_mut().zip(limits) {
        *used = counter.count(limit.period, now.window(limit.period))?;
    }
    Ok(used)
}

fn take(counter: &Counter, limits: &[Limit], now: Moment) -> Result<Used, Gone> {
    let mut before = used(counter, limits, now)?;
    if limits.iter().zip(before).any(|(limit, used)| is_exceeded(*limit, used)) {
        return Ok(before);
    }
    for at in 0..limits.len() {
        let (Some(limit), Some(used)) = (limits.get(at), before.get_mut(at)) else { break };
        let refuse = |count| is_exceeded(*limit, count);
        let added = counter.add(limit.period, now.window(limit.period), 1, refuse);
        if let Ok((count, _)) = added {
            *used = count;
        }
        if matches!(added, Ok((_, true))) {
            continue;
        }
        // Another request was faster: what this one has taken of shorter windows goes back.
        for limit in limits.iter().take(at) {
            counter.take_back(limit.period, now.window(limit.period));
        }
        added?;
        break;
    }
    Ok(before)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const NOW: Moment = Moment(1_700_000_000);

    fn limits(limits: &[(Period, f64)]) -> Vec<Limit> {
        limits.iter().map(|(period, most)| Limit { period: *period, most: *most }).collect()
    }

    #[test]
    fn no_more_than_the_limit_pass_however_many_ask_at_once() {
        let counters = Arc::new(Counters::new(100));
        let limits = Arc::new(limits(&[(Period::Minute, 5_000.0), (Period::Day, 7_000.0)]));
        let passed = |now: Moment| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    let (counters, limits) = (Arc::clone(&counters), Arc::clone(&limits));
                    std::thread::spawn(move || {
                        let pass = |_: &u32| {
                            let used = counters.take(&[b"a", b"b"], &limits, now);
                            !limits.iter().zip(used).any(|(l, u)| is_exceeded(*l, u))
                        };
                        (0..2_000).filter(pass).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        };
        assert_eq!(passed(NOW), 5_000);
        assert_eq!(passed(Moment(NOW.0 + 60)), 2_000);
        assert_eq!(passed(Moment(NOW.0 + 120)), 0);
        assert_eq!(passed(Moment(NOW.0 + 86_400)), 5_000);
    }

    #[test]
    fn a_refused_request_is_not_counted() {
        let counters = Counters::new(100);
        let limits = limits(&[(Period::Second, 1.0), (Period::Day, 10.0)]);
        let check = |now: Moment, expect: [u64; 2]| {
            assert_eq!(counters.take(&[b"a"], &limits, now)[..2], expect, "{now:?}");
        };
        check(NOW, [0, 0]);
        check(NOW, [1, 1]);
        check(NOW, [1, 1]);
        check(Moment(NOW.0 + 1), [0, 1]);
        // A request that comes late counts in the window that has begun.
        check(NOW, [1, 2]);
    }

    #[test]
    fn counters_are_dropped_when_their_windows_are_over() {
        let counters = Counters::new(100);
        let limits = limits(&[(Period::Minute, 9.0)]);
        let fill = |now: Moment, tag: u8| {
            for at in 0..50_u8 {
                counters.take(&[&[tag, at]], &limits, now);
            }
        };
        fill(NOW, 1);
        fill(NOW, 2);
        assert_eq!(counters.map.len(), 100);
        fill(Moment(NOW.0 + 60), 3);
        assert_eq!(counters.map.len(), 50);
        fill(Moment(NOW.0 + 60), 4);
        assert_eq!(counters.map.len(), 100);
        // Nothing is over: some go all the same, and the number stays within its bound.
        fill(Moment(NOW.0 + 60), 5);
        assert!(counters.map.len() <= 100, "{}", counters.map.len());
        assert_eq!(counters.used(&[&[5, 49]], &limits, Moment(NOW.0 + 60))[0], 1);
    }

    #[test]
    fn counters_that_retire_lose_no_request() {
        let counters = Arc::new(Counters::new(1_000_000));
        let limits = Arc::new(limits(&[(Period::Second, 1e6)]));
        let sweeper = {
            let counters = Arc::clone(&counters);
            std::thread::spawn(move || {
                for at in 0..2_000 {
                    let map = counters.map.pin();
                    map.retain(|_, counter| !counter.retire(Moment(NOW.0 + at % 2)));
                }
            })
        };
        let mut count = 0;
        while !sweeper.is_finished() {
            count += 1;
            counters.take(&[b"k"], &limits, Moment(NOW.0 + 2));
        }
        sweeper.join().unwrap();
        assert_eq!(counters.used(&[b"k"], &limits, Moment(NOW.0 + 2))[0], count);
    }
}
