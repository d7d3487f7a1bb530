//! Limits of so many in a window of time, and who counts: what rate-limiting and
//! response-ratelimiting have in common (`kong/plugins/{rate,response-rate}limiting/policies/`).

pub(crate) mod cluster;
pub(crate) mod local;
pub(crate) mod remote;
pub(crate) mod synced;
mod window;

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use http::HeaderValue;
use silverback_model::field;
use silverback_pdk::{Configuration, Exchange};
use uuid::Uuid;

pub(crate) use self::window::{Moment, Period, Window};

/// How many are allowed within a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limit {
    pub(crate) period: Period,
    /// More than 0; it may have a fraction, as in Kong: 1.5 lets two pass.
    pub(crate) most: f64,
}

/// What was used before, of each limit in turn.
pub(crate) type Used = [u64; Period::ALL.len()];

/// Whether nothing is left of a limit.
#[expect(clippy::cast_precision_loss, reason = "Lua counts in doubles too")]
pub(crate) fn is_exceeded(limit: Limit, used: u64) -> bool {
    used as f64 >= limit.most
}

/// Whose counters: the route and the service that the instance is limited to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    route: Uuid,
    service: Uuid,
}

impl Owner {
    pub(crate) fn of(configuration: &Configuration<'_>) -> Owner {
        let id = |field: &str| {
            let id = configuration.entity.get(field).and_then(|of| of.get("id")?.as_str());
            id.and_then(|id| id.parse().ok()).unwrap_or_default()
        };
        Owner { route: id("route"), service: id("service") }
    }

    /// The bytes that a node's own counters begin with.
    pub(crate) fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let (route, service) = bytes.split_at_mut(16);
        route.copy_from_slice(self.route.as_bytes());
        service.copy_from_slice(self.service.as_bytes());
        bytes
    }

    /// The route, or nil.
    pub(crate) fn route(&self) -> Uuid {
        self.route
    }

    /// The service, or nil.
    pub(crate) fn service(&self) -> Uuid {
        self.service
    }

    /// Kong's form of it in keys that other nodes see.
    pub(crate) fn text(&self) -> String {
        format!("{}:{}", self.route, self.service)
    }
}

/// The id of the consumer or of the credential, whoever was found.
pub(crate) fn consumer_id(exchange: &Exchange) -> Option<&str> {
    let client = &exchange.client;
    field(client.consumer.as_ref().or(client.credential.as_ref())?, "id")?.as_str()
}

/// The id of the credential.
pub(crate) fn credential_id(exchange: &Exchange) -> Option<&str> {
    field(exchange.client.credential.as_ref()?, "id")?.as_str()
}

/// A number as Lua writes it into a header.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "only whole numbers below 10^14 stay what they are"
)]
pub(crate) fn number(value: f64) -> HeaderValue {
    let whole = value as i64;
    if whole as f64 == value && value.abs() < 1e14 {
        return whole_number(whole);
    }
    HeaderValue::try_from(value.to_string()).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// A whole number.
pub(crate) fn whole_number(value: i64) -> HeaderValue {
    let mut text = itoa::Buffer::new();
    let text = HeaderValue::from_bytes(text.format(value).as_bytes());
    text.unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// A number of a configuration, as [`number`] writes it. It is kept for good, once however often
/// it is configured: so that it costs nothing to copy, and workers don't share a count of copies.
pub(crate) fn constant_number(value: f64) -> HeaderValue {
    static KEPT: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    let text = number(value);
    let text = text.to_str().unwrap_or("0");
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let known = kept.get(text).copied();
    HeaderValue::from_static(known.unwrap_or_else(|| {
        let text = text.to_owned().leak();
        kept.insert(text);
        text
    }))
}
