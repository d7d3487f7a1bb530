//! Limits that have names, and what is told of them.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Periods;
use crate::limits::{Limit, Period, Used, number};

/// A limit that has a name.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) limits: Vec<Limit>,
    /// The header that tells the upstream what is left.
    pub(super) to_upstream: Option<HeaderName>,
    /// For each period the headers that tell the client.
    to_client: Vec<Option<[HeaderName; 2]>>,
}

impl Named {
    pub(super) fn new(name: &str, periods: &Periods) -> Named {
        let Periods { second, minute, hour, day, month, year } = periods;
        let all = Period::ALL.into_iter().zip([second, minute, hour, day, month, year]);
        let limits = all.filter_map(|(period, most)| Some(Limit { period, most: (*most)? }));
        let limits: Vec<_> = limits.collect();
        let header = |text: String| HeaderName::try_from(text).ok();
        let to_client = |limit: &Limit| {
            let of =
                |what: &str| header(format!("x-ratelimit-{what}-{name}-{}", limit.period.name()));
            Some([of("limit")?, of("remaining")?])
        };
        Named {
            name: name.to_owned(),
            to_upstream: header(format!("x-ratelimit-remaining-{name}")),
            to_client: limits.iter().map(to_client).collect(),
            limits,
        }
    }

    /// What is left in each period; less than nothing where the last answer cost more.
    #[expect(clippy::cast_precision_loss, reason = "Lua counts in doubles too")]
    pub(super) fn left(&self, used: Used) -> impl Iterator<Item = f64> + Clone {
        self.limits.iter().zip(used).map(|(limit, used)| limit.most - used as f64)
    }

    /// Tells the client what is left.
    #[expect(clippy::cast_precision_loss, reason = "Lua counts in doubles too")]
    pub(super) fn tell(&self, headers: &mut HeaderMap<HeaderValue>, used: Used, cost: u64) {
        let left = self.left(used).map(|left| (left - cost as f64).max(0.0));
        for ((limit, names), left) in self.limits.iter().zip(&self.to_client).zip(left) {
            let Some([limit_name, left_name]) = names else { continue };
            headers.insert(limit_name.clone(), number(limit.most));
            headers.insert(left_name.clone(), number(left));
        }
    }
}

/// The cost that a line such as `a=1, b=2` names for a limit.
pub(super) fn cost(line: &str, name: &str) -> u64 {
    let mut costs = line.split(',').filter_map(|part| {
        let (limit, cost) = part.split_once('=')?;
        (limit.trim() == name && !cost.contains('=')).then(|| number_of(cost.trim()))
    });
    // Named twice, the last one counts.
    costs.next_back().unwrap_or_default()
}

/// A cost as Lua reads numbers. Counters are whole, so that a fraction counts as one more.
fn number_of(text: &str) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "casts from floats saturate"
    )]
    text.parse().unwrap_or_else(|_| match text.parse::<f64>() {
        Ok(cost) if cost.is_finite() => cost.ceil() as u64,
        _ => 0,
    })
}
