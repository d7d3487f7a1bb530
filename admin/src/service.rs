//! The service itself: what it knows, and how it answers.

use std::sync::Arc;

use serde_json::{Map, Value};
use silverback_model::{Record, schema::Schema};
use silverback_pdk::{AddedPath, Additions, Registry};
use silverback_store::Store;

use crate::{
    Answer, Request,
    paths::{self, Path},
};

/// What the Admin API knows of its node. The binary fills it in.
pub struct Facts {
    /// The version of Kong that is spoken: "3.10.0".
    pub version: &'static str,
    /// Silverback's own version.
    pub silverback_version: &'static str,
    /// The node's id.
    pub node_id: String,
    /// The machine's name.
    pub hostname: String,
    /// Every setting by name, secrets masked.
    pub configuration: Map<String, Value>,
    /// The origins whose scripts may read answers in a browser (`admin_gui_url`); empty is any.
    pub origins: Vec<String>,
    /// How many workers serve requests.
    pub workers: usize,
    /// Connection counts, memory, plugin servers: what `/status` shows beside the hash. It is
    /// asked anew for each request.
    pub status: Box<dyn Fn() -> Map<String, Value>>,
    /// The pids of the gateway and of its plugin servers.
    pub pids: Box<dyn Fn() -> Value>,
    /// What resolving names has come to, by name and type: what `/status/dns` shows. None with
    /// Kong's old client, which does not count.
    pub dns: Box<dyn Fn() -> Option<Map<String, Value>>>,
    /// The health of upstreams.
    pub health: Box<dyn Health>,
}

/// What the data plane knows of the health of upstreams. They go by their ids; none is an upstream
/// that it does not know (yet).
pub trait Health {
    /// The health of each target by its name, "host:port".
    fn targets(&self, upstream: &str) -> Option<Map<String, Value>>;

    /// The health of the whole.
    fn whole(&self, upstream: &str) -> Option<Value>;

    /// Says how the addresses of a target are, or one of them.
    ///
    /// # Errors
    /// Why that can't be said, in Kong's words.
    fn set(
        &self,
        upstream: &str,
        target: &str,
        address: Option<&str>,
        healthy: bool,
    ) -> Result<(), String>;
}

/// Loads a declarative configuration: validates, compiles and serves it, or changes nothing.
/// What comes is the answer's body, JSON: of many entities it is long, so that it is written once.
pub type Load = Box<dyn Fn(Given) -> Result<String, Box<LoadError>>>;

/// A declarative configuration as it was sent.
pub enum Given {
    /// As a text, YAML or JSON.
    Text(String),
    /// As the fields of a JSON body.
    Fields(Record),
}

/// Why a declarative configuration was not loaded.
pub struct LoadError {
    /// The answer as Kong gives it.
    pub fault: Value,
    /// The same with `flattened_errors`.
    pub flattened: Value,
}

/// Answers requests to the Admin API. It does no I/O of its own.
pub struct Service {
    pub(crate) facts: Facts,
    pub(crate) registry: Registry,
    pub(crate) store: Arc<Store>,
    pub(crate) load: Load,
    pub(crate) schemas: Vec<Arc<Schema>>,
    pub(crate) additions: Option<Box<dyn Additions>>,
    paths: Vec<Path>,
    status_paths: Vec<Path>,
}

fn added(additions: Option<&dyn Additions>) -> &[AddedPath] {
    additions.map_or(&[], Additions::paths)
}

impl Service {
    /// A service over a store, with what plugins add.
    pub fn new(
        facts: Facts,
        registry: Registry,
        store: Arc<Store>,
        load: Load,
        additions: Option<Box<dyn Additions>>,
    ) -> Service {
        let schemas: Vec<_> =
            store.entities().kinds().iter().map(|kind| Arc::clone(&kind.schema)).collect();
        let paths = paths::table(&schemas, added(additions.as_deref()));
        let status_paths = paths::status_table(!store.is_writable());
        Service { facts, registry, store, load, schemas, additions, paths, status_paths }
    }

    /// Answers a request to the Admin API.
    pub async fn answer(&self, request: &Request) -> Answer {
        paths::dispatch(self, &self.paths, request).await
    }

    /// Answers a request to the Status API.
    pub async fn answer_status(&self, request: &Request) -> Answer {
        paths::dispatch(self, &self.status_paths, request).await
    }

    /// The paths that plugins add.
    pub(crate) fn added(&self) -> &[AddedPath] {
        added(self.additions.as_deref())
    }

    /// Every path.
    pub(crate) fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// Every path, as `/endpoints` lists them: segment by segment.
    pub(crate) fn patterns(&self) -> Vec<&str> {
        let mut patterns: Vec<&str> = self.paths.iter().map(|p| p.pattern.as_str()).collect();
        patterns.sort_by(|a, b| a.split('/').cmp(b.split('/')));
        patterns
    }

    /// The schema of a kind.
    pub(crate) fn schema(&self, kind: &str) -> Option<&Arc<Schema>> {
        self.schemas.iter().find(|schema| schema.name == kind)
    }
}
