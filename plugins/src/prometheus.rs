//! prometheus: counts requests for `/metrics` (`kong/plugins/prometheus/`).

pub(crate) mod series;

use std::fmt::Write;

use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::{Exchange, Flow, LogLevel, Plugin, Source, kong};

use self::series::{Latencies, Shard};
use crate::native::native;

pub(crate) fn plugin() -> Plugin {
    native::<Prometheus>(13).log(Prometheus::log).build()
}

/// Counts requests, and shows the counts under `/metrics` of the Admin and Status APIs. Each kind
/// of count has at most 5000 sets of labels per worker; what would exceed that is counted in
/// `kong_nginx_metric_errors_total`.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "prometheus", protocols)]
struct Prometheus {
    /// Whether counts of requests and bytes tell consumers apart.
    #[field(default = false)]
    per_consumer: Option<bool>,
    /// Whether requests are counted by status.
    #[field(default = false)]
    status_code_metrics: Option<bool>,
    /// Without effect: there are no plugins for language models here.
    #[field(default = false)]
    #[expect(dead_code, reason = "configurations may have it")]
    ai_metrics: Option<bool>,
    /// Whether the time that requests take is measured.
    #[field(default = false)]
    latency_metrics: Option<bool>,
    /// Whether bytes are counted.
    #[field(default = false)]
    bandwidth_metrics: Option<bool>,
    /// Whether `/metrics` shows the health of upstreams.
    #[field(default = false)]
    #[expect(dead_code, reason = "read where /metrics is made")]
    upstream_health_metrics: Option<bool>,
    /// Without effect: there are no Wasm filters here.
    #[field(default = false)]
    #[expect(dead_code, reason = "configurations may have it")]
    wasm_metrics: Option<bool>,
}

/// What the gateway calls its only workspace.
const WORKSPACE: &str = "default";

impl Prometheus {
    fn log(&self, exchange: &mut Exchange) -> Flow {
        let Some(route) = exchange.route() else { return Flow::Next };
        let text = |record: &silverback_pdk::Record, fields: [&str; 2]| {
            let found = fields.iter().find_map(|field| record.get(*field)?.as_str());
            found.unwrap_or_default().to_owned()
        };
        let route = text(route.record(), ["name", "id"]);
        let service = exchange.service().map(|service| text(service.record(), ["name", "host"]));
        let labels = Labels { service: &service.unwrap_or_default(), route: &route };
        let consumer =
            exchange.client.consumer.as_ref().filter(|_| self.per_consumer == Some(true));
        let consumer = consumer.and_then(|c| c.get("username")?.as_str()).unwrap_or_default();
        series::of_this_thread(|shard| {
            if self.status_code_metrics == Some(true) {
                labels.count(exchange, shard, consumer);
            }
            if self.bandwidth_metrics == Some(true) {
                labels.count_bytes(exchange, shard, consumer);
            }
            if self.latency_metrics == Some(true) {
                labels.measure(exchange, shard);
            }
        });
        Flow::Next
    }
}

/// What all counts of a request have in common.
struct Labels<'a> {
    service: &'a str,
    route: &'a str,
}

impl Labels<'_> {
    fn begin(&self) -> String {
        let mut labels = String::with_capacity(160);
        put(&mut labels, "service", self.service);
        put(&mut labels, "route", self.route);
        labels
    }

    fn count(&self, exchange: &Exchange, shard: &Shard, consumer: &str) {
        let mut labels = self.begin();
        let (code, family) = match &exchange.session {
            Some(session) => (session.status, &shard.sessions),
            None => (exchange.response.status.as_u16(), &shard.requests),
        };
        let by_service = exchange.response.source == Some(Source::Service);
        put(&mut labels, "code", &code.to_string());
        put(&mut labels, "source", if by_service { "service" } else { "kong" });
        put(&mut labels, "workspace", WORKSPACE);
        if exchange.session.is_none() {
            put(&mut labels, "consumer", consumer);
        }
        family.add(&labels, 1);
    }

    fn count_bytes(&self, exchange: &Exchange, shard: &Shard, consumer: &str) {
        let (received, sent) = match &exchange.session {
            Some(session) => (session.received, session.sent),
            None => (exchange.request.size, exchange.response.size),
        };
        for (direction, bytes) in [("egress", sent), ("ingress", received)] {
            if bytes == 0 {
                continue;
            }
            let mut labels = self.begin();
            put(&mut labels, "direction", direction);
            put(&mut labels, "workspace", WORKSPACE);
            if exchange.session.is_none() {
                put(&mut labels, "consumer", consumer);
            }
            shard.bytes.add(&labels, bytes);
        }
    }

    fn measure(&self, exchange: &Exchange, shard: &Shard) {
        let mut labels = self.begin();
        put(&mut labels, "workspace", WORKSPACE);
        let kong::Latencies { kong, proxy, whole } = kong::latencies(exchange);
        let measure = |latencies: &Latencies| {
            latencies.kong.observe(kong);
            match &exchange.session {
                Some(_) => latencies.session.observe(whole),
                None => latencies.request.observe(whole),
            }
            if let Some(proxy) = proxy {
                latencies.upstream.observe(proxy);
            }
        };
        if !shard.latencies.with(&labels, measure) && silverback_pdk::logs(LogLevel::Debug) {
            silverback_pdk::log(LogLevel::Debug, "prometheus", &format!("not counted: {labels}"));
        }
    }
}

/// Adds a label, its value as Prometheus wants it.
fn put(labels: &mut String, name: &str, value: &str) {
    let comma = if labels.is_empty() { "" } else { "," };
    // Writing to a string can't fail.
    let _ = write!(labels, "{comma}{name}=\"");
    for letter in value.chars() {
        match letter {
            '"' => labels.push_str("\\\""),
            '\\' => labels.push_str("\\\\"),
            '\n' => labels.push_str("\\n"),
            other => labels.push(other),
        }
    }
    labels.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut labels = String::new();
        put(&mut labels, "a", "x\"\\\n");
        put(&mut labels, "b", "");
        assert_eq!(labels, r#"a="x\"\\\n",b="""#);
    }
}
