//! Counters in the database that nodes share, Kong's nodes included.

use silverback_model::{
    counters::{Count, CountWindow, Tally},
    schema::{Field, Schema},
};
use silverback_pdk::{Counted, Exchange};

use super::{Limit, Moment, Owner, Used};

/// What is counted, and where.
pub(crate) struct Counting<'a> {
    pub(crate) tally: Tally,
    pub(crate) owner: Owner,
    pub(crate) who: &'a str,
    pub(crate) limits: &'a [Limit],
    /// What the names of periods begin with: the name of the limit where it has one.
    pub(crate) name: Option<&'a str>,
    pub(crate) now: Moment,
}

impl Counting<'_> {
    /// Counts one more where nothing is exceeded: what was used before. None on a node that
    /// shares no database: its own counters are all there are.
    pub(crate) fn take(&self, exchange: &Exchange) -> Option<Answer> {
        self.count(exchange, 1, true)
    }

    /// Counts, whatever the limits; 0 only asks what was used.
    pub(crate) fn add(&self, exchange: &Exchange, amount: u64) -> Option<Answer> {
        self.count(exchange, amount, false)
    }

    fn count(&self, exchange: &Exchange, amount: u64, limited: bool) -> Option<Answer> {
        let window = |limit: &Limit| {
            let (window, period) = (self.now.window(limit.period), limit.period.name());
            CountWindow {
                period: self.name.map_or(period.to_owned(), |name| format!("{name}_{period}")),
                start: window.start,
                end: window.end,
                limit: limited.then_some(limit.most),
            }
        };
        let count = Count {
            identifier: self.who.to_owned(),
            service: self.owner.service(),
            route: self.owner.route(),
            windows: self.limits.iter().map(window).collect(),
            amount,
        };
        exchange.view.count(self.tally, count).map(Answer)
    }
}

/// What the database is going to say.
pub(crate) struct Answer(Counted);

impl Answer {
    /// # Errors
    /// Why it can't.
    pub(crate) async fn get(self) -> Result<Used, String> {
        let mut used = Used::default();
        for (used, found) in used.iter_mut().zip(self.0.await?) {
            *used = found;
        }
        Ok(used)
    }
}

/// Kong knows the policy cluster where it has a database.
pub(crate) fn with_policy(schema: Schema) -> Schema {
    crate::rate_limiting::schema::with_config(schema, |mut config| {
        if let Some(policy) = config.as_record_mut().and_then(|c| c.fields.get_mut("policy")) {
            let plain = std::mem::replace(policy, Field::partial());
            *policy = plain.one_of(["local", "cluster", "redis"]);
        }
        config
    })
}
