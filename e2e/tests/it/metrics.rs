//! `/metrics`: what a real scrape gets is what Prometheus reads, under Kong's names and labels.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use silverback_e2e::gateway::{Builder, free_port};
use silverback_e2e::http::{Request, send};
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

use crate::uses::{plugin, routes};

/// What Kong shows of a node without a cluster's roles: the metric, its kind, its labels
/// (kong/plugins/prometheus/exporter.lua).
const OF_KONG: [(&str, &str, &str); 16] = [
    ("kong_bandwidth_bytes", "counter", "service route direction workspace consumer"),
    ("kong_datastore_reachable", "gauge", ""),
    ("kong_http_requests_total", "counter", "service route code source workspace consumer"),
    ("kong_kong_latency_ms", "histogram", "service route workspace"),
    ("kong_memory_lua_shared_dict_bytes", "gauge", "node_id shared_dict kong_subsystem"),
    ("kong_memory_lua_shared_dict_total_bytes", "gauge", "node_id shared_dict kong_subsystem"),
    ("kong_memory_workers_lua_vms_bytes", "gauge", "node_id pid kong_subsystem"),
    ("kong_nginx_connections_total", "gauge", "node_id subsystem state"),
    ("kong_nginx_metric_errors_total", "counter", ""),
    ("kong_nginx_requests_total", "gauge", "node_id subsystem"),
    ("kong_nginx_timers", "gauge", "state"),
    ("kong_node_info", "gauge", "node_id version"),
    ("kong_request_latency_ms", "histogram", "service route workspace"),
    ("kong_upstream_latency_ms", "histogram", "service route workspace"),
    ("kong_upstream_target_health", "gauge", "upstream target address state subsystem"),
    ("silverback_resident_bytes", "gauge", ""),
];

/// Names and values, in order.
type Labels = Vec<(String, String)>;
/// A series: its labels and its value.
type Series = (Labels, f64);

/// A metric with all its samples, by the suffix of their names.
#[derive(Default)]
struct Metric {
    kind: String,
    samples: BTreeMap<String, Vec<Series>>,
}

impl Metric {
    fn plain(&self) -> &[Series] {
        self.samples.get("").map_or(&[], Vec::as_slice)
    }

    /// The value under these labels.
    fn value(&self, suffix: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |series: &Series| {
            labels.iter().all(|(n, v)| series.0.iter().any(|(name, value)| name == n && value == v))
        };
        self.samples.get(suffix)?.iter().find(|series| has(series)).map(|(_, value)| *value)
    }
}

/// Reads a page of Prometheus' text format, as strictly as Prometheus' own linter: each metric has
/// its help and its kind, once and first, its samples stand together, and no series comes twice.
fn read(page: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    assert!(page.ends_with('\n'), "the last line has no end");
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(!help.is_empty() && helped.insert(name.to_owned()), "help twice: {line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(helped.contains(name), "no help: {line}");
            let new = Metric { kind: kind.to_owned(), ..Metric::default() };
            assert!(metrics.insert(name.to_owned(), new).is_none(), "type twice: {line}");
            name.clone_into(&mut current);
        } else {
            let (name, labels, value) = sample(line);
            let suffix = name.strip_prefix(current.as_str());
            let suffix = suffix.unwrap_or_else(|| panic!("{line} is among those of {current}"));
            assert!(seen.insert(format!("{name}{labels:?}")), "twice: {line}");
            let metric = metrics.get_mut(&current).expect(line);
            let fine: &[&str] = match metric.kind.as_str() {
                "histogram" => &["_bucket", "_count", "_sum"],
                _ => &[""],
            };
            assert!(fine.contains(&suffix), "{line}");
            assert!(metric.kind == "gauge" || value >= 0.0, "{line}");
            metric.samples.entry(suffix.to_owned()).or_default().push((labels, value));
        }
    }
    metrics
}

/// The name, the labels and the value of a line.
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    let is_name = |text: &str, more: &str| {
        !text.is_empty()
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || more.contains(c))
    };
    assert!(is_name(name, ":"), "{line}");
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").expect(line);
            assert!(is_name(label, ""), "{line}");
            let mut value = String::new();
            let mut letters = after.char_indices();
            let end = loop {
                match letters.next().expect(line) {
                    (at, '"') => break at,
                    (_, '\\') => match letters.next().expect(line).1 {
                        'n' => value.push('\n'),
                        other @ ('\\' | '"') => value.push(other),
                        other => panic!("\\{other} in {line}"),
                    },
                    (_, other) => value.push(other),
                }
            };
            labels.push((label.to_owned(), value));
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect(line);
    }
    let value = rest.strip_prefix(' ').expect(line);
    (name.to_owned(), labels, value.parse().expect(line))
}

/// Whether buckets grow, and the last has them all.
fn check_histogram(name: &str, metric: &Metric) {
    let mut by_labels: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (labels, count) in &metric.samples["_bucket"] {
        let (bound, rest) = labels.split_last().unwrap();
        assert_eq!(bound.0, "le", "{name}");
        let bound = if bound.1 == "+Inf" { f64::INFINITY } else { bound.1.parse().unwrap() };
        by_labels.entry(rest.to_vec()).or_default().push((bound, *count));
    }
    for (labels, buckets) in by_labels {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name} {labels:?}");
        let of = |suffix: &str| {
            let found = metric.samples[suffix].iter().find(|(own, _)| *own == labels);
            found.unwrap_or_else(|| panic!("{name}{suffix} {labels:?}")).1
        };
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, of("_count"))), "{name} {labels:?}");
        assert!(of("_sum") >= 0.0, "{name} {labels:?}");
    }
}

