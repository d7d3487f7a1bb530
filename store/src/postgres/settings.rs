//! How a PostgreSQL server is reached, and how long it may take.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;
use tokio::runtime::Handle;

use super::migrations::Own;

/// What kong.conf says in `pg_*`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server that is written to.
    pub primary: Server,
    /// A replica that look-ups for traffic are sent to (`pg_ro_*`).
    pub replica: Option<Server>,
    /// Time between removals of expired rows.
    pub ttl_cleanup_interval: Duration,
    /// `db_update_frequency`: time between looks into `cluster_events`.
    pub update_frequency: Duration,
    /// `db_update_propagation`: how long the replica may lag behind.
    pub update_propagation: Duration,
    /// `plugins`: whose tables have to be there.
    pub plugins: Vec<String>,
    /// The migrations of plugins that are not Kong's own.
    pub own_migrations: Vec<Own>,
    /// The id of this node, a UUID: the author of its events.
    pub node_id: String,
}

/// One server, as `pg_*` or `pg_ro_*` describe it.
#[derive(Clone)]
pub struct Server {
    /// A name, an address, or the directory of a Unix socket.
    pub host: String,
    /// The port, which is part of a Unix socket's name too.
    pub port: u16,
    /// Longest time of connecting, and of each query.
    pub timeout: Duration,
    /// Who connects.
    pub user: String,
    /// Its password, if it needs one.
    pub password: Option<Password>,
    /// The database.
    pub database: String,
    /// The schema in it; empty is the user's default.
    pub schema: String,
    /// Whether and how the connection is encrypted.
    pub tls: Tls,
    /// Whether the connection is given up where the server can't encrypt it.
    pub insists_on_tls: bool,
    /// Who the node is to the server, which may ask for a certificate.
    pub certificate: Option<Arc<CertifiedKey>>,
    /// The bounds of the pool.
    pub pool: Bounds,
}

/// A password, and where to look for it when the server does not take it any more.
#[derive(Clone)]
pub struct Password {
    known: Arc<ArcSwap<String>>,
    again: Option<Arc<dyn Fn() -> Option<String> + Send + Sync>>,
}

impl Password {
    /// A password that was read somewhere, and how to read it there again.
    pub fn read(text: String, again: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Password { again: Some(Arc::new(again)), ..Password::from(text) }
    }

    /// The password as it is known.
    pub(crate) fn known(&self) -> Arc<String> {
        self.known.load_full()
    }

    /// Reads it again, in the place of one that is not taken any more. Whether it is another: one
    /// that was read meanwhile is another too.
    pub(crate) async fn renew(&self, refused: &str, io: &Handle) -> bool {
        if *self.known() != refused {
            return true;
        }
        let Some(again) = self.again.clone() else { return false };
        // File systems can be slow.
        let read = io.spawn_blocking(move || again()).await;
        let read = read.ok().flatten().filter(|read| read != refused);
        let is_new = read.is_some();
        read.into_iter().for_each(|read| self.known.store(Arc::new(read)));
        is_new
    }
}

/// A password that is what it is.
impl From<String> for Password {
    fn from(text: String) -> Password {
        Password { known: Arc::new(ArcSwap::from_pointee(text)), again: None }
    }
}

/// Encryption of a connection.
#[derive(Clone, Default)]
pub enum Tls {
    /// None.
    #[default]
    Off,
    /// Encrypted, whoever the server is.
    Unverified,
    /// Encrypted, and the server's certificate is for its host and by somebody trusted.
    Verified(silverback_tls::Trust),
}

/// Bounds of a pool of connections.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most connections at a time.
    pub connections: usize,
    /// Most idle connections that are kept.
    pub idle: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Most that wait for a connection.
    pub waiters: usize,
    /// Longest wait for a connection.
    pub wait: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            connections: 32,
            idle: 32,
            idle_timeout: Duration::from_secs(60),
            waiters: 10_000,
            wait: Duration::from_secs(60),
        }
    }
}

impl Server {
    /// Where the database is: what tells it from others.
    pub fn address(&self) -> String {
        let Server { host, port, database, schema, .. } = self;
        format!("postgres://{host}:{port}/{database}?schema={schema}")
    }
}

/// The password stays unsaid.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { host, port, user, database, schema, .. } = self;
        write!(f, "postgres://{user}@{host}:{port}/{database}?schema={schema}")
    }
}
