//! What shapes requests and connections: trust, headers, limits, error answers.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use super::on_list;
use crate::conf::settings::{Findings, Settings};
use crate::conf::{BodyLimits, Errors, Limits, ResponseHeaders, Trusted, UpstreamKeepalive, value};

pub(super) fn trusted(s: &Settings, findings: &mut Findings) -> Trusted {
    let mut networks = Vec::new();
    let mut unix = false;
    for address in s.list("trusted_ips") {
        let single = || address.parse::<IpAddr>().ok().map(IpNet::from);
        match address.parse().ok().or_else(single) {
            Some(network) => networks.push(network),
            None if address == "unix:" => unix = true,
            None => {
                let message = format!(
                    "trusted_ips must be a comma separated list in the form of IPv4 or IPv6 \
                     address or CIDR block or 'unix:', got '{address}'"
                );
                findings.error(s, "trusted_ips", message);
            }
        }
    }
    Trusted {
        networks,
        unix,
        real_ip_header: s.text_or_empty("nginx_proxy_real_ip_header"),
        real_ip_recursive: s.is_on("nginx_proxy_real_ip_recursive"),
    }
}

/// The headers of `headers`, by their names in any case.
pub(super) fn response_headers(s: &Settings, findings: &mut Findings) -> ResponseHeaders {
    let mut h = ResponseHeaders::default();
    for entry in s.list("headers") {
        match entry.to_ascii_lowercase().as_str() {
            "server_tokens" => (h.server, h.via) = (true, true),
            "latency_tokens" => {
                (h.proxy_latency, h.response_latency) = (true, true);
                (h.admin_latency, h.upstream_latency) = (true, true);
            }
            "server" => h.server = true,
            "via" => h.via = true,
            "x-kong-proxy-latency" => h.proxy_latency = true,
            "x-kong-response-latency" => h.response_latency = true,
            "x-kong-admin-latency" => h.admin_latency = true,
            "x-kong-upstream-latency" => h.upstream_latency = true,
            "x-kong-upstream-status" => h.upstream_status = true,
            "x-kong-request-id" => h.request_id = true,
            "off" => {}
            _ => findings.error(s, "headers", format!("headers: invalid entry '{entry}'")),
        }
    }
    if s.list("headers").first().is_some_and(|first| first == "off") {
        return ResponseHeaders::default();
    }
    h
}

pub(super) fn upstream_request_id(s: &Settings, findings: &mut Findings) -> bool {
    let key = "headers_upstream";
    for entry in s.list(key) {
        if entry != "off" && !entry.eq_ignore_ascii_case("x-kong-request-id") {
            findings.error(s, key, format!("{key}: invalid entry '{entry}'"));
        }
    }
    !on_list(s, key).is_empty()
}

/// nginx's limits, given for all servers (`nginx_http_`) or for the proxy alone (`nginx_proxy_`).
pub(super) fn limits(s: &Settings, findings: &mut Findings) -> Limits {
    let max_body = proxy_size(s, "client_max_body_size", 0, findings);
    let (max_head, max_head_line) = max_head(s, findings);
    let mut time = |directive: &str, default_s: u64| {
        let key = format!("nginx_http_{directive}");
        let Some(text) = s.text(&key) else { return Duration::from_secs(default_s) };
        // keepalive_timeout may have a second part, the time that the header Keep-Alive names.
        let first = text.split_whitespace().next().unwrap_or_default();
        value::duration(first).unwrap_or_else(|| {
            findings.error(s, &key, format!("{key} is not a time: '{text}'"));
            Duration::from_secs(default_s)
        })
    };
    Limits {
        head_timeout: time("client_header_timeout", 60),
        body_timeout: time("client_body_timeout", 60),
        send_timeout: time("send_timeout", 60),
        keepalive_timeout: time("keepalive_timeout", 75),
        keepalive_requests: number(s, "nginx_http_keepalive_requests", 10_000, findings),
        max_head,
        max_head_line,
        body: BodyLimits {
            max_body: Some(max_body).filter(|n| *n > 0),
            body_buffer: proxy_size(s, "client_body_buffer_size", 8 << 10, findings),
        },
    }
}

/// A size for the proxy: `nginx_proxy_` over `nginx_http_`.
fn proxy_size(s: &Settings, directive: &str, default: u64, findings: &mut Findings) -> u64 {
    let key = format!("nginx_proxy_{directive}");
    let Some(text) = s.text(&key) else {
        return s.size(&format!("nginx_http_{directive}")).unwrap_or(default);
    };
    value::size(text).unwrap_or_else(|| {
        findings.error(s, &key, format!("{key} is not a size: '{text}'"));
        default
    })
}

pub(super) fn number(s: &Settings, key: &str, default: u64, findings: &mut Findings) -> u64 {
    let Some(text) = s.text(key) else { return default };
    text.parse().unwrap_or_else(|_| {
        findings.error(s, key, format!("{key} is not a number: '{text}'"));
        default
    })
}

/// `number size` of `large_client_header_buffers`: their product bounds a request's head, the size
/// each of its lines.
fn max_head(s: &Settings, findings: &mut Findings) -> (u64, u64) {
    let key = "nginx_http_large_client_header_buffers";
    let text = s.text(key).unwrap_or("4 8k");
    let both = text.split_once(char::is_whitespace).and_then(|(count, size)| {
        let size = value::size(size.trim())?;
        Some((count.parse::<u64>().ok()?.checked_mul(size)?, size))
    });
    both.unwrap_or_else(|| {
        findings.error(s, key, format!("{key} is not a number and a size: '{text}'"));
        (32 << 10, 8 << 10)
    })
}

pub(super) fn upstream_keepalive(s: &Settings) -> UpstreamKeepalive {
    UpstreamKeepalive {
        pool_size: s.count("upstream_keepalive_pool_size"),
        max_requests: Some(s.count("upstream_keepalive_max_requests")).filter(|n| *n > 0),
        idle_timeout: s.seconds("upstream_keepalive_idle_timeout").filter(|t| !t.is_zero()),
    }
}

pub(super) fn errors(s: &Settings, prefix: &Path) -> Errors {
    let template = |key| s.text(key).map(|path| prefix.join(path));
    Errors {
        default_type: s.text_or_empty("error_default_type"),
        template_html: template("error_template_html"),
        template_json: template("error_template_json"),
        template_xml: template("error_template_xml"),
        template_plain: template("error_template_plain"),
    }
}
