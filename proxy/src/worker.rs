//! A worker: a thread with a runtime, listeners, and connections of its own. It shares nothing
//! that changes with others but the numbers it counts, which only it writes.

use std::{
    cell::{Cell, RefCell},
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Cache};
use futures_util::FutureExt;
use http::HeaderMap;
use silverback_model::{
    Entity, Record,
    counters::{Count, Tally},
    entities::{Route, Service},
};
use silverback_pdk::{Counted, Edition, Found, Node, SecretRef, Statistics, View};
use tokio::{
    net::TcpListener,
    runtime::{Builder, LocalOptions},
    sync::{Notify, mpsc, watch},
    task::spawn_local,
    time::{Instant, interval, sleep_until},
};

use crate::{
    Config, Listener, Snapshot, Stats,
    balancer::Balancers,
    chain,
    dns::{Ask, Dns, Facts},
    forward::Signs,
    lifecycle::{self, Work},
    listener,
    logs::AccessLog,
    pool::Pool,
    stats::Counters,
};

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(10);

/// How many maps for headers a worker keeps, and for how many headers each at most.
const SPARE_MAX: usize = 64;
const SPARE_HEADERS_MAX: usize = 64;
/// How many headers a map has room for: with more room than headers, few of them get into each
/// other's way.
const SPARE_ROOM: usize = 48;

/// What a worker is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Serve.
    Serve,
    /// Take no new connections, let requests come to their end.
    Drain,
    /// End now.
    Stop,
}

/// What all workers are given.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) snapshots: Arc<ArcSwap<Snapshot>>,
    pub(crate) stats: Stats,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) stream_access_log: Option<AccessLog>,
    pub(crate) orders: watch::Receiver<Order>,
    pub(crate) asks: mpsc::UnboundedSender<Ask>,
    pub(crate) dns_facts: Arc<Facts>,
}

/// A worker, as seen from its thread.
pub(crate) struct Worker {
    pub(crate) config: Arc<Config>,
    pub(crate) signs: Signs,
    pub(crate) pool: Rc<Pool>,
    pub(crate) dns: Rc<Dns>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) stream_access_log: Option<AccessLog>,
    /// Tells connections that it is draining.
    pub(crate) draining: Notify,
    is_draining: Cell<bool>,
    stats: Stats,
    snapshots: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    live: RefCell<Rc<Live>>,
    to_log: mpsc::UnboundedSender<Box<Work>>,
    /// Emptied maps for the headers of requests to come.
    spare_headers: RefCell<Vec<HeaderMap>>,
}

/// A snapshot as one worker sees it.
pub(crate) struct Live {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Higher than that of those before.
    pub(crate) number: u64,
    pub(crate) balancers: Balancers,
    config: Arc<Config>,
    stats: Stats,
}

impl Worker {
    /// The newest snapshot: a request takes it once and keeps it.
    pub(crate) fn live(&self) -> Rc<Live> {
        let mut snapshots = self.snapshots.borrow_mut();
        let newest = snapshots.load();
        let mut live = self.live.borrow_mut();
        if Arc::ptr_eq(newest, &live.snapshot) {
            return live.clone();
        }
        *live = Rc::new(Live::of(newest.clone(), &self.config, &self.stats));
        let newest = live.clone();
        drop((snapshots, live));
        self.tell_hooks(&newest, false);
        newest
    }

    /// Tells plugin hosts what is served from now on.
    fn tell_hooks(&self, live: &Rc<Live>, first: bool) {
        let view: Rc<dyn View> = live.clone();
        self.config.hooks.iter().for_each(|hook| hook.changed(&view, first));
    }

    /// An empty map for headers.
    pub(crate) fn spare_headers(&self) -> HeaderMap {
        let spare = self.spare_headers.borrow_mut().pop();
        spare.unwrap_or_else(|| HeaderMap::with_capacity(SPARE_ROOM))
    }

    /// Keeps the memory of a map that is no longer needed.
    pub(crate) fn keep_spare(&self, mut headers: HeaderMap) {
        let mut spare = self.spare_headers.borrow_mut();
        if spare.len() < SPARE_MAX && headers.capacity() <= SPARE_HEADERS_MAX {
            headers.clear();
            spare.push(headers);
        }
    }

    /// Runs the log phase of a request, after what is being done now.
    pub(crate) fn log_later(&self, work: Box<Work>) {
        // A worker that has ended logs nothing more.
        let _ = self.to_log.send(work);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Open connections of this worker.
    pub(crate) fn connections(&self) -> u64 {
        self.counters.accepted.get().saturating_sub(self.counters.closed.get())
    }
}

impl Live {
    fn of(snapshot: Arc<Snapshot>, config: &Arc<Config>, stats: &Stats) -> Live {
        let balancers = Balancers::of(&snapshot);
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        Live { snapshot, number, balancers, config: config.clone(), stats: stats.clone() }
    }
}

impl View for Live {
    fn node(&self) -> &Node {
        &self.config.node
    }

    fn route(&self, route: u32) -> Option<&Entity<Route>> {
        self.snapshot.route(route).map(|route| &*route.entity)
    }

    fn service(&self, route: u32) -> Option<&Entity<Service>> {
        self.snapshot.service_of(route).map(|service| &*service.entity)
    }

    fn instance(&self, instance: u32) -> Option<&Arc<Record>> {
        self.snapshot.instances.get(instance).map(|instance| &instance.record)
    }

