//! An address of a target, and what is known of how it does.

use std::{
    net::IpAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{place::literal, vitals::Vitals};

/// An address that a target stands for: the target itself, or what DNS says of it.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// The target, as the balancer counts them.
    pub(crate) target: u32,
    /// As the Admin API shows it: an address, IPv6 in brackets, or a name that workers resolve.
    pub(crate) shown: Box<str>,
    /// The address; none where it is a name.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: u16,
    /// 0 gets no requests.
    pub(crate) weight: u32,
    /// The name in the Host header that it gets.
    pub(crate) host: Box<str>,
    /// How it does; outlives this value.
    pub(crate) state: Arc<State>,
}

/// How an address does.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// What health checks make of it.
    pub(crate) vitals: Vitals,
    /// Requests that it serves now; counted where the algorithm asks.
    pub(crate) connections: AtomicU32,
    /// How quickly it answers; measured where the algorithm asks.
    pub(crate) latency: Latency,
}

impl Address {
    /// An address of the target `host`, known by `shown`.
    pub(crate) fn new(target: u32, host: &str, shown: &str, port: u16, weight: u32) -> Address {
        Address {
            target,
            shown: shown.into(),
            ip: literal(shown),
            port,
            weight,
            host: host.into(),
            state: Arc::default(),
        }
    }

    #[inline]
    pub(crate) fn is_available(&self) -> bool {
        self.state.vitals.is_available()
    }
}

/// How quickly an address answers: a mean in which what is older weighs less
/// (kong/runloop/balancer/latency.lua).
///
/// A mean that decays for all addresses at one pace is kept as a logarithm that does not change
/// with time: comparing two takes a subtraction.
#[derive(Debug)]
pub(crate) struct Latency {
    /// ln(mean) + time of the last measurement / DECAY; -inf where nothing was measured.
    score: AtomicU64,
    /// The time of the last measurement.
    at: AtomicU64,
}

/// Seconds after which a measurement weighs 1/e.
const DECAY: f64 = 10.0;

/// What times are counted from.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Default for Latency {
    fn default() -> Latency {
        let never = f64::NEG_INFINITY.to_bits();
        Latency { score: AtomicU64::new(never), at: AtomicU64::new(never) }
    }
}

impl Latency {
    /// The smaller, the quicker; only good to be compared with that of others.
    #[inline]
    pub(crate) fn score(&self) -> f64 {
        f64::from_bits(self.score.load(Relaxed))
    }

    /// Takes in how long an answer took.
    pub(crate) fn measure(&self, took: Duration) {
        self.measure_at(took, EPOCH.elapsed());
    }

    fn measure_at(&self, took: Duration, now: Duration) {
        let now = now.as_secs_f64();
        let before = f64::from_bits(self.at.swap(now.to_bits(), Relaxed));
        // At once after another it would weigh nothing.
        let kept = (-(now - before).max(0.0) / DECAY).exp();
        let mean = self.mean(now) + took.as_secs_f64() * (1.0 - kept);
        self.score.store((mean.ln() + now / DECAY).to_bits(), Relaxed);
    }

    /// The mean, in seconds, as it has decayed by now.
    fn mean(&self, now: f64) -> f64 {
        (self.score() - now / DECAY).exp()
    }

    /// A new address begins with the mean of the others, not as the quickest of all.
    pub(crate) fn begin_like(&self, others: &[&Latency]) {
        let now = EPOCH.elapsed().as_secs_f64();
        let means = others.iter().map(|other| other.mean(now));
        let mean = means.sum::<f64>() / others.len() as f64;
        if mean > 0.0 && self.score() == f64::NEG_INFINITY {
            self.score.store((mean.ln() + now / DECAY).to_bits(), Relaxed);
            self.at.store(now.to_bits(), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_weighs_less() {
        let latency = Latency::default();
        let check = |at: u64, took: u64, expect: f64| {
            latency.measure_at(Duration::from_millis(took), Duration::from_secs(at));
            let mean = latency.mean(at as f64);
            assert!((mean - expect).abs() < 0.0005, "{mean} {expect}");
        };
        check(1, 100, 0.1);
        check(1, 900, 0.1);
        // 0.1 / e + 0.2 × (1 - 1/e)
        check(11, 200, 0.1632);
        check(1000, 50, 0.05);
    }

    #[test]
    fn a_new_address_begins_in_the_middle() {
        let (quick, slow, new) = (Latency::default(), Latency::default(), Latency::default());
        quick.measure(Duration::from_millis(1));
        slow.measure(Duration::from_millis(100));
        new.begin_like(&[&quick, &slow]);
        assert!(quick.score() < new.score() && new.score() < slow.score());
    }
}
