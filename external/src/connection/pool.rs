//! A worker's connections to its servers: which lie idle, and how many may be in use.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{Connection, Fault};
use crate::server::Server;

/// How long a connection may lie idle while others are in use: as in Kong.
const IDLE: Duration = Duration::from_secs(60);
/// How long the end of a supervised server may go unnoticed.
const RETURN: Duration = Duration::from_secs(1);
/// A buffer that grew beyond this is given back after the event.
const KEEP_BUFFER: usize = 256 << 10;

/// A worker's connections to one server.
struct Pool {
    #[expect(clippy::vec_box, reason = "they move from event to event, and would be copied")]
    idle: RefCell<Vec<Box<Connection>>>,
    free: Arc<Semaphore>,
    waiting: Cell<u32>,
}

thread_local! {
    /// By the servers' index.
    static POOLS: RefCell<Vec<Option<Rc<Pool>>>> = const { RefCell::new(Vec::new()) };
}

impl Pool {
    /// This worker's connections to a server.
    fn of(server: &Server) -> Rc<Pool> {
        POOLS.with_borrow_mut(|pools| {
            if pools.len() <= server.index {
                pools.resize_with(server.index + 1, || None);
            }
            let make = || {
                let free = Arc::new(Semaphore::new(server.config.connections.max(1) as usize));
                Rc::new(Pool { idle: RefCell::default(), free, waiting: Cell::new(0) })
            };
            match pools.get_mut(server.index) {
                Some(pool) => Rc::clone(pool.get_or_insert_with(make)),
                None => make(),
            }
        })
    }
}

/// The right to use one connection.
pub(crate) struct Slot {
    pool: Rc<Pool>,
    _permit: OwnedSemaphorePermit,
}

/// Too many events wait for a connection already.
pub(crate) struct Busy;

/// Counts a waiting event for as long as it waits, even if it is given up.
struct Waiting<'a>(&'a Cell<u32>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Slot {
    /// Takes a slot; waits in line where none is free.
    pub(crate) async fn take(server: &Server) -> Result<Slot, Busy> {
        let pool = Pool::of(server);
        let free = Arc::clone(&pool.free);
        if let Ok(permit) = Arc::clone(&free).try_acquire_owned() {
            return Ok(Slot { pool, _permit: permit });
        }
        if pool.waiting.get() >= server.config.queue {
            server.counts.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Busy);
        }
        pool.waiting.set(pool.waiting.get() + 1);
        let waiting = Waiting(&pool.waiting);
        let permit = free.acquire_owned().await;
        drop(waiting);
        permit.map(|permit| Slot { pool, _permit: permit }).map_err(|_| Busy)
    }

    /// A connection: one that lies idle, else a new one.
    pub(crate) async fn connection(&self, server: &Server) -> Result<Box<Connection>, Fault> {
        loop {
            let Some(idle) = self.pool.idle.borrow_mut().pop() else { break };
            if idle.is_usable(server) {
                return Ok(idle);
            }
            // Where one is stale, others are: after a restart all of them.
            self.pool.idle.borrow_mut().retain(|idle| idle.is_usable(server));
        }
        let patience = Instant::now() + RETURN;
        loop {
            let generation = server.ready().await.map_err(Fault::Down)?;
            match Connection::open(server, generation, server.config.timeout).await {
                // It has just died, and its supervisor will know in a moment.
                Err(Fault::Connect { .. })
                    if server.config.start_cmd.is_some() && Instant::now() < patience =>
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                // The next one is made for the process that is there now.
                Err(Fault::Replaced) if Instant::now() < patience => {}
                opened => return opened.map(Box::new),
            }
        }
    }

    /// Gives a connection back on which nothing is outstanding.
    pub(crate) fn give_back(&self, mut connection: Box<Connection>) {
        if connection.output.capacity() > KEEP_BUFFER {
            connection.output = Vec::new();
        }
        connection.input.shrink();
        let mut idle = self.pool.idle.borrow_mut();
        // The last one given back is the first one taken, so the first of the list is idle longest.
        if let Some(oldest) = idle.first()
            && connection.used.saturating_duration_since(oldest.used) > IDLE
        {
            idle.remove(0);
        }
        idle.push(connection);
    }
}
