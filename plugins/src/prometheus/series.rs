//! The counts, and how they are shown. Threads count apart from one another, and whoever shows the
//! counts adds them up: nobody waits for anybody.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use papaya::HashMap;

/// How many sets of labels a kind of count may have, in each shard.
const MOST: usize = 5_000;
/// How many shards there are; threads beyond that share.
const SHARDS: usize = 16;

/// Upper bounds in milliseconds, Kong's.
const OF_KONG: [u64; 17] =
    [1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000];
const OF_UPSTREAMS: [u64; 13] =
    [25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000];

/// The counts of some threads.
#[derive(Default)]
pub(super) struct Shard {
    pub(super) requests: Family<AtomicU64>,
    pub(super) sessions: Family<AtomicU64>,
    pub(super) bytes: Family<AtomicU64>,
    pub(super) latencies: Family<Latencies>,
}

/// Counts by their labels.
pub(super) struct Family<T>(HashMap<Box<str>, T>);

impl<T> Default for Family<T> {
    fn default() -> Self {
        Family(HashMap::new())
    }
}

/// How long requests of a route took.
#[derive(Default)]
pub(super) struct Latencies {
    pub(super) kong: Histogram<18>,
    pub(super) upstream: Histogram<14>,
    pub(super) request: Histogram<14>,
    pub(super) session: Histogram<14>,
}

/// How many took no longer than each bound, and the rest; and how long all of them took.
pub(super) struct Histogram<const N: usize> {
    counts: [AtomicU64; N],
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Histogram { counts: [const { AtomicU64::new(0) }; N], sum: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts a number of milliseconds.
    pub(super) fn observe(&self, millis: u64) {
        let at = bounds::<N>().iter().position(|bound| millis <= *bound).unwrap_or(N - 1);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(millis, Relaxed);
    }

    fn read(&self) -> Vec<u64> {
        let counts = self.counts.iter().chain([&self.sum]);
        counts.map(|count| count.load(Relaxed)).collect()
    }
}

fn bounds<const N: usize>() -> &'static [u64] {
    if N == OF_KONG.len() + 1 { &OF_KONG } else { &OF_UPSTREAMS }
}

static ALL: LazyLock<[Shard; SHARDS]> = LazyLock::new(Default::default);
static THREADS: AtomicUsize = AtomicUsize::new(0);
/// What was not counted, because there were too many sets of labels.
static ERRORS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static THREAD: usize = THREADS.fetch_add(1, Relaxed) % SHARDS;
}

/// Counts on this thread.
pub(super) fn of_this_thread(count: impl FnOnce(&Shard)) {
    if let Some(shard) = THREAD.with(|thread| ALL.get(*thread)) {
        count(shard);
    }
}

impl<T: Default> Family<T> {
    /// Counts under these labels; not where there are too many.
    pub(super) fn with(&self, labels: &str, count: impl FnOnce(&T)) -> bool {
        let series = self.0.pin();
        let one = match series.get(labels) {
            Some(one) => one,
            None if series.len() >= MOST => {
                ERRORS.fetch_add(1, Relaxed);
                return false;
            }
            None => series.get_or_insert_with(labels.into(), T::default),
        };
        count(one);
        true
    }
}

impl Family<AtomicU64> {
    pub(super) fn add(&self, labels: &str, amount: u64) {
        self.with(labels, |count| {
            count.fetch_add(amount, Relaxed);
        });
    }
}

/// The counts of all threads by their labels.
fn sums(family: impl Fn(&Shard) -> &Family<AtomicU64>) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for shard in ALL.iter() {
        for (labels, count) in &family(shard).0.pin() {
            *sums.entry(labels.to_string()).or_default() += count.load(Relaxed);
        }
    }
    sums
}

