//! The load: wrk, and what it and the kernel say about a run.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::results::Sample;
use crate::stage::{Stage, cpu_ns, pinned};

/// The header that plugins ask for, and its value.
pub(crate) const HEADER: (&str, &str) = ("x-bench", "0123456789abcdef");

/// A load to put on a gateway.
pub(crate) struct Load<'a> {
    /// Where to.
    pub(crate) url: String,
    /// Over how many connections.
    pub(crate) connections: usize,
    /// For how long.
    pub(crate) seconds: u64,
    /// A script for wrk, where requests differ.
    pub(crate) script: Option<&'a str>,
}

/// Puts the load on and measures the CPU time of the gateway's
/// processes and of those beside it.
pub(crate) fn measure(
    stage: &Stage<'_>,
    load: &Load<'_>,
    gateway: &[u32],
    server: &[u32],
) -> Result<Sample> {
    let (gateway_before, server_before) = (cpu_ns(gateway)?, cpu_ns(server)?);
    let begin = Instant::now();
    let output = run(stage, load, load.seconds)?;
    let wall_ns = begin.elapsed().as_nanos() as f64;
    let gateway_ns = (cpu_ns(gateway)? - gateway_before) as f64;
    let server_ns = (cpu_ns(server)? - server_before) as f64;
    let said = parse(&output).with_context(|| format!("wrk on {} said:\n{output}", load.url))?;
    Ok(Sample {
        cpu_us: gateway_ns / said.requests / 1000.0,
        server_us: server_ns / said.requests / 1000.0,
        per_second: said.per_second,
        p99_ms: said.p99_ms,
        busy: gateway_ns / wall_ns,
    })
}

/// A second of load, not measured.
pub(crate) fn warm_up(stage: &Stage<'_>, load: &Load<'_>) -> Result<()> {
    let output = run(stage, load, 1)?;
    parse(&output).with_context(|| format!("wrk on {} said:\n{output}", load.url))?;
    Ok(())
}

fn run(stage: &Stage<'_>, load: &Load<'_>, seconds: u64) -> Result<String> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--latency", "--timeout", "5s", "-t", "1"]);
    wrk.args(["-d", &format!("{seconds}s"), "-c", &load.connections.to_string()]);
    wrk.args(["-H", &format!("{}: {}", HEADER.0, HEADER.1)]);
    if let Some(script) = load.script {
        wrk.arg("-s").arg(stage.write("load.lua", script)?);
    }
    wrk.arg(&load.url);
    let output = pinned(&stage.other_cores, &wrk).output().context("wrk")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("wrk on {}: {text}{}", load.url, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

#[derive(Debug, PartialEq)]
struct Said {
    requests: f64,
    per_second: f64,
    p99_ms: f64,
}

/// What wrk has counted. A run with any failure is no measurement.
fn parse(output: &str) -> Result<Said> {
    if output.contains("Non-2xx") || output.contains("Socket errors") {
        bail!("some requests failed");
    }
    let before = |mark: &str| {
        let line = output.lines().find(|line| line.contains(mark))?;
        line.split_whitespace().next()
    };
    let after = |mark: &str| {
        let line = output.lines().find(|line| line.trim_start().starts_with(mark))?;
        line.split_whitespace().nth(1)
    };
    let requests: f64 = before(" requests in ").context("no count")?.parse()?;
    if requests == 0.0 {
        bail!("no request was answered");
    }
    let per_second = after("Requests/sec:").context("no rate")?.parse()?;
    let p99_ms = milliseconds(after("99%").context("no 99%")?).context("no time at 99%")?;
    Ok(Said { requests, per_second, p99_ms })
}

fn milliseconds(text: &str) -> Option<f64> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        _ => return None,
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Running 1s test @ http://127.0.0.1:1\n  1 threads and 8 connections\n  \
        Latency Distribution\n     50%  105.00us\n     99%    1.25ms\n  \
        12345 requests in 1.00s, 14.2MB read\nRequests/sec:  12340.50\nTransfer/sec: 1MB\n";

    #[test]
    fn a_run_is_read() {
        let said = parse(OUTPUT).unwrap();
        assert_eq!(said, Said { requests: 12345.0, per_second: 12340.5, p99_ms: 1.25 });
    }

    #[test]
    fn a_run_with_failures_is_none() {
        for line in ["  Non-2xx or 3xx responses: 3\n", "  Socket errors: connect 0, read 1\n"] {
            assert!(parse(&format!("{OUTPUT}{line}")).is_err(), "{line}");
        }
        assert!(parse(&OUTPUT.replace("12345 ", "0 ")).is_err());
    }

    #[test]
    fn times_are_milliseconds() {
        let cases = [("850.00us", Some(0.85)), ("2.5s", Some(2500.0)), ("3h", None)];
        for (text, expect) in cases {
            assert_eq!(milliseconds(text), expect, "{text}");
        }
    }
}
