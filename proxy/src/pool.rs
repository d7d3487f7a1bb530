//! Connections to upstreams: each worker keeps its own, for as long as they may still serve.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    clock::Clock,
    config::Keepalive,
    http1::{Socket, Wire},
};

/// What makes two connections the same: where they go, and how TLS was settled on them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Rc<TlsKey>>,
}

/// How TLS is settled: the configuration, by its place in memory, and the name asked for.
#[derive(Debug, Clone)]
pub(crate) struct TlsKey {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl PartialEq for TlsKey {
    fn eq(&self, other: &TlsKey) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl Eq for TlsKey {}

impl std::hash::Hash for TlsKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.config).hash(state);
        self.name.hash(state);
    }
}

/// The idle connections of a worker.
pub(crate) struct Pool {
    settings: Keepalive,
    idle: RefCell<HashMap<Key, List>>,
    /// The list that was used last: mostly the next, too.
    last: RefCell<Option<(Key, List)>>,
}

/// The idle connections with one key, the one used last at the end. Who uses one holds the list
/// that it goes back to.
type List = Rc<RefCell<VecDeque<Idle>>>;

struct Idle {
    wire: Wire,
    served: u64,
    since: Instant,
    clock: Clock,
}

/// A connection that serves one request now.
pub(crate) struct Lease {
    list: List,
    settings: Keepalive,
    pub(crate) wire: Wire,
    served: u64,
    /// For what is waited for while it serves.
    pub(crate) clock: Clock,
}

/// Why a connection could not be made.
pub(crate) enum ConnectError {
    /// It took too long.
    Timeout,
    /// It was refused, or broke.
    Failed(String),
}

impl Pool {
    pub(crate) fn new(settings: Keepalive) -> Pool {
        Pool { settings, idle: RefCell::default(), last: RefCell::default() }
    }

    /// An idle connection, the one used last.
    pub(crate) fn take(&self, key: &Key, now: Instant) -> Option<Lease> {
        let list = self.list(key)?;
        loop {
            let idle = list.borrow_mut().pop_back()?;
            let Idle { mut wire, served, since, clock } = idle;
            if wire.is_quiet() && !self.is_stale(since, now) {
                return Some(Lease { list, settings: self.settings, wire, served, clock });
            }
        }
    }

    fn list(&self, key: &Key) -> Option<List> {
        let mut last = self.last.borrow_mut();
        match &*last {
            Some((known, list)) if known == key => Some(list.clone()),
            _ => {
                let list = self.idle.borrow().get(key)?.clone();
                *last = Some((key.clone(), list.clone()));
                Some(list)
            }
        }
    }

    /// A fresh connection.
    pub(crate) async fn connect(
        self: &Rc<Pool>,
        key: Key,
        limit: Duration,
    ) -> Result<Lease, ConnectError> {
        let wire = Wire::new(dial_within(&key, limit).await?);
        let list = self.idle.borrow_mut().entry(key).or_default().clone();
        let (settings, clock) = (self.settings, Clock::default());
        Ok(Lease { list, settings, wire, served: 0, clock })
    }

    fn is_stale(&self, since: Instant, now: Instant) -> bool {
        let limit = self.settings.idle_timeout;
        !limit.is_zero() && now.saturating_duration_since(since) >= limit
    }

    /// Closes what has been idle too long; called now and then.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.last.replace(None);
        self.idle.borrow_mut().retain(|_, list| {
            let mut idle = list.borrow_mut();
            idle.retain_mut(|idle| idle.wire.is_quiet() && !self.is_stale(idle.since, now));
            !idle.is_empty() || Rc::strong_count(list) > 1
        });
    }

    /// Closes everything that is idle.
    pub(crate) fn clear(&self) {
        self.last.replace(None);
        self.idle.borrow_mut().clear();
    }
}

impl Lease {
    /// Whether it has served before: then the other side may have closed it meanwhile.
    pub(crate) fn is_reused(&self) -> bool {
        self.served > 0
    }

    /// One more request is sent on it.
    pub(crate) fn serve(&mut self) {
        self.served += 1;
    }

    /// The answer was read to its end: the connection waits for another request.
    pub(crate) fn give_back(self) {
        let Lease { list, settings, mut wire, served, clock } = self;
        let worn = settings.max_requests > 0 && served >= settings.max_requests;
        if settings.pool_size == 0 || worn {
            return;
        }
        wire.rest();
        let mut list = list.borrow_mut();
        if list.len() >= settings.pool_size {
            list.pop_front();
        }
        list.push_back(Idle { wire, served, since: Instant::now(), clock });
    }
}

/// Connects: what is not for HTTP serves once and is in no pool.
pub(crate) async fn dial_within(key: &Key, limit: Duration) -> Result<Socket, ConnectError> {
    match tokio::time::timeout(limit, dial(key)).await {
        Err(_) => Err(ConnectError::Timeout),
        Ok(dialed) => dialed.map_err(ConnectError::Failed),
    }
}

async fn dial(key: &Key) -> Result<Socket, String> {
    let stream = TcpStream::connect(key.address).await.map_err(|e| format!("connect: {e}"))?;
    // Without it small requests wait for nothing; where it fails they are only slower.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &key.tls else { return Ok(Socket::Plain(stream)) };
    let connector = TlsConnector::from(tls.config.clone());
    let stream = connector.connect(tls.name.clone(), stream).await;
    let stream = stream.map_err(|e| format!("TLS handshake: {e}"))?;
    Ok(Socket::Tls(Box::new(stream.into())))
}
