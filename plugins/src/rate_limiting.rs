//! rate-limiting: so many requests within a window of time (`kong/plugins/rate-limiting/`).

mod headers;
pub(crate) mod schema;

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use http::StatusCode;
use serde::Deserialize;
use silverback_macros::Config;
use silverback_model::counters::Tally;
use silverback_pdk::{Configuration, Exchange, Flow, LogLevel, Plugin, PluginFault, kong};

use self::headers::Told;
use crate::{
    fields::Sought,
    limits::{
        self, Limit, Moment, Owner, Period, Used,
        cluster::{Counting, with_policy},
        local::COUNTERS,
        remote,
        synced::Synced,
    },
    native::native_made,
    redis::{Redis, RedisFault, RedisSettings},
    tls::Trust,
};

pub(crate) fn plugin(trust: &Trust, cluster: bool) -> Plugin {
    let trust = trust.clone();
    let mut plugin = native_made(910, move |config, configuration| {
        RateLimiting::new(config, configuration, &trust)
    })
    .access_when(RateLimiting::is_local, RateLimiting::access)
    .access_later_when(|this| !this.is_local(), RateLimiting::access_elsewhere)
    .build();
    if cluster {
        plugin.schema = with_policy(plugin.schema);
    }
    plugin
}

/// Lets so many requests pass within a second, minute, hour, day, month or year, and refuses the
/// rest.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "rate-limiting", protocols_http, with = schema::rules)]
struct Settings {
    /// Requests allowed within a second.
    #[field(gt = 0)]
    second: Option<f64>,
    /// Requests allowed within a minute.
    #[field(gt = 0)]
    minute: Option<f64>,
    /// Requests allowed within an hour.
    #[field(gt = 0)]
    hour: Option<f64>,
    /// Requests allowed within a day.
    #[field(gt = 0)]
    day: Option<f64>,
    /// Requests allowed within a month.
    #[field(gt = 0)]
    month: Option<f64>,
    /// Requests allowed within a year.
    #[field(gt = 0)]
    year: Option<f64>,
    /// What has a counter of its own. What a request does not have (a consumer, a header) is
    /// counted by the client's address.
    #[field(
        default = "consumer",
        one_of("consumer", "credential", "ip", "service", "header", "path")
    )]
    limit_by: Option<String>,
    /// The header whose values are counted, with `limit_by` header.
    #[field(typedef = header_name)]
    header_name: Option<String>,
    /// The path whose requests are counted together, with `limit_by` path.
    #[field(typedef = path)]
    path: Option<String>,
    /// Where is counted: on each node by itself, in the database for all nodes of a cluster
    /// (`cluster`, where there is a database; on SQLite the node is all of its cluster), or in
    /// Redis for all that use it.
    #[field(len_min = 0, default = "local", one_of("local", "redis"))]
    policy: Option<String>,
    /// Whether requests pass when Redis or the database can't be asked; else they are answered
    /// 500.
    #[field(required, default = true)]
    fault_tolerant: bool,
    /// The Redis of the policy redis.
    redis: RedisSettings,
    /// Whether answers say nothing of the limits.
    #[field(required, default = false)]
    hide_client_headers: bool,
    /// The status of a refusal.
    #[field(default = 429, gt = 0)]
    error_code: Option<f64>,
    /// The message of a refusal.
    #[field(default = "API rate limit exceeded")]
    error_message: Option<String>,
    /// With the policy redis: every how many seconds a node tells Redis what it has counted.
    /// -1: with every request.
    #[field(required, default = -1)]
    sync_rate: f64,
}

/// An instance.
struct RateLimiting {
    settings: Settings,
    limits: Vec<Limit>,
    /// What is told of each.
    told: Vec<Told>,
    by: By,
    /// The header whose values are counted.
    header: Sought,
    owner: Owner,
    /// What keys of this node's own counters begin with.
    own_keys: [u8; 33],
    /// What keys in Redis begin with.
    prefix: String,
    policy: Policy,
    status: StatusCode,
}

/// What has a counter of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Consumer,
    Credential,
    Ip,
    Service,
    Header,
    Path,
}

/// Who counts.
enum Policy {
    Local,
    Cluster,
    Redis(Redis),
    Synced(Arc<Synced>),
}

/// The first byte of the keys of this plugin's counters.
const TAG: u8 = b'q';

impl RateLimiting {
    fn new(
        settings: Settings,
        configuration: &Configuration<'_>,
        trust: &Trust,
    ) -> Result<RateLimiting, PluginFault> {
        let by = match settings.limit_by.as_deref() {
            Some("credential") => By::Credential,
            Some("ip") => By::Ip,
            Some("service") => By::Service,
            Some("header") => By::Header,
            Some("path") => By::Path,
            _ => By::Consumer,
        };
        let policy = match settings.policy.as_deref() {
            Some("redis") => {
                let redis = Redis::new(settings.redis.clone(), trust.clone());
                if settings.sync_rate > 0.0 {
                    Policy::Synced(Synced::of(&redis, settings.sync_rate))
                } else {
                    Policy::Redis(redis)
                }
            }
            Some("cluster") => Policy::Cluster,
            _ => Policy::Local,
        };
        let owner = Owner::of(configuration);
        let mut bytes = [TAG; 33];
        let (_, ids) = bytes.split_at_mut(1);
        ids.copy_from_slice(&owner.bytes());
        let code = settings.error_code.unwrap_or(429.0);
        let limits = settings.limits();
        Ok(RateLimiting {
            told: limits.iter().map(Told::of).collect(),
            limits,
            by,
            header: Sought::of(settings.header_name.as_deref().unwrap_or_default()),
            owner,
            own_keys: bytes,
            prefix: format!("ratelimit:{}:", owner.text()),
            policy,
            status: status(code)?,
            settings,
        })
    }