#[test]
fn a_scrape_is_what_prometheus_reads() {
    let upstream = Upstream::start();
    let all = "per_consumer: true, status_code_metrics: true, latency_metrics: true, \
               bandwidth_metrics: true, upstream_health_metrics: true";
    let key = plugin("key-auth", "");
    let odd = plugin("prometheus", all);
    let lua = plugin(
        "pre-function",
        "access: ['ngx.shared.own:set(\"a\", 1) ngx.timer.at(600, function() end)']",
    );
    let plugins = format!("{key}, {odd}, {lua}");
    let pairs = [("a", plugins.as_str())];
    let yaml = routes(&upstream, &pairs)
        + "consumers:\n- username: \"a \\\"b\\\\c\"\n  keyauth_credentials: [{key: k}]\n\
           upstreams:\n- name: up\n  targets: [{target: '127.0.0.1:9'}]\n";
    let status = free_port();
    let gateway = Builder::new()
        .set("status_listen", &format!("127.0.0.1:{status}"))
        .set("nginx_http_lua_shared_dict", "own 1m")
        .declarative(&yaml)
        .start();
    for target in ["/a?apikey=k", "/a?apikey=k", "/a"] {
        gateway.get(target);
    }
    let scrape = || gateway.ask_admin(&Request::get("/metrics")).text();
    let counted = |page: &str| page.contains("code=\"401\"") && page.contains("code=\"200\"");
    wait_until("requests were counted", PATIENCE, || counted(&scrape()));
    let pages =
        [scrape(), send(&format!("127.0.0.1:{status}"), &Request::get("/metrics")).unwrap().text()];
    for page in pages {
        let metrics = read(&page);
        for (name, kind, labels) in OF_KONG {
            let metric = metrics.get(name).unwrap_or_else(|| panic!("no {name} in {page}"));
            assert_eq!(metric.kind, kind, "{name}");
            let samples = metric.samples.values().flatten();
            for (own, _) in samples {
                let own = own.iter().map(|(n, _)| n.as_str()).filter(|n| *n != "le");
                let own: Vec<_> = own.collect();
                assert_eq!(own.join(" "), labels, "{name}");
            }
            assert!(!metric.samples.is_empty(), "{name} has no number");
            if kind == "histogram" {
                check_histogram(name, metric);
            }
        }
        let known = |name: &String| OF_KONG.iter().any(|(known, ..)| known == name);
        assert!(metrics.keys().all(known), "{:?}", metrics.keys());
        let requests = &metrics["kong_http_requests_total"];
        let of = |code, source, consumer| {
            let labels = [("code", code), ("source", source), ("consumer", consumer)];
            requests.value("", &labels)
        };
        assert_eq!(of("200", "service", "a \"b\\c"), Some(2.0));
        assert_eq!(of("401", "kong", ""), Some(1.0));
        let dict = |name| [("shared_dict", name)];
        let total = &metrics["kong_memory_lua_shared_dict_total_bytes"];
        assert_eq!(total.value("", &dict("own")), Some(f64::from(1 << 20)));
        let used = &metrics["kong_memory_lua_shared_dict_bytes"];
        assert!(used.value("", &dict("own")).unwrap() > 0.0);
        assert!(used.value("", &dict("kong_rate_limiting_counters")).is_some());
        assert_eq!(used.plain().len(), total.plain().len());
        assert!(!metrics["kong_memory_workers_lua_vms_bytes"].plain().is_empty());
        let timers = &metrics["kong_nginx_timers"];
        assert_eq!(timers.value("", &[("state", "pending")]), Some(3.0));
        assert_eq!(timers.value("", &[("state", "running")]), Some(0.0));
    }
}

#[test]
fn streams_are_counted_and_nothing_is_shown_without_the_plugin() {
    let (upstream, port) = (Upstream::start(), free_port());
    let gateway = Builder::new()
        .set("database", "sqlite")
        .set("stream_listen", &format!("127.0.0.1:{port}"))
        .start();
    let create = |kind: &str, entity: Value| {
        let request = Request::new("POST", kind).header("Content-Type", "application/json");
        let answer = gateway.ask_admin(&request.body(entity.to_string()));
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    let service = json!({"protocol": "tcp", "host": "127.0.0.1", "port": upstream.port(),
                         "name": "tcp"});
    let service = json!({"id": create("/services", service)});
    let destinations = json!([{"port": port}]);
    let route = json!({"name": "tcp", "protocols": ["tcp"], "destinations": destinations,
                       "service": service});
    create("/routes", route);
    let config = json!({"status_code_metrics": true});
    let config = json!({"name": "prometheus", "protocols": ["http", "tcp"], "config": config});
    let id = create("/plugins", config);
    // Whatever the bytes are, here they are a request.
    assert_eq!(send(&format!("127.0.0.1:{port}"), &Request::get("/")).unwrap().status, 200);
    let scrape = || gateway.ask_admin(&Request::get("/metrics")).text();
    let line = "kong_stream_sessions_total{service=\"tcp\",route=\"tcp\",code=\"200\",\
                source=\"service\",workspace=\"default\"} 1";
    wait_until("the stream was counted", PATIENCE, || scrape().contains(line));
    let off = Request::new("PATCH", &format!("/plugins/{id}"));
    let off = off.header("Content-Type", "application/json").body(r#"{"enabled": false}"#);
    assert_eq!(gateway.ask_admin(&off).status, 200);
    let page = scrape();
    assert!(!page.contains("kong_stream_sessions_total") && page.contains("kong_node_info"));
}
