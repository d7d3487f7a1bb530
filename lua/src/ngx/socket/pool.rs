//! Connections that wait to be used again, by the name of their pool. They belong to the worker.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    future::poll_fn,
    rc::Rc,
    time::Duration,
};

use tokio::task::JoinHandle;

use super::stream::{Reader, Writer};

/// What a socket was told of its pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// How many connections it keeps, if that was said.
    pub(super) size: Option<usize>,
}

/// A connection that waits.
pub(super) struct Idle {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// How often it was used again.
    pub(super) reused: u32,
    /// Whether it speaks TLS.
    pub(super) tls: bool,
}

struct Kept {
    number: u64,
    idle: Rc<RefCell<Option<Idle>>>,
    watch: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

struct Pool {
    size: usize,
    kept: VecDeque<Kept>,
}

/// The pools of a worker.
pub(super) struct Pools {
    default_size: usize,
    pools: Rc<RefCell<HashMap<String, Pool>>>,
    last: RefCell<u64>,
}

impl Pools {
    /// Pools of that size where nothing else is said (`lua_socket_pool_size`).
    pub(super) fn new(default_size: usize) -> Pools {
        let last = RefCell::new(0);
        Pools { default_size, pools: Rc::default(), last }
    }

    /// A connection to use again: the one that waits least.
    pub(super) fn take(&self, name: &str) -> Option<Idle> {
        let mut pools = self.pools.borrow_mut();
        let pool = pools.get_mut(name)?;
        while let Some(kept) = pool.kept.pop_back() {
            let taken = kept.idle.borrow_mut().take();
            if let Some(mut idle) = taken
                && !idle.reader.is_noisy()
            {
                return Some(idle);
            }
        }
        pools.remove(name);
        None
    }

    /// Keeps a connection, for ever or for that long; the one that waits longest goes if there are
    /// too many. The first that is kept says how many that is. False if it is of no more use.
    pub(super) fn keep(
        &self,
        name: &str,
        mut idle: Idle,
        timeout: Option<Duration>,
        size: Option<usize>,
    ) -> bool {
        if idle.reader.is_noisy() {
            return false;
        }
        let mut last = self.last.borrow_mut();
        *last += 1;
        let number = *last;
        let idle = Rc::new(RefCell::new(Some(idle)));
        let watched = watch(idle.clone(), timeout, self.pools.clone(), name.to_owned(), number);
        let watch = tokio::task::spawn_local(watched);
        let size = size.filter(|size| *size > 0).unwrap_or(self.default_size).max(1);
        let mut pools = self.pools.borrow_mut();
        let pool =
            pools.entry(name.to_owned()).or_insert_with(|| Pool { size, kept: VecDeque::new() });
        if pool.kept.len() >= pool.size {
            pool.kept.pop_front();
        }
        pool.kept.push_back(Kept { number, idle, watch });
        true
    }
}

/// Waits until a connection that waits is closed, says something or has waited long enough, and
/// forgets it.
async fn watch(
    idle: Rc<RefCell<Option<Idle>>>,
    timeout: Option<Duration>,
    pools: Rc<RefCell<HashMap<String, Pool>>>,
    name: String,
    number: u64,
) {
    let noise = poll_fn(|cx| match idle.borrow_mut().as_mut() {
        Some(idle) => idle.reader.poll_noise(cx),
        None => std::task::Poll::Ready(()),
    });
    match timeout {
        Some(timeout) => drop(tokio::time::timeout(timeout, noise).await),
        None => noise.await,
    }
    idle.borrow_mut().take();
    let mut pools = pools.borrow_mut();
    if let Some(pool) = pools.get_mut(&name) {
        pool.kept.retain(|kept| kept.number != number);
        if pool.kept.is_empty() {
            pools.remove(&name);
        }
    }
}
