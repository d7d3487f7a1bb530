//! response-ratelimiting: limits on what upstreams say that an answer has cost
//! (`kong/plugins/response-ratelimiting/`).

mod named;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, try_join_all};
use http::{HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::Value as Json;
use silverback_macros::Config;
use silverback_model::{
    counters::Tally,
    schema::{Field, Schema},
};
use silverback_pdk::{
    Answer, Configuration, Exchange, Flow, LogLevel, Plugin, Source, Value, kong,
};

use self::named::{Named, cost};
use crate::{
    limits::{
        self, Limit, Moment, Owner, Used,
        cluster::{Counting, with_policy},
        is_exceeded,
        local::COUNTERS,
        number,
        remote::{self, life},
    },
    native::native_made,
    rate_limiting::schema::{in_order, old_names, with_config},
    redis::{Redis, RedisSettings},
    tls::Trust,
};

pub(crate) fn plugin(trust: &Trust, cluster: bool) -> Plugin {
    let trust = trust.clone();
    let mut plugin = native_made(900, move |settings, configuration| {
        Ok(ResponseRateLimiting::new(settings, configuration, &trust))
    })
    .access_when(ResponseRateLimiting::is_local, ResponseRateLimiting::access)
    .access_later_when(|this| !this.is_local(), ResponseRateLimiting::access_elsewhere)
    .header_filter_when(ResponseRateLimiting::is_local, ResponseRateLimiting::header_filter)
    .header_filter_later_when(
        |this| !this.is_local(),
        ResponseRateLimiting::header_filter_elsewhere,
    )
    .build();
    if cluster {
        plugin.schema = with_policy(plugin.schema);
    }
    plugin
}

/// Limits what answers cost: upstreams say in a header what each has cost of which limit.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "response-ratelimiting", protocols_http, with = rules)]
struct Settings {
    /// The header of the upstream's answers that says so: `limit=3, other=1`. Clients don't see it.
    #[field(typedef = header_name, default = "x-kong-limit")]
    header_name: Option<String>,
    /// What has counters of its own. Requests of no consumer are counted by the client's address.
    #[field(default = "consumer", one_of("consumer", "credential", "ip"))]
    limit_by: Option<String>,
    /// Where is counted: on each node by itself, in the database for all nodes of a cluster
    /// (`cluster`, where there is a database; on SQLite the node is all of its cluster), or in
    /// Redis for all that use it.
    #[field(default = "local", one_of("local", "redis"))]
    policy: Option<String>,
    /// Whether requests pass when Redis or the database can't be asked; else they are answered
    /// 500.
    #[field(required, default = true)]
    fault_tolerant: bool,
    /// The Redis of the policy redis.
    redis: RedisSettings,
    /// Whether requests are refused before the upstream is asked once any limit is used up.
    #[field(required, default = false)]
    block_on_first_violation: bool,
    /// Whether answers say nothing of the limits.
    #[field(required, default = false)]
    hide_client_headers: bool,
    /// The limits by their names.
    #[field(len_min = 1, values(required, check = in_order_of))]
    limits: BTreeMap<String, Periods>,
}

/// What a limit allows within which time.
#[derive(Debug, Deserialize, Config)]
#[record(at_least_one_of("second", "minute", "hour", "day", "month", "year"))]
struct Periods {
    /// Within a second.
    #[field(gt = 0)]
    second: Option<f64>,
    /// Within a minute.
    #[field(gt = 0)]
    minute: Option<f64>,
    /// Within an hour.
    #[field(gt = 0)]
    hour: Option<f64>,
    /// Within a day.
    #[field(gt = 0)]
    day: Option<f64>,
    /// Within a month.
    #[field(gt = 0)]
    month: Option<f64>,
    /// Within a year.
    #[field(gt = 0)]
    year: Option<f64>,
}

fn rules(schema: Schema) -> Schema {
    let redis = || Field::partial().eq("redis");
    let required = || Field::partial().required();
    let schema = schema
        .conditional("config.policy", redis(), "config.redis.host", required())
        .conditional("config.policy", redis(), "config.redis.port", required())
        .conditional("config.policy", redis(), "config.redis.timeout", required());
    with_config(schema, |config| old_names("response-ratelimiting", config))
}

/// A longer period allows no less than a shorter one.
fn in_order_of(limit: &Json) -> Result<(), String> {
    limit.as_object().map_or(Ok(()), |limit| in_order(limit, "the"))
}

/// An instance.
struct ResponseRateLimiting {
    settings: Settings,
    named: Vec<Named>,
    owner: Owner,
    /// What keys of this node's own counters begin with.
    own_keys: [u8; 33],
    /// What keys in Redis begin with.
    prefix: String,
    policy: Policy,
    header: Option<HeaderName>,
}

/// Who counts.
enum Policy {
    Local,
    Cluster,
    Redis(Redis),
}

/// The first byte of the keys of this plugin's counters.
const TAG: u8 = b's';
/// Under this key the access handler leaves the moment at which it looked. Only plugins that read
/// `ngx.ctx` would see it.
const LOOKED: &str = "silverback.response-ratelimiting.looked";

impl ResponseRateLimiting {
    fn new(
        settings: Settings,
        configuration: &Configuration<'_>,
        trust: &Trust,
    ) -> ResponseRateLimiting {
        let owner = Owner::of(configuration);
        let mut bytes = [TAG; 33];
        let (_, ids) = bytes.split_at_mut(1);
        ids.copy_from_slice(&owner.bytes());
        let policy = match settings.policy.as_deref() {
            Some("redis") => Policy::Redis(Redis::new(settings.redis.clone(), trust.clone())),
            Some("cluster") => Policy::Cluster,
            _ => Policy::Local,
        };
        let header = settings.header_name.as_deref().unwrap_or("x-kong-limit");
        ResponseRateLimiting {
            named: settings
                .limits
                .iter()
                .map(|(name, periods)| Named::new(name, periods))
                .collect(),
            owner,
            own_keys: bytes,
            prefix: format!("response-ratelimit:{}:", owner.text()),
            policy,
            header: HeaderName::from_bytes(header.as_bytes()).ok(),
            settings,
        }
    }

    fn is_local(&self) -> bool {
        matches!(self.policy, Policy::Local)
    }

    fn access(&self, exchange: &mut Exchange) -> Flow {
        let (who, now) = (self.identifier(exchange), Moment::of(exchange.timing.began));
        let used = self.named.iter().map(|named| self.used(named, &who, now)).collect();
        self.begin(exchange, used)
    }

    fn used(&self, named: &Named, who: &str, now: Moment) -> Used {
        COUNTERS.used(&self.key(named, who), &named.limits, now)
    }

    /// The parts of a key of this node's counters.
    fn key<'a>(&'a self, named: &'a Named, who: &'a str) -> [&'a [u8]; 4] {
        [&self.own_keys, named.name.as_bytes(), &[0], who.as_bytes()]
    }

    fn access_elsewhere<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
        Box::pin(async move {
            let (who, now) = (self.identifier(exchange), Moment::of(exchange.timing.began));
            match self.all_used(exchange, &who, now).await {
                Ok(used) => self.begin(exchange, used),
                Err(fault) => self.without_counters(fault),
            }
        })
    }

    fn without_counters(&self, fault: String) -> Flow {
        if !self.settings.fault_tolerant {
            return Flow::Fail(fault);
        }
        let text = format!("answers pass uncounted: {fault}");
        silverback_pdk::log(LogLevel::Err, "response-ratelimiting", &text);
        Flow::Next
    }

    /// What was used of all limits. They are asked for at once.
    async fn all_used(
        &self,
        exchange: &Exchange,
        who: &str,
        now: Moment,
    ) -> Result<Vec<Used>, String> {
        let used = self.named.iter().map(|named| async move {
            if let Policy::Redis(redis) = &self.policy {
                let used = remote::used(redis, &self.keys(named, who, now)).await;
                return used.map_err(|fault| fault.to_string());
            }
            match self.counting(named, who, now).add(exchange, 0) {
                Some(answer) => answer.get().await,
                None => Ok(self.used(named, who, now)),
            }
        });
        try_join_all(used).await
    }

    fn counting<'a>(&'a self, named: &'a Named, who: &'a str, now: Moment) -> Counting<'a> {
        let name = Some(named.name.as_str());
        Counting { tally: Tally::Answers, owner: self.owner, who, limits: &named.limits, name, now }
    }

    /// Counts what an answer has cost of a limit.
    async fn add(
        &self,
        exchange: &Exchange,
        named: &Named,
        who: &str,
        cost: u64,
        now: Moment,
    ) -> Result<(), String> {
        if let Policy::Redis(redis) = &self.policy {
            let amount = |limit: &Limit| (cost, life(now.window(limit.period), now));
            let amounts: Vec<_> = named.limits.iter().map(amount).collect();
            let added = remote::add(redis, &self.keys(named, who, now), &amounts).await;
            return added.map(drop).map_err(|fault| fault.to_string());
        }
        match self.counting(named, who, now).add(exchange, cost) {
            Some(answer) => answer.get().await.map(drop),
            None => {
                COUNTERS.add(&self.key(named, who), &named.limits, cost, now);
                Ok(())
            }
        }
    }

    /// A key for each period, as Kong writes it.
    fn keys(&self, named: &Named, who: &str, now: Moment) -> Vec<String> {
        let key = |limit: &Limit| {
            let (start, period) = (now.window(limit.period).start * 1_000, limit.period.name());
            format!("{}{who}:{start}:{}:{period}", self.prefix, named.name)
        };
        named.limits.iter().map(key).collect()
    }

    fn identifier(&self, exchange: &Exchange) -> String {
        let found = match self.settings.limit_by.as_deref() {
            Some("ip") => None,
            Some("credential") => limits::credential_id(exchange),
            _ => limits::consumer_id(exchange),
        };
        found.map_or_else(|| exchange.client.forwarded_ip.to_string(), str::to_owned)
    }

    /// Tells the upstream what is left, or refuses the request where nothing is.
    fn begin(&self, exchange: &mut Exchange, used: Vec<Used>) -> Flow {
        for (named, used) in self.named.iter().zip(used) {
            let left = named.left(used);
            if self.settings.block_on_first_violation && left.clone().any(|left| left <= 0.0) {
                let text = format!("API rate limit exceeded for '{}'", named.name);
                let refusal = kong::refusal(exchange, StatusCode::TOO_MANY_REQUESTS, &text);
                return Flow::Exit(refusal);
            }
            let least = left.fold(f64::INFINITY, f64::min);
            if let Some(name) = &named.to_upstream {
                exchange.request.headers.insert(name.clone(), number(least));
            }
        }
        exchange.nginx_ctx.insert(LOOKED.to_owned(), Value::Bool(true));
        Flow::Next
    }

    fn header_filter(&self, exchange: &mut Exchange) -> Flow {
        if !exchange.nginx_ctx.contains_key(LOOKED) {
            return Flow::Next;
        }
        let (who, now) = (self.identifier(exchange), Moment::of(exchange.timing.began));
        let costs = self.costs(exchange);
        let used: Vec<_> = self.named.iter().map(|named| self.used(named, &who, now)).collect();
        let flow = self.end(exchange, &used, &costs);
        if matches!(flow, Flow::Next) {
            for (named, cost) in self.named.iter().zip(costs).filter(|(_, cost)| *cost > 0) {
                COUNTERS.add(&self.key(named, &who), &named.limits, cost, now);
            }
        }
        flow
    }

    fn header_filter_elsewhere<'a>(
        &'a self,
        exchange: &'a mut Exchange,
    ) -> LocalBoxFuture<'a, Flow> {
        Box::pin(async move {
            if !exchange.nginx_ctx.contains_key(LOOKED) {
                return Flow::Next;
            }
            let (who, now) = (self.identifier(exchange), Moment::of(exchange.timing.began));
            let costs = self.costs(exchange);
            let used = match self.all_used(exchange, &who, now).await {
                Ok(used) => used,
                Err(fault) => return self.without_counters(fault),
            };
            let flow = self.end(exchange, &used, &costs);
            if !matches!(flow, Flow::Next) {
                return flow;
            }
            for (named, cost) in self.named.iter().zip(costs).filter(|(_, cost)| *cost > 0) {
                if let Err(fault) = self.add(exchange, named, &who, cost, now).await {
                    return self.without_counters(fault);
                }
            }
            flow
        })
    }

    /// What the answer has cost of each limit; nothing unless an upstream made it.
    fn costs(&self, exchange: &Exchange) -> Vec<u64> {
        let headers = &exchange.response.headers;
        let from_upstream = exchange.response.source == Some(Source::Service);
        let line = self.header.as_ref().filter(|_| from_upstream).and_then(|h| headers.get(h));
        let line = line.and_then(|line| line.to_str().ok()).unwrap_or_default();
        self.named.iter().map(|named| cost(line, &named.name)).collect()
    }

    /// Tells the client what is left, or refuses the answer where the upstream says that it costs
    /// of what is used up.
    fn end(&self, exchange: &mut Exchange, used: &[Used], costs: &[u64]) -> Flow {
        let headers = &mut exchange.response.headers;
        let mut stops = false;
        for ((named, used), cost) in self.named.iter().zip(used).zip(costs) {
            let exceeded = |(limit, used): (&Limit, u64)| is_exceeded(*limit, used);
            stops |= *cost > 0 && named.limits.iter().zip(*used).any(exceeded);
            if !self.settings.hide_client_headers {
                named.tell(headers, *used, *cost);
            }
        }
        if let Some(header) = &self.header {
            headers.remove(header);
        }
        if !stops {
            return Flow::Next;
        }
        Flow::Exit(Answer::new(StatusCode::TOO_MANY_REQUESTS, Bytes::new()))
    }
}

#[cfg(test)]
mod tests;