    fn instances(&self) -> Vec<Arc<Record>> {
        self.snapshot.instances.iter().map(|(_, instance)| instance.record.clone()).collect()
    }

    fn find(&self, kind: &str, field: &str, value: &str) -> Found {
        self.snapshot.directory.find(kind, field, value)
    }

    fn children(&self, kind: &str, parent: &str, parent_id: &str) -> Found<Vec<Arc<Record>>> {
        self.snapshot.directory.children(kind, parent, parent_id)
    }

    fn edition(&self, kinds: &[&str]) -> Option<Edition> {
        Some(Edition(self.number, self.snapshot.directory.changes(kinds)?))
    }

    fn all(&self, kind: &str) -> Vec<Arc<Record>> {
        self.snapshot.directory.all(kind)
    }

    fn count(&self, tally: Tally, count: Count) -> Option<Counted> {
        self.snapshot.directory.count(tally, count)
    }

    fn workspace_id(&self) -> Option<&str> {
        self.snapshot.directory.workspace_id()
    }

    fn statistics(&self) -> Statistics {
        self.stats.totals()
    }

    fn secret(&self, reference: &SecretRef) -> Result<String, String> {
        self.snapshot.directory.secret(reference)
    }

    fn renewed_secret(&self, reference: &SecretRef) -> Result<String, String> {
        self.snapshot.directory.renewed_secret(reference)
    }

    fn flush_secrets(&self) {
        self.snapshot.directory.flush_secrets();
    }
}

/// Runs worker `number` on this thread until it is told to stop.
pub(crate) fn run(number: usize, shared: Shared, sockets: Vec<(Listener, std::net::TcpListener)>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    match runtime {
        Ok(runtime) => {
            runtime.block_on(serve(number, shared, sockets));
            // What is still open is dropped with the runtime it belongs to.
            runtime.shutdown_timeout(Duration::from_millis(100));
        }
        Err(error) => {
            let text = format!("worker {number} has no runtime: {error}");
            silverback_pdk::log(silverback_pdk::LogLevel::Emerg, "", &text);
        }
    }
}

async fn serve(number: usize, shared: Shared, sockets: Vec<(Listener, std::net::TcpListener)>) {
    let (to_log, logged) = mpsc::unbounded_channel();
    let mut orders = shared.orders.clone();
    let worker = Rc::new(Worker::new(number, shared, to_log));
    worker.tell_hooks(&worker.live(), true);
    spawn_local(run_log_phases(logged));
    spawn_local(sweep(worker.clone()));
    let mut accepting = Vec::new();
    for (listener, socket) in sockets {
        match TcpListener::from_std(socket) {
            Ok(socket) => {
                accepting.push(spawn_local(listener::accept(worker.clone(), listener, socket)));
            }
            Err(error) => {
                let text = format!("worker {number} can't listen on {}: {error}", listener.address);
                silverback_pdk::log(silverback_pdk::LogLevel::Emerg, "", &text);
            }
        }
    }
    // An error is the handle's end, which is an order to stop.
    let _ = orders.wait_for(|order| *order != Order::Serve).await;
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
    worker.config.hooks.iter().for_each(|hook| hook.ends());
    drain(&worker, &mut orders).await;
}

/// Waits for open connections to end, for as long as that may take.
async fn drain(worker: &Worker, orders: &mut watch::Receiver<Order>) {
    worker.is_draining.set(true);
    worker.draining.notify_waiters();
    worker.pool.clear();
    let until = Instant::now() + worker.config.drain_timeout;
    let emptied = async {
        while worker.connections() > 0 {
            sleep_until(Instant::now() + Duration::from_millis(5)).await;
            // A connection that was being accepted may have missed the call.
            worker.draining.notify_waiters();
        }
        // The log phases of the last requests.
        tokio::task::yield_now().await;
    };
    tokio::select! {
        () = emptied => {}
        () = sleep_until(until) => {}
        _ = orders.wait_for(|order| *order == Order::Stop) => {}
    }
}

impl Worker {
    fn new(number: usize, shared: Shared, to_log: mpsc::UnboundedSender<Box<Work>>) -> Worker {
        let Shared { config, snapshots, stats, access_log, stream_access_log, .. } = shared;
        let dns = Dns::new(shared.asks, shared.dns_facts, config.dns.names_max);
        let live = Live::of(snapshots.load_full(), &config, &stats);
        Worker {
            signs: Signs::of(&config),
            pool: Rc::new(Pool::new(config.keepalive)),
            dns: Rc::new(dns),
            counters: stats.worker(number),
            access_log,
            stream_access_log,
            draining: Notify::new(),
            is_draining: Cell::new(false),
            snapshots: RefCell::new(Cache::new(snapshots)),
            live: RefCell::new(Rc::new(live)),
            to_log,
            spare_headers: RefCell::default(),
            stats,
            config,
        }
    }
}

async fn run_log_phases(mut logged: mpsc::UnboundedReceiver<Box<Work>>) {
    while let Some(mut work) = logged.recv().await {
        spawn_local(async move {
            if AssertUnwindSafe(chain::log(&mut work)).catch_unwind().await.is_err() {
                lifecycle::note_panic(&work);
            }
        });
    }
}

async fn sweep(worker: Rc<Worker>) {
    let mut clock = interval(SWEEP);
    loop {
        clock.tick().await;
        worker.pool.sweep();
        // An idle worker lets go of the snapshot before the last, too.
        worker.live();
    }
}
