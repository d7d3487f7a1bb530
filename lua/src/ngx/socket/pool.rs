//! Connections that wait to be used again, by the name of their pool. They belong to the worker.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    future::poll_fn,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::stream::{Reader, Writer, is_quiet, split};

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

impl Idle {
    /// The connection, if the other side has neither closed it nor said anything meanwhile: it
    /// would be lost in the middle of the next request.
    fn if_usable(mut self) -> Option<Idle> {
        // First the noise that TLS makes by itself, such as tickets, is read away.
        if self.reader.is_noisy() {
            return None;
        }
        let stream = self.reader.reunite(self.writer);
        let quiet = is_quiet(&stream);
        let (reader, writer) = split(stream);
        quiet.then_some(Idle { reader, writer, ..self })
    }
}

struct Kept {
    number: u64,
    /// When it has waited long enough.
    until: Option<Instant>,
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
            let late = kept.until.is_some_and(|until| until <= Instant::now());
            if let Some(idle) = taken.filter(|_| !late).and_then(Idle::if_usable) {
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
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
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
        pool.kept.push_back(Kept { number, until, idle, watch });
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

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::ngx::socket::stream::{Peer, connect};

    /// Keeps a connection, lets its other side do something, and looks again and again whether it
    /// would be used. The worker does not look at its sockets in between.
    async fn is_used_after(act: impl FnOnce(TcpStream) -> Option<TcpStream>, looks: u32) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let peer = Peer::Tcp("127.0.0.1".to_owned(), port);
        let connected = connect(&peer, Duration::from_secs(30)).await;
        let (reader, writer) = connected.expect("a connection");
        let (other, _) = listener.accept().expect("the other side");
        let pools = Pools::new(10);
        let mut idle = Idle { reader, writer, reused: 0, tls: false };
        let _other = act(other);
        for _ in 0..looks {
            assert!(pools.keep("pool", idle, None, None), "nothing is known to have come");
            match pools.take("pool") {
                Some(same) => idle = same,
                None => return false,
            }
            // What the other side does takes a moment to arrive.
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    #[test]
    fn what_the_other_side_has_closed_is_not_used() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime.expect("a runtime"), async {
            let close = |other: TcpStream| {
                drop(other);
                None
            };
            assert!(!is_used_after(close, 30_000).await, "closed");
            let speak = |mut other: TcpStream| {
                other.write_all(b"408").expect("written");
                Some(other)
            };
            assert!(!is_used_after(speak, 30_000).await, "something was said");
            assert!(is_used_after(Some, 5).await, "quiet");
        });
    }
}
