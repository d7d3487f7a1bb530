//! The configuration as an exchange sees it.

use std::{path::PathBuf, sync::Arc};

use futures_util::future::LocalBoxFuture;
use silverback_model::{
    Entity, Record, SecretRef,
    counters::{Count, Tally},
    entities::{Route, Service},
};

/// The immutable configuration that an exchange works on from its start to its end.
pub trait View {
    /// Facts about this node.
    fn node(&self) -> &Node;

    /// The route of that number.
    fn route(&self, route: u32) -> Option<&Entity<Route>>;

    /// The service of the route of that number.
    fn service(&self, route: u32) -> Option<&Entity<Service>>;

    /// The `plugins` entity of that number: [`super::Exchange::running`].
    fn instance(&self, instance: u32) -> Option<&Arc<Record>>;

    /// The `plugins` entities that have handlers, in no order. Their numbers have gaps.
    fn instances(&self) -> Vec<Arc<Record>> {
        Vec::new()
    }

    /// The entity of a kind ("consumers", "keyauth_credentials"...) that has this value in a
    /// unique field ("id", "username", "key"...).
    fn find(&self, kind: &str, field: &str, value: &str) -> Found;

    /// The entities of a kind that belong to another ("acls" of a "consumer").
    fn children(&self, kind: &str, parent: &str, parent_id: &str) -> Found<Vec<Arc<Record>>>;

    /// Which edition of these kinds look-ups answer from: another one as soon as any entity of them
    /// may have changed. Read it before them. None where nobody can say without asking.
    fn edition(&self, _kinds: &[&str]) -> Option<Edition> {
        None
    }

    /// Counts so much in each window, or in none if one of them has reached its limit, exactly,
    /// whichever node of the cluster counts: what was used before, of each window in turn. None
    /// where nodes share no database.
    fn count(&self, _tally: Tally, _count: Count) -> Option<Counted> {
        None
    }

    /// All entities of a kind.
    fn all(&self, _kind: &str) -> Vec<Arc<Record>> {
        Vec::new()
    }

    /// The id of the workspace, where the entities know of one.
    fn workspace_id(&self) -> Option<&str> {
        None
    }

    /// Connections and requests as nginx counts them; zeros where nobody counts.
    fn statistics(&self) -> Statistics {
        Statistics::default()
    }

    /// The secret that a vault reference names. The environment and the vaults are not this
    /// crate's to read, so the configuration answers.
    ///
    /// # Errors
    /// Kong's text: "could not find vault (NAME)", "could not get value from external vault (no
    /// value found)".
    fn secret(&self, reference: &SecretRef) -> Result<String, String> {
        Err(format!("could not find vault ({})", reference.name))
    }

    /// The same, read again whatever is remembered.
    ///
    /// # Errors
    /// As [`View::secret`].
    fn renewed_secret(&self, reference: &SecretRef) -> Result<String, String> {
        self.secret(reference)
    }

    /// Has all secrets read again, soon.
    fn flush_secrets(&self) {}
}

/// What `kong.nginx.get_statistics` counts, since the start of this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Open connections, idle ones included.
    pub active: u64,
    /// Connections of which a request's head is being read.
    pub reading: u64,
    /// Connections that are answered.
    pub writing: u64,
    /// Idle connections.
    pub waiting: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that were served: those accepted, less those closed at once by a limit.
    pub handled: u64,
    /// Requests.
    pub requests: u64,
}

/// An edition of entities: later ones are greater. The first number is that of the configuration
/// that a worker serves by, the second counts changes since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edition(pub u64, pub u64);

/// What counters of the cluster held before, or why their database can't say.
pub type Counted = LocalBoxFuture<'static, Result<Vec<u64>, String>>;

/// What a look-up found, at once where the entities are in memory.
pub enum Found<T = Option<Arc<Record>>> {
    /// The entity or entities, or that there is none.
    Now(T),
    /// The store has to be asked. The error is its own.
    Later(LocalBoxFuture<'static, Result<T, String>>),
}

impl<T> Found<T> {
    /// Waits for it.
    ///
    /// # Errors
    /// If the store can't answer.
    pub async fn get(self) -> Result<T, String> {
        match self {
            Found::Now(found) => Ok(found),
            Found::Later(found) => found.await,
        }
    }
}

/// Facts about this node and settings that plugins meet.
#[derive(Debug, Clone)]
pub struct Node {
    /// A UUID, kept in the prefix from start to start.
    pub id: String,
    /// The machine's name.
    pub hostname: String,
    /// The prefix: sockets, logs, temporary files.
    pub prefix: PathBuf,
    /// `client_body_buffer_size`: how much of a request's body plugins may read from memory, bytes.
    pub body_buffer_max: u64,
    /// `client_max_body_size` in bytes: how much a request's body may hold at all. 0: no limit.
    pub body_max: u64,
    /// `trusted_ips`.
    pub trusted_ips: Vec<ipnet::IpNet>,
    /// `error_default_type`: the media type of errors for clients that don't say what they accept.
    pub error_default_type: String,
    /// `error_template_*`: what errors look like, where that is not as in Kong.
    pub error_templates: ErrorTemplates,
    /// How many workers serve.
    pub workers: u16,
}

/// Templates of error answers, by their media type: the first `%s` is the message, the second the
/// request's id.
#[derive(Debug, Clone, Default)]
pub struct ErrorTemplates {
    /// `error_template_json`.
    pub json: Option<String>,
    /// `error_template_html`.
    pub html: Option<String>,
    /// `error_template_xml`.
    pub xml: Option<String>,
    /// `error_template_plain`.
    pub plain: Option<String>,
}

impl Default for Node {
    /// A node without an id, with the settings that Kong has unless it is told otherwise.
    fn default() -> Node {
        Node {
            id: String::new(),
            hostname: String::new(),
            prefix: PathBuf::new(),
            body_buffer_max: 8 << 10,
            body_max: 0,
            trusted_ips: Vec::new(),
            error_default_type: "text/plain".to_owned(),
            error_templates: ErrorTemplates::default(),
            workers: 1,
        }
    }
}

impl Node {
    /// Whether an address is one of `trusted_ips`.
    pub fn trusts(&self, address: std::net::IpAddr) -> bool {
        self.trusted_ips.iter().any(|net| net.contains(&address))
    }
}
