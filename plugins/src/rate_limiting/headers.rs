//! What an answer says of the limits: `X-RateLimit-*` of each, `RateLimit-*` of the tightest
//! (draft-polli-ratelimit-headers), `Retry-After` of a refusal.

use http::{HeaderName, HeaderValue};
use silverback_pdk::Exchange;

use crate::limits::{self, Limit, Moment, Period, Used, is_exceeded, number};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// `X-RateLimit-Limit-*` and `X-RateLimit-Remaining-*`.
fn names(period: Period) -> [HeaderName; 2] {
    let [limit, remaining] = match period {
        Period::Second => ["x-ratelimit-limit-second", "x-ratelimit-remaining-second"],
        Period::Minute => ["x-ratelimit-limit-minute", "x-ratelimit-remaining-minute"],
        Period::Hour => ["x-ratelimit-limit-hour", "x-ratelimit-remaining-hour"],
        Period::Day => ["x-ratelimit-limit-day", "x-ratelimit-remaining-day"],
        Period::Month => ["x-ratelimit-limit-month", "x-ratelimit-remaining-month"],
        Period::Year => ["x-ratelimit-limit-year", "x-ratelimit-remaining-year"],
    };
    [HeaderName::from_static(limit), HeaderName::from_static(remaining)]
}

/// The longest of the periods of which nothing is left.
pub(super) fn stop(limits: &[Limit], used: Used) -> Option<Period> {
    let mut exceeded = limits.iter().zip(used).filter(|(limit, used)| is_exceeded(**limit, *used));
    exceeded.next_back().map(|(limit, _)| limit.period)
}

/// Sets the headers. What is left counts this request, where it passes; of a request that is
/// refused only the limit that refuses it, as in Kong.
pub(super) fn set(
    exchange: &mut Exchange,
    limits: &[Limit],
    used: Used,
    stopped: Option<Period>,
    now: Moment,
) {
    let mut tightest: Option<(f64, Limit)> = None;
    for (limit, used) in limits.iter().zip(used) {
        let counts = stopped.is_none_or(|stopped| stopped == limit.period);
        #[expect(clippy::cast_precision_loss, reason = "Lua counts in doubles too")]
        let remaining = (limit.most - used as f64 - f64::from(u8::from(counts))).max(0.0);
        // Of equal ones the longest counts, which comes last.
        if tightest.is_none_or(|(least, _)| remaining <= least) {
            tightest = Some((remaining, *limit));
        }
        let [limit_name, remaining_name] = names(limit.period);
        limits::set(exchange, limit_name, number(limit.most));
        limits::set(exchange, remaining_name, number(remaining));
    }
    let Some((remaining, limit)) = tightest else { return };
    let reset = now.window(limit.period).end.saturating_sub(now.0).max(1);
    limits::set(exchange, LIMIT, number(limit.most));
    limits::set(exchange, REMAINING, number(remaining));
    limits::set(exchange, RESET, HeaderValue::from(reset));
    if stopped.is_some() {
        limits::set(exchange, http::header::RETRY_AFTER, HeaderValue::from(reset));
    }
}
