//! When an address is ill or well: `healthchecks` of an upstream, ready to be applied.

use silverback_model::entities::Healthchecks;

use super::vitals::Sign;

/// When an address is ill or well.
#[derive(Debug)]
pub(crate) struct Rules {
    on: bool,
    asks: bool,
    passive: Limits,
    active: Limits,
}

/// How many signs of each kind turn it, and which statuses are which; 0 switches a rule off.
#[derive(Debug)]
pub(crate) struct Limits {
    good: Box<[u16]>,
    bad: Box<[u16]>,
    successes: u8,
    http_failures: u8,
    tcp_failures: u8,
    timeouts: u8,
}

impl Rules {
    pub(crate) fn of(checks: &Healthchecks) -> Rules {
        let (active, passive) = (&checks.active, &checks.passive);
        let is_set = |limit: Option<u8>| limit.unwrap_or(0) != 0;
        let intervals = [active.healthy.interval, active.unhealthy.interval];
        let asks = intervals.into_iter().any(|interval| interval.unwrap_or(0.0) != 0.0);
        Rules {
            asks,
            // As in Kong, what makes addresses ill switches it on (healthcheckers.lua,
            // is_upstream_using_healthcheck).
            on: asks
                || is_set(passive.unhealthy.tcp_failures)
                || is_set(passive.unhealthy.timeouts)
                || is_set(passive.unhealthy.http_failures),
            passive: Limits {
                good: passive.healthy.http_statuses.as_slice().into(),
                bad: passive.unhealthy.http_statuses.as_slice().into(),
                successes: passive.healthy.successes.unwrap_or(0),
                http_failures: passive.unhealthy.http_failures.unwrap_or(0),
                tcp_failures: passive.unhealthy.tcp_failures.unwrap_or(0),
                timeouts: passive.unhealthy.timeouts.unwrap_or(0),
            },
            active: Limits {
                good: active.healthy.http_statuses.as_slice().into(),
                bad: active.unhealthy.http_statuses.as_slice().into(),
                successes: active.healthy.successes.unwrap_or(0),
                http_failures: active.unhealthy.http_failures.unwrap_or(0),
                tcp_failures: active.unhealthy.tcp_failures.unwrap_or(0),
                timeouts: active.unhealthy.timeouts.unwrap_or(0),
            },
        }
    }

    /// Whether addresses are watched at all.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Whether they are asked.
    pub(crate) fn asks(&self) -> bool {
        self.asks
    }

    /// What traffic tells; none where it is not watched.
    pub(crate) fn passive(&self) -> Option<&Limits> {
        self.on.then_some(&self.passive)
    }

    /// What asking tells.
    pub(crate) fn active(&self) -> &Limits {
        &self.active
    }
}

impl Limits {
    /// What a status is a sign of; none where it is neither good nor bad. 0 is no status at all.
    pub(crate) fn sign(&self, status: u16) -> Option<Sign> {
        if self.good.contains(&status) {
            Some(Sign::Success)
        } else if self.bad.contains(&status) || status == 0 {
            Some(Sign::HttpFailure)
        } else {
            None
        }
    }

    /// How many of these turn an address.
    pub(crate) fn limit(&self, sign: Sign) -> u8 {
        match sign {
            Sign::Success => self.successes,
            Sign::HttpFailure => self.http_failures,
            Sign::TcpFailure => self.tcp_failures,
            Sign::Timeout => self.timeouts,
        }
    }
}
