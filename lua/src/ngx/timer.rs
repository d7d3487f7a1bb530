//! `ngx.timer`: work that outlives the request that asks for it.

use std::{
    cell::Cell,
    rc::{Rc, Weak},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use mlua::{Function, Lua, MultiValue, Table, Value};
use silverback_pdk::{
    Body, Client, Exchange, LogLevel, LuaTimers, Phase, Request, RequestId, Scheme, View, log,
};
use tokio::{sync::Notify, time::sleep};

use super::{codec::number, flow::duration};
use crate::{
    bind, current,
    scheduler::{self, Ending},
    state::State,
};

/// How many timers may wait (Kong: `lua_max_pending_timers`).
const PENDING_MAX: usize = 16384;
/// How many may run (Kong: `lua_max_running_timers`).
const RUNNING_MAX: usize = 4096;

/// Those of all workers that wait, and that run.
static PENDING: AtomicU64 = AtomicU64::new(0);
static RUNNING: AtomicU64 = AtomicU64::new(0);

/// How many timers there are on all workers.
pub(crate) fn counts() -> LuaTimers {
    LuaTimers { pending: PENDING.load(Relaxed), running: RUNNING.load(Relaxed) }
}

/// The timers of a worker.
pub(crate) struct Timers {
    pending: Number,
    running: Number,
    exiting: Cell<bool>,
    stop: Notify,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            pending: Number { own: Cell::new(0), of_all: &PENDING },
            running: Number { own: Cell::new(0), of_all: &RUNNING },
            exiting: Cell::new(false),
            stop: Notify::new(),
        }
    }
}

/// How many there are of a worker, counted among those of all, too.
struct Number {
    own: Cell<usize>,
    of_all: &'static AtomicU64,
}

impl Drop for Number {
    /// What a worker leaves behind when it ends is no more.
    fn drop(&mut self) {
        self.of_all.fetch_sub(self.own.get() as u64, Relaxed);
    }
}

impl Number {
    fn get(&self) -> usize {
        self.own.get()
    }

    fn up(&self) {
        self.own.set(self.own.get() + 1);
        self.of_all.fetch_add(1, Relaxed);
    }
}

impl Timers {
    /// Has all timers that wait run now, and told that they are early: the worker is ending.
    pub(crate) fn stop(&self) {
        self.exiting.set(true);
        self.stop.notify_waiters();
    }
}

/// A timer: what it runs, and for whom.
struct Timer {
    function: Function,
    args: Vec<Value>,
    view: Rc<dyn View>,
    instance: Option<u32>,
}

/// Puts the functions into the table `ngx.timer`, and `exiting` into `native`.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &Rc<State>, ngx: &Table, native: &Table) -> mlua::Result<()> {
    let table = state.lua.create_table()?;
    let weak = Rc::downgrade(state);
    table.set("at", bind::cold(state, move |_, args| begin(&weak, args, false))?)?;
    let weak = Rc::downgrade(state);
    table.set("every", bind::cold(state, move |_, args| begin(&weak, args, true))?)?;
    let timers = state.timers.clone();
    let pending = move |_: &Lua, ()| Ok(timers.pending.get());
    table.set("pending_count", state.lua.create_function(pending)?)?;
    let timers = state.timers.clone();
    let running = move |_: &Lua, ()| Ok(timers.running.get());
    table.set("running_count", state.lua.create_function(running)?)?;
    ngx.set("timer", table)?;
    let timers = state.timers.clone();
    native.set("exiting", state.lua.create_function(move |_, ()| Ok(timers.exiting.get()))?)
}

