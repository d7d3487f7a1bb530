//! What waits and what runs beside: `ngx.sleep`, `ngx.thread`, `ngx.semaphore`. Threads are made
//! of this by the Lua side (`lib/silverback/ngx/thread.lua`).

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use futures_util::FutureExt;
use mlua::{AnyUserData, IntoLuaMulti, Lua, MultiValue, Table, UserData, Value};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{
    codec::number,
    context::{self, WAITING},
};
use crate::{
    bind::{self, Begun},
    raw::{Args, Outcome},
    scheduler,
    state::State,
};

/// The longest that anything waits.
const LONGEST: f64 = 31_536_000.0;

/// Puts `ngx.sleep` into the table `ngx`, what the rest is made of into `native`.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &Rc<State>, ngx: &Table, native: &Table) -> mlua::Result<()> {
    ngx.set("sleep", bind::fast_waits(state, begin_sleep)?)?;
    let weak = Rc::downgrade(state);
    native.set(
        "spawn",
        bind::cold(state, move |_, args: MultiValue| {
            context::check(WAITING)?;
            let state = weak.upgrade().ok_or("the worker is ending")?;
            let mut args = args.into_iter();
            let function = args.next().and_then(|value| value.as_function().cloned());
            let function = function.ok_or("bad argument #1 to 'spawn' (function expected)")?;
            // The Lua side keeps what comes of it.
            let on_end = Box::new(|_: &Lua, _: Result<MultiValue, String>| {});
            scheduler::spawn(&state, function, args.collect(), on_end)
                .map_err(|error| error.to_string())
        })?,
    )?;
    let weak = Rc::downgrade(state);
    let unfinished = move |_: &Lua, ()| Ok(weak.upgrade().map(|state| state.unfinished()));
    native.set("coroutines", state.lua.create_function(unfinished)?)?;
    let inbox = Rc::downgrade(&state.inbox);
    let kill = move |_: &Lua, id: u64| {
        if let Some(inbox) = inbox.upgrade() {
            inbox.killed.borrow_mut().insert(id);
        }
        Ok(())
    };
    native.set("kill", state.lua.create_function(kill)?)?;
    let new = |_: &Lua, count: f64| Ok(Own(Rc::new(Semaphore::new(count))));
    native.set("semaphore", state.lua.create_function(new)?)?;
    native.set("semaphore_wait", bind::waits(state, |_, args| wait(&args))?)?;
    let post = |_: &Lua, (semaphore, count): (AnyUserData, f64)| {
        semaphore.borrow::<Own>()?.0.post(count);
        Ok(true)
    };
    native.set("semaphore_post", state.lua.create_function(post)?)?;
    let count = |_: &Lua, semaphore: AnyUserData| Ok(semaphore.borrow::<Own>()?.0.count());
    native.set("semaphore_count", state.lua.create_function(count)?)?;
    native.set(
        "check_waiting",
        bind::fast(state, |_| match context::check(WAITING) {
            Ok(()) => Outcome::Nothing,
            Err(text) => Outcome::Raise(text),
        })?,
    )
}

/// Seconds as a time that can be waited.
pub(super) fn duration(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, LONGEST))
}

fn begin_sleep(args: &Args<'_>) -> Begun {
    let seconds = args.number(1).or_else(|| args.text(1)?.trim().parse().ok());
    let Some(seconds) = seconds else {
        return Begun::Done(Outcome::Raise("bad argument #1 to 'sleep' (number expected)".into()));
    };
    if !(0.0..f64::INFINITY).contains(&seconds) {
        let text = format!("invalid sleep duration \"{seconds}\"");
        return Begun::Done(Outcome::Raise(text));
    }
    if let Err(text) = context::check(WAITING) {
        return Begun::Done(Outcome::Raise(text));
    }
    let time = duration(seconds);
    Begun::Free(
        async move {
            if time.is_zero() {
                tokio::task::yield_now().await;
            } else {
                sleep(time).await;
            }
            Outcome::Nothing
        }
        .boxed_local(),
    )
}

/// A semaphore of the worker's.
struct Semaphore {
    count: Cell<f64>,
    waiters: RefCell<VecDeque<oneshot::Sender<()>>>,
}

/// A semaphore as Lua holds it.
struct Own(Rc<Semaphore>);

impl UserData for Own {}

impl Semaphore {
    fn new(count: f64) -> Semaphore {
        Semaphore { count: Cell::new(count), waiters: RefCell::default() }
    }

    /// Gives that many: first to those that wait.
    fn post(&self, count: f64) {
        let mut left = count;
        while left >= 1.0 {
            let Some(waiter) = self.waiters.borrow_mut().pop_front() else { break };
            // One that has gone away takes nothing.
            if waiter.send(()).is_ok() {
                left -= 1.0;
            }
        }
        self.count.set(self.count.get() + left);
    }

    /// What there is; what is missing, below zero.
    #[expect(clippy::cast_precision_loss, reason = "few")]
    fn count(&self) -> f64 {
        self.waiters.borrow_mut().retain(|waiter| !waiter.is_closed());
        self.count.get() - self.waiters.borrow().len() as f64
    }

    fn take(&self) -> bool {
        let count = self.count.get();
        if count >= 1.0 {
            self.count.set(count - 1.0);
        }
        count >= 1.0
    }
}

/// Gives back what a waiter was given that is gone before it could take it.
struct Turn {
    semaphore: Rc<Semaphore>,
    turn: oneshot::Receiver<()>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turn.close();
        if self.turn.try_recv().is_ok() {
            self.semaphore.post(1.0);
        }
    }
}

/// true, or nil and "timeout".
struct Waited(bool);

impl IntoLuaMulti for Waited {
    fn into_lua_multi(self, lua: &Lua) -> mlua::Result<MultiValue> {
        if self.0 { true.into_lua_multi(lua) } else { (Value::Nil, "timeout").into_lua_multi(lua) }
    }
}

type BegunWait =
    Result<futures_util::future::LocalBoxFuture<'static, Result<Waited, String>>, String>;

/// (semaphore, seconds)
fn wait(args: &MultiValue) -> BegunWait {
    let semaphore = args.front().and_then(|value| value.as_userdata()?.borrow::<Own>().ok());
    let semaphore = semaphore.ok_or("bad semaphore")?.0.clone();
    let seconds = args.get(1).and_then(number).unwrap_or_default();
    if semaphore.take() {
        return Ok(std::future::ready(Ok(Waited(true))).boxed_local());
    }
    if seconds <= 0.0 {
        return Ok(std::future::ready(Ok(Waited(false))).boxed_local());
    }
    context::check(WAITING)?;
    let (sender, turn) = oneshot::channel();
    semaphore.waiters.borrow_mut().push_back(sender);
    let mut waiting = Turn { semaphore, turn };
    Ok(async move {
        let time = duration(seconds);
        Ok(Waited(timeout(time, &mut waiting.turn).await.is_ok_and(|turn| turn.is_ok())))
    }
    .boxed_local())
}