fn histograms(read: impl Fn(&Latencies) -> Vec<u64>) -> BTreeMap<String, Vec<u64>> {
    let mut sums: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for shard in ALL.iter() {
        for (labels, latencies) in &shard.latencies.0.pin() {
            let counts = read(latencies);
            let sum = sums.entry(labels.to_string()).or_insert_with(|| vec![0; counts.len()]);
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
    sums
}

/// All counts, in Prometheus' text format.
pub(crate) fn page() -> String {
    let mut page = String::new();
    let head = |page: &mut String, name: &str, kind: &str, help: &str| {
        // Writing to a string can't fail.
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    let name = "kong_nginx_metric_errors_total";
    head(&mut page, name, "counter", "What was not counted: too many sets of labels");
    let _ = writeln!(page, "{name} {}", ERRORS.load(Relaxed));
    let counters = [
        ("kong_http_requests_total", sums(|s| &s.requests), "Requests by status"),
        ("kong_stream_sessions_total", sums(|s| &s.sessions), "Streams by status"),
        ("kong_bandwidth_bytes", sums(|s| &s.bytes), "Bytes received and sent"),
    ];
    for (name, sums, help) in counters.into_iter().filter(|(_, sums, _)| !sums.is_empty()) {
        head(&mut page, name, "counter", help);
        for (labels, count) in sums {
            let _ = writeln!(page, "{name}{{{labels}}} {count}");
        }
    }
    let histograms = [
        ("kong_kong_latency_ms", histograms(|l| l.kong.read()), "Time in the gateway"),
        ("kong_request_latency_ms", histograms(|l| l.request.read()), "Time of whole requests"),
        ("kong_session_duration_ms", histograms(|l| l.session.read()), "Time of whole streams"),
        ("kong_upstream_latency_ms", histograms(|l| l.upstream.read()), "Time of upstreams"),
    ];
    for (name, histograms, help) in histograms {
        let counted = |counts: &Vec<u64>| counts.iter().rev().skip(1).any(|count| *count > 0);
        let seen: Vec<_> = histograms.iter().filter(|(_, counts)| counted(counts)).collect();
        if !seen.is_empty() {
            head(&mut page, name, "histogram", help);
        }
        for (labels, counts) in seen {
            histogram(&mut page, name, labels, counts);
        }
    }
    page
}

fn histogram(page: &mut String, name: &str, labels: &str, counts: &[u64]) {
    let Some((sum, counts)) = counts.split_last() else { return };
    let bounds: &[u64] = if counts.len() > OF_KONG.len() { &OF_KONG } else { &OF_UPSTREAMS };
    let bounds = bounds.iter().map(u64::to_string).chain(["+Inf".to_owned()]);
    let mut total = 0;
    for (bound, count) in bounds.zip(counts) {
        total += count;
        let _ = writeln!(page, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
    }
    let _ = writeln!(page, "{name}_count{{{labels}}} {total}");
    let _ = writeln!(page, "{name}_sum{{{labels}}} {sum}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_count_apart_and_are_added_up() {
        let count = || {
            of_this_thread(|shard| {
                shard.bytes.add("test=\"sum\"", 10);
                shard.latencies.with("test=\"time\"", |latencies| {
                    latencies.kong.observe(5);
                    latencies.kong.observe(9_999);
                    latencies.upstream.observe(25);
                });
            });
        };
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(count)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let page = page();
        for line in [
            "kong_bandwidth_bytes{test=\"sum\"} 40",
            "kong_kong_latency_ms_bucket{test=\"time\",le=\"2\"} 0",
            "kong_kong_latency_ms_bucket{test=\"time\",le=\"5\"} 4",
            "kong_kong_latency_ms_bucket{test=\"time\",le=\"6000\"} 4",
            "kong_kong_latency_ms_bucket{test=\"time\",le=\"+Inf\"} 8",
            "kong_kong_latency_ms_count{test=\"time\"} 8",
            "kong_kong_latency_ms_sum{test=\"time\"} 40016",
            "kong_upstream_latency_ms_bucket{test=\"time\",le=\"25\"} 4",
            "# TYPE kong_upstream_latency_ms histogram",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(!page.contains("kong_session_duration_ms"), "{page}");
    }

    #[test]
    fn sets_of_labels_are_bounded() {
        let family = Family::<AtomicU64>::default();
        for at in 0..MOST + 10 {
            family.add(&format!("at=\"{at}\""), 1);
        }
        assert_eq!(family.0.len(), MOST);
        assert!(ERRORS.load(Relaxed) >= 10);
        assert!(page().contains("kong_nginx_metric_errors_total "));
    }
}