/// 1; nil and what is wrong.
type Begun = (Option<u8>, Option<&'static str>);

/// (seconds, function, arguments...)
fn begin(state: &Weak<State>, args: MultiValue, every: bool) -> Result<Begun, String> {
    let mut args = args.into_iter();
    let delay = args.next().and_then(|value| number(&value)).filter(|delay| *delay >= 0.0);
    let delay = delay.ok_or("delay must be a number that is not below zero")?;
    if every && delay == 0.0 {
        return Err("delay cannot be 0".to_owned());
    }
    let function = args.next().and_then(|value| value.as_function().cloned());
    let function = function.ok_or("bad argument #2 to 'at' (function expected)")?;
    let state = state.upgrade().ok_or("the worker is ending")?;
    let timers = &state.timers;
    if timers.exiting.get() && delay > 0.0 {
        return Ok((None, Some("process exiting")));
    }
    if timers.pending.get() >= PENDING_MAX {
        return Ok((None, Some("too many pending timers")));
    }
    let around = current::with(|exchange| (exchange.view.clone(), exchange.running));
    let (view, instance) = around.ok_or("API disabled in the context of init_by_lua*")?;
    let timer = Timer { function, args: args.collect(), view, instance };
    timers.pending.up();
    if every {
        tokio::task::spawn_local(again(state, timer, duration(delay)));
    } else {
        tokio::task::spawn_local(once(state, timer, duration(delay)));
    }
    Ok((Some(1), None))
}

/// Counts one down whatever happens.
struct Count<'a>(&'a Number);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.own.set(self.0.get().saturating_sub(1));
        self.0.of_all.fetch_sub(1, Relaxed);
    }
}

/// Waits; whether the worker ends before the time is over.
async fn until(timers: &Timers, delay: Duration) -> bool {
    let stopped = timers.stop.notified();
    if timers.exiting.get() {
        return true;
    }
    tokio::select! {
        () = sleep(delay) => false,
        () = stopped => true,
    }
}

async fn once(state: Rc<State>, timer: Timer, delay: Duration) {
    let early = {
        let _count = Count(&state.timers.pending);
        let early = !delay.is_zero() && until(&state.timers, delay).await;
        if delay.is_zero() {
            tokio::task::yield_now().await;
        }
        early
    };
    run(&state, &timer, early).await;
}

async fn again(state: Rc<State>, timer: Timer, interval: Duration) {
    let timer = Rc::new(timer);
    let _count = Count(&state.timers.pending);
    loop {
        if until(&state.timers, interval).await {
            return run(&state, &timer, true).await;
        }
        let (state, timer) = (state.clone(), timer.clone());
        tokio::task::spawn_local(async move { run(&state, &timer, false).await });
    }
}

async fn run(state: &Rc<State>, timer: &Timer, early: bool) {
    let timers = &state.timers;
    if timers.running.get() >= RUNNING_MAX {
        let text = format!("{RUNNING_MAX} lua_max_running_timers are not enough");
        log(LogLevel::Alert, "", &text);
        return;
    }
    timers.running.up();
    let _count = Count(&timers.running);
    let mut exchange = exchange(timer.view.clone(), Phase::Timer);
    exchange.running = timer.instance;
    let early = Value::Boolean(early);
    let args: Vec<&Value> = std::iter::once(&early).chain(&timer.args).collect();
    let ending = scheduler::run(state, &mut exchange, &timer.function, &args, false).await;
    if let Ending::Failed(text) = ending {
        let text = format!("lua entry thread aborted: runtime error: {text}, context: ngx.timer");
        log(LogLevel::Err, "", &text);
    }
}

/// What runs outside of requests has in the place of one.
pub(crate) fn exchange(view: Rc<dyn View>, phase: Phase) -> Exchange {
    let nobody = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
    let client = Client {
        peer: nobody,
        local: nobody,
        forwarded_ip: nobody.ip(),
        forwarded_port: 0,
        trusted: false,
        tls: None,
        consumer: None,
        credential: None,
        connection: 1,
        requests: 1,
        consumer_groups: None,
    };
    let request = Request {
        id: RequestId::random(),
        method: Method::GET,
        version: Version::HTTP_11,
        scheme: Scheme::Http,
        target: String::new(),
        query: None,
        host: String::new(),
        headers: HeaderMap::new(),
        body: Body::from_bytes(Bytes::new()),
        size: 0,
    };
    let mut exchange = Exchange::new(view, client, request);
    exchange.phase = phase;
    exchange
}
