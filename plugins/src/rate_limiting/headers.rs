//! What an answer says of the limits: `X-RateLimit-*` of each, `RateLimit-*` of the tightest
//! (draft-polli-ratelimit-headers), `Retry-After` of a refusal.

use http::{HeaderName, HeaderValue, header::RETRY_AFTER};
use silverback_pdk::Exchange;

use crate::limits::{
    Limit, Moment, Period, Used, constant_number, is_exceeded, number, whole_number,
};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// What is told of a limit: what is the same for all requests.
pub(super) struct Told {
    /// `X-RateLimit-Limit-*` and `X-RateLimit-Remaining-*`.
    names: [HeaderName; 2],
    most: HeaderValue,
}

impl Told {
    pub(super) fn of(limit: &Limit) -> Told {
        let names = match limit.period {
            Period::Second => ["x-ratelimit-limit-second", "x-ratelimit-remaining-second"],
            Period::Minute => ["x-ratelimit-limit-minute", "x-ratelimit-remaining-minute"],
            Period::Hour => ["x-ratelimit-limit-hour", "x-ratelimit-remaining-hour"],
            Period::Day => ["x-ratelimit-limit-day", "x-ratelimit-remaining-day"],
            Period::Month => ["x-ratelimit-limit-month", "x-ratelimit-remaining-month"],
            Period::Year => ["x-ratelimit-limit-year", "x-ratelimit-remaining-year"],
        };
        Told { names: names.map(HeaderName::from_static), most: constant_number(limit.most) }
    }
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
    told: &[Told],
    used: Used,
    stopped: Option<Period>,
    now: Moment,
) {
    let headers = &mut exchange.response.headers;
    let mut tightest: Option<(f64, &Limit, &Told)> = None;
    for ((limit, told), used) in limits.iter().zip(told).zip(used) {
        let counts = stopped.is_none_or(|stopped| stopped == limit.period);
        #[expect(clippy::cast_precision_loss, reason = "Lua counts in doubles too")]
        let remaining = (limit.most - used as f64 - f64::from(u8::from(counts))).max(0.0);
        // Of equal ones the longest counts, which comes last.
        if tightest.is_none_or(|(least, ..)| remaining <= least) {
            tightest = Some((remaining, limit, told));
        }
        let [limit_name, remaining_name] = &told.names;
        headers.insert(limit_name.clone(), told.most.clone());
        headers.insert(remaining_name.clone(), number(remaining));
    }
    let Some((remaining, limit, told)) = tightest else { return };
    let reset = now.window(limit.period).end.saturating_sub(now.0).max(1);
    let reset = i64::try_from(reset).unwrap_or(i64::MAX);
    headers.insert(LIMIT, told.most.clone());
    headers.insert(REMAINING, number(remaining));
    headers.insert(RESET, whole_number(reset));
    if stopped.is_some() {
        headers.insert(RETRY_AFTER, whole_number(reset));
    }
}
