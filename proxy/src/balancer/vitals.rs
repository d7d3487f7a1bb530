//! How an address is: the state machine of Kong's health checks (lua-resty-healthcheck,
//! `incr_counter`) in one atomic word, so that workers report without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How an address is, and what was counted of it since.
#[derive(Debug, Default)]
pub(crate) struct Vitals(AtomicU64);

/// What was seen of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// An answer with a good status, or a connection where that is enough.
    Success,
    /// An answer with a bad status.
    HttpFailure,
    /// A connection that was refused or broke.
    TcpFailure,
    /// No connection or no answer in time.
    Timeout,
}

const HEALTHY: u64 = 0;
const MOSTLY_HEALTHY: u64 = 1;
const MOSTLY_UNHEALTHY: u64 = 2;
const UNHEALTHY: u64 = 3;
/// The state is in the lowest byte, then a byte for each count.
const STATE: u64 = 0xff;
const SUCCESSES: u64 = 0xff00;

impl Sign {
    fn shift(self) -> u32 {
        match self {
            Sign::Success => 8,
            Sign::HttpFailure => 16,
            Sign::TcpFailure => 24,
            Sign::Timeout => 32,
        }
    }
}

impl Vitals {
    /// Whether it gets requests.
    #[inline]
    pub(crate) fn is_available(&self) -> bool {
        self.0.load(Relaxed) & STATE <= MOSTLY_HEALTHY
    }

    /// Counts a sign; after `limit` of them the state is its own. A limit of 0 counts nothing.
    /// Gives whether the address is available, if that has changed.
    pub(crate) fn count(&self, sign: Sign, limit: u8) -> Option<bool> {
        if limit == 0 {
            return None;
        }
        let counted = self.0.fetch_update(Relaxed, Relaxed, |before| after(before, sign, limit));
        let before = counted.ok()?;
        let now = after(before, sign, limit)?;
        let available = now & STATE <= MOSTLY_HEALTHY;
        (available != (before & STATE <= MOSTLY_HEALTHY)).then_some(available)
    }

    /// Says how it is, and forgets what was counted. Gives whether that changes anything.
    pub(crate) fn set(&self, healthy: bool) -> bool {
        let state = if healthy { HEALTHY } else { UNHEALTHY };
        let before = self.0.swap(state, Relaxed);
        (before & STATE <= MOSTLY_HEALTHY) != healthy
    }
}

/// The word after a sign; none where it stays as it is.
fn after(before: u64, sign: Sign, limit: u8) -> Option<u64> {
    let state = before & STATE;
    let own = if sign == Sign::Success { HEALTHY } else { UNHEALTHY };
    if state == own {
        return None;
    }
    // What speaks against it is forgotten.
    let kept = before & if sign == Sign::Success { SUCCESSES } else { !(SUCCESSES | STATE) };
    let shift = sign.shift();
    let count = ((before >> shift) & 0xff) + 1;
    let count = count.min(0xff);
    let kept = (kept & !(0xff << shift)) | (count << shift);
    let state = match state {
        _ if count >= limit.into() => own,
        HEALTHY => MOSTLY_HEALTHY,
        UNHEALTHY => MOSTLY_UNHEALTHY,
        state => state,
    };
    Some(kept | state)
}

#[cfg(test)]
mod tests {
    use super::{Sign::*, *};

    /// Counts the signs, each with the limit of 3, and compares whether it is available after
    /// each.
    fn check(signs: &[Sign], expect: &str) {
        let vitals = Vitals::default();
        let seen = |sign: &Sign| {
            vitals.count(*sign, 3);
            if vitals.is_available() { '+' } else { '-' }
        };
        assert_eq!(signs.iter().map(seen).collect::<String>(), expect);
    }

    #[test]
    fn three_signs_of_a_kind_turn_it() {
        check(&[TcpFailure, TcpFailure, TcpFailure, TcpFailure], "++--");
        check(&[TcpFailure, HttpFailure, Timeout, Timeout, Timeout], "++++-");
        check(&[TcpFailure, TcpFailure, Success, TcpFailure, TcpFailure, TcpFailure], "+++++-");
        check(&[Timeout, Timeout, Timeout, Success, Success, Timeout, Success], "++-----");
        check(&[Timeout, Timeout, Timeout, Success, Success, Success], "++---+");
    }

    #[test]
    fn a_limit_of_nothing_counts_nothing() {
        let vitals = Vitals::default();
        assert_eq!(vitals.count(TcpFailure, 1), Some(false));
        assert_eq!(vitals.count(Success, 0), None);
        assert!(!vitals.is_available());
        assert_eq!(vitals.count(Success, 1), Some(true));
        assert_eq!(vitals.count(TcpFailure, 0), None);
    }

    #[test]
    fn setting_forgets() {
        let vitals = Vitals::default();
        vitals.count(TcpFailure, 2);
        assert!(!vitals.set(true));
        assert_eq!(vitals.count(TcpFailure, 2), None);
        assert!(vitals.set(false));
        assert!(vitals.set(true));
    }
}
