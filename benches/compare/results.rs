//! What was measured, as `benchmarks.json` keeps it.

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::figures::Figures;
use crate::machine::Machine;
use crate::options::Options;
use crate::stats::median;

/// The name of the file.
const FILE: &str = "benchmarks.json";

/// The last result of each part.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Bare proxying.
    pub(crate) proxy: Option<On<Proxy>>,
    /// Plugin servers.
    pub(crate) plugins: Option<On<Plugins>>,
    /// Start and memory.
    pub(crate) start: Option<On<Start>>,
    /// 100 routes with key-auth.
    pub(crate) key_auth: Option<On<KeyAuth>>,
    /// Plugins in Lua.
    #[serde(default)]
    pub(crate) lua: Option<On<Lua>>,
    /// Each bundled plugin by itself.
    #[serde(default)]
    pub(crate) micro: Option<On<Micro>>,
    /// Routing among many routes.
    #[serde(default)]
    pub(crate) routing: Option<On<Figures>>,
    /// Changes under load.
    #[serde(default)]
    pub(crate) change: Option<On<Figures>>,
    /// Idle connections.
    #[serde(default)]
    pub(crate) idle: Option<On<Figures>>,
    /// Writing through the Admin API.
    pub(crate) admin: Option<On<Admin>>,
}

/// A result and where it was taken.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct On<T> {
    /// The machine and the versions.
    pub(crate) machine: Machine,
    /// The result.
    pub(crate) result: T,
}

/// How long a part has measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Effort {
    /// Rounds.
    pub(crate) rounds: usize,
    /// Seconds of load per measurement.
    pub(crate) seconds: u64,
}

/// One measurement, or the medians of several.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// CPU time of the gateway (or of what stands in its place) per request, in microseconds.
    pub(crate) cpu_us: f64,
    /// CPU time of the plugin server per request, in microseconds.
    pub(crate) server_us: f64,
    /// Requests per second.
    pub(crate) per_second: f64,
    /// The time within which 99 of 100 requests were answered, in milliseconds.
    pub(crate) p99_ms: f64,
    /// The share of its core that the gateway used.
    pub(crate) busy: f64,
}

impl Sample {
    /// The median of each figure.
    pub(crate) fn median(samples: &[Sample]) -> Sample {
        let of = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure));
        Sample {
            cpu_us: of(|s| s.cpu_us),
            server_us: of(|s| s.server_us),
            per_second: of(|s| s.per_second),
            p99_ms: of(|s| s.p99_ms),
            busy: of(|s| s.busy),
        }
    }
}

/// Contenders under the same loads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Proxy {
    pub(crate) effort: Effort,
    pub(crate) connections: usize,
    pub(crate) cases: Vec<Case>,
}

/// One load on all contenders.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Case {
    /// What the load is.
    pub(crate) name: String,
    /// Silverback's CPU time is to be at most this many times nginx's.
    pub(crate) target: f64,
    pub(crate) rows: Vec<Row>,
}

/// A contender under a load.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) who: String,
    pub(crate) sample: Sample,
    /// CPU time per request against the first contender's: the median of the rounds' ratios.
    pub(crate) ratio: f64,
    /// The same against the nginx that does the same work, where there is one.
    #[serde(default)]
    pub(crate) same: Option<f64>,
}

/// Plugin servers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plugins {
    pub(crate) effort: Effort,
    pub(crate) curves: Vec<Curve>,
}

/// A plugin server at a number of connections.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// The server's key in the list of servers.
    pub(crate) server: String,
    pub(crate) connections: usize,
    /// The gateway without a plugin.
    pub(crate) plain: Option<Sample>,
    pub(crate) points: Vec<Point>,
    /// The gateway's cost by its calls.
    pub(crate) gateway: Option<Slope>,
    /// The bare client's cost by its calls.
    pub(crate) client: Slope,
    /// The gateway's cost of a call against the bare client's: the median of the rounds' ratios.
    pub(crate) ratio: Option<f64>,
}

/// A number of PDK calls.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) calls: usize,
    pub(crate) gateway: Option<Sample>,
    /// The bare client, which makes events instead of serving requests.
    pub(crate) client: Sample,
}

/// A cost that grows with the number of calls, in microseconds of CPU time.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Slope {
    /// Of an event without calls (the gateway's: with its proxying).
    pub(crate) fixed_us: f64,
    /// Of a call.
    pub(crate) call_us: f64,
    /// The plugin server's own, of a call.
    pub(crate) server_call_us: f64,
}

/// Start and memory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) rounds: usize,
    pub(crate) routes: usize,
    pub(crate) rows: Vec<StartRow>,
}

/// A gateway's start and memory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StartRow {
    pub(crate) who: String,
    /// From exec to the first 200, in milliseconds.
    pub(crate) first_answer_ms: f64,
    /// CPU time until then, in milliseconds.
    pub(crate) cpu_ms: f64,
    /// Resident memory when idle, with one route, in MB.
    pub(crate) idle_mb: f64,
    /// Resident memory with all the routes, in MB.
    pub(crate) routes_mb: f64,
}

/// 100 routes and 100 consumers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeyAuth {
    pub(crate) effort: Effort,
    pub(crate) connections: usize,
    pub(crate) rows: Vec<Row>,
}

/// Plugins in Lua beside bare proxying.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Lua {
    pub(crate) effort: Effort,
    pub(crate) connections: usize,
    pub(crate) rows: Vec<Row>,
}

/// Each bundled plugin by itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Micro {
    pub(crate) rounds: usize,
    /// Requests per measurement.
    pub(crate) requests: u32,
    pub(crate) rows: Vec<MicroRow>,
}

/// A plugin by itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MicroRow {
    pub(crate) plugin: String,
    /// CPU time of its handlers per request, in nanoseconds.
    pub(crate) cpu_ns: f64,
}

/// Writing through the Admin API.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Admin {
    pub(crate) effort: Effort,
    pub(crate) creates: Vec<Creates>,
    pub(crate) served: Vec<Served>,
    #[serde(default)]
    pub(crate) figures: Figures,
}

/// Consumers made as fast as they can be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Creates {
    pub(crate) database: String,
    pub(crate) connections: usize,
    pub(crate) per_second: f64,
    pub(crate) p99_ms: f64,
}

/// Routes made one by one, each asked for until it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Served {
    pub(crate) database: String,
    /// How many routes there were before.
    pub(crate) routes: usize,
    /// From the request to the 201.
    pub(crate) created_ms: f64,
    /// From the 201 to the first 200 through the proxy.
    pub(crate) served_ms: f64,
    pub(crate) served_p99_ms: f64,
}

impl Results {
    /// The results so far.
    pub(crate) fn read(options: &Options) -> Result<Results> {
        let path = options.directory().join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} (remove it to begin anew)", path.display())),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(Results::default()),
            Err(err) => Err(err).with_context(|| path.display().to_string()),
        }
    }

    /// Keeps them.
    pub(crate) fn write(&self, options: &Options) -> Result<()> {
        let directory = options.directory();
        fs::create_dir_all(&directory)?;
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(directory.join(FILE), text)?;
        Ok(())
    }
}