    fn is_local(&self) -> bool {
        matches!(self.policy, Policy::Local)
    }

    fn access(&self, exchange: &mut Exchange) -> Flow {
        let now = Moment::of(exchange.timing.began);
        let used = self.with_identifier(exchange, |who| self.take_here(who, now));
        self.decide(exchange, used, now)
    }

    fn take_here(&self, who: &str, now: Moment) -> Used {
        COUNTERS.take(&[&self.own_keys, who.as_bytes()], &self.limits, now)
    }

    fn access_elsewhere<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
        Box::pin(async move {
            let now = Moment::of(exchange.timing.began);
            match self.take(exchange, now).await {
                Ok(used) => self.decide(exchange, used, now),
                Err(fault) if self.settings.fault_tolerant => {
                    let text = format!("requests pass uncounted: {fault}");
                    silverback_pdk::log(LogLevel::Err, "rate-limiting", &text);
                    Flow::Next
                }
                Err(fault) => Flow::Fail(fault),
            }
        })
    }

    async fn take(&self, exchange: &Exchange, now: Moment) -> Result<Used, String> {
        let limits = &self.limits;
        let keys = || self.with_identifier(exchange, |who| self.keys(who, now));
        let taken = match &self.policy {
            Policy::Redis(redis) => remote::take(redis, &keys(), limits, now).await,
            Policy::Synced(synced) => synced.take(&keys(), limits, now).await,
            Policy::Local => Ok(self.with_identifier(exchange, |who| self.take_here(who, now))),
            Policy::Cluster => {
                let (tally, owner) = (Tally::Requests, self.owner);
                let taken = self.with_identifier(exchange, |who| {
                    Counting { tally, owner, who, limits, name: None, now }.take(exchange)
                });
                return match taken {
                    Some(answer) => answer.get().await,
                    None => Ok(self.with_identifier(exchange, |who| self.take_here(who, now))),
                };
            }
        };
        taken.map_err(|fault: RedisFault| fault.to_string())
    }

    /// A key for each limit, as Kong writes it: windows are named by their first millisecond.
    fn keys(&self, identifier: &str, now: Moment) -> Vec<String> {
        let key = |limit: &Limit| {
            let (start, name) = (now.window(limit.period).start * 1_000, limit.period.name());
            format!("{}{identifier}:{start}:{name}", self.prefix)
        };
        self.limits.iter().map(key).collect()
    }

    /// Whom the request is counted for.
    fn with_identifier<T>(&self, exchange: &Exchange, work: impl FnOnce(&str) -> T) -> T {
        let path;
        let found = match self.by {
            By::Consumer => limits::consumer_id(exchange),
            By::Credential => limits::credential_id(exchange),
            By::Ip => None,
            By::Service => {
                return match exchange.service() {
                    Some(service) => work(&service.id.to_string()),
                    None => work(&exchange.client.forwarded_ip.to_string()),
                };
            }
            By::Header => {
                let value = self.header.first(&exchange.request.headers);
                return match value.map(|value| String::from_utf8_lossy(value.as_bytes())) {
                    Some(value) => work(&value),
                    None => work(&exchange.client.forwarded_ip.to_string()),
                };
            }
            By::Path => {
                path = kong::normalized_path(exchange);
                Some(path.as_str()).filter(|path| self.settings.path.as_deref() == Some(path))
            }
        };
        match found {
            Some(found) => work(found),
            None => work(&exchange.client.forwarded_ip.to_string()),
        }
    }

    /// Lets the request pass or refuses it, and says how much is left.
    fn decide(&self, exchange: &mut Exchange, used: Used, now: Moment) -> Flow {
        let stopped = headers::stop(&self.limits, used);
        if !self.settings.hide_client_headers {
            headers::set(exchange, &self.limits, &self.told, used, stopped, now);
        }
        if stopped.is_none() {
            return Flow::Next;
        }
        let message = self.settings.error_message.as_deref();
        let message = message.map_or_else(|| kong::default_message(self.status), str::to_owned);
        Flow::Exit(kong::refusal(exchange, self.status, &message))
    }
}

impl Settings {
    fn limits(&self) -> Vec<Limit> {
        let Settings { second, minute, hour, day, month, year, .. } = self;
        let all = Period::ALL.into_iter().zip([second, minute, hour, day, month, year]);
        all.filter_map(|(period, most)| Some(Limit { period, most: (*most)? })).collect()
    }
}

/// A status that HTTP has.
fn status(code: f64) -> Result<StatusCode, PluginFault> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "casts from floats saturate, and what is no status is refused"
    )]
    StatusCode::from_u16(code as u16)
        .map_err(|_| PluginFault(format!("error_code: {code} is no HTTP status")))
}

#[cfg(test)]
mod tests;
