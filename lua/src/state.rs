//! A Lua state: one for each thread that runs Lua, made when it is first needed.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashSet,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures_util::{FutureExt, future::LocalBoxFuture};
use mlua::{Function, Lua, LuaOptions, StdLib, Table};
use silverback_pdk::LogLevel;

use crate::{
    bind::Glue,
    config::Config,
    db::{self, Database},
    kong, modules, ngx,
    plugins::Loaded,
    raw::{self, Coroutine},
    scheduler::{Delivered, Light, Wait},
    together::{Groups, Remembered},
    watch::Pulse,
};

/// How many coroutines are kept for the next handlers.
const SPARE_MAX: usize = 64;

static LAST_STATE: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The states of this thread.
    static LIVE: RefCell<Vec<Weak<State>>> = const { RefCell::new(Vec::new()) };
}

/// A Lua state and what belongs to it.
pub(crate) struct State {
    /// The state itself.
    pub(crate) lua: Lua,
    /// Tells states apart.
    pub(crate) number: u64,
    /// What the host was told.
    pub(crate) config: Arc<Config>,
    /// Where entities live.
    pub(crate) database: Arc<Database>,
    /// What goes between functions and the scheduler.
    pub(crate) inbox: Rc<Inbox>,
    /// Tells the watchdog when Lua runs.
    pub(crate) pulse: Arc<Pulse>,
    /// The timers that its code has set.
    pub(crate) timers: Rc<ngx::Timers>,
    glue: OnceCell<Glue>,
    /// The level of lines that are written, as its code was told last, and how that is done.
    level: Cell<Option<LogLevel>>,
    level_changed: OnceCell<Function>,
    spare: RefCell<Vec<Coroutine>>,
    nothing: Function,
    last_id: Cell<u64>,
    /// With that many bytes in use, garbage is collected before the next turn.
    collect_at: Cell<u64>,
    /// Whether code has failed for want of memory since.
    refused: Cell<bool>,
    /// How often in a row collecting has not helped.
    full: Cell<u32>,
    /// The plugins that are loaded here.
    pub(crate) loaded: RefCell<Loaded>,
    /// Handlers that are ready to be called.
    pub(crate) groups: RefCell<Groups>,
    /// Where they run.
    pub(crate) remembered: RefCell<Remembered>,
}

/// What goes between functions that Lua calls and the scheduler.
#[derive(Default)]
pub(crate) struct Inbox {
    /// What the coroutine that is about to yield waits for.
    pub(crate) wait: Cell<Option<Wait>>,
    /// What the coroutine that goes on has waited for.
    pub(crate) delivered: Cell<Option<Delivered>>,
    /// Threads that were started and had no turn yet.
    pub(crate) spawned: RefCell<Vec<Light>>,
    /// Threads that are not to go on.
    pub(crate) killed: RefCell<HashSet<u64>>,
}

impl Inbox {
    /// Waits for a future: whether the coroutine has to yield. What is there at once is delivered
    /// at once.
    pub(crate) fn wait_for(&self, mut future: LocalBoxFuture<'static, Delivered>) -> bool {
        match future.poll_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(delivered) => {
                self.delivered.set(Some(delivered));
                false
            }
            Poll::Pending => {
                self.wait.set(Some(Wait::Free(future)));
                true
            }
        }
    }
}

impl State {
    /// A new state with everything that plugins find in it.
    ///
    /// # Errors
    /// If a module of our own can't be loaded, which tests rule out, or there is no memory.
    pub(crate) fn new(config: &Arc<Config>, database: &Arc<Database>) -> mlua::Result<Rc<State>> {
        let lua = plain_lua()?;
        let nothing = lua.load("return").set_name("=[silverback]").into_function()?;
        let state = Rc::new(State {
            pulse: Pulse::new(&lua, config.cpu_budget),
            lua,
            number: LAST_STATE.fetch_add(1, Ordering::Relaxed),
            config: config.clone(),
            database: database.clone(),
            inbox: Rc::default(),
            timers: Rc::default(),
            glue: OnceCell::new(),
            level: Cell::new(None),
            level_changed: OnceCell::new(),
            spare: RefCell::default(),
            nothing,
            last_id: Cell::new(0),
            collect_at: Cell::new(match config.memory_max as u64 {
                0 => u64::MAX,
                max => max / 2,
            }),
            refused: Cell::new(false),
            full: Cell::new(0),
            loaded: RefCell::default(),
            groups: RefCell::default(),
            remembered: RefCell::default(),
        });
        let glue = Glue::new(&state.lua, &state.inbox)?;
        // It was empty a moment ago.
        let _ = state.glue.set(glue);
        modules::register(&state)?;
        ngx::register(&state)?;
        db::register(&state)?;
        kong::register(&state)?;
        state.lua.set_memory_limit(config.memory_max)?;
        LIVE.with_borrow_mut(|live| {
            live.retain(|other| other.strong_count() > 0);
            live.push(Rc::downgrade(&state));
        });
        Ok(state)
    }

    /// The state of that number, if it is one of this thread.
    pub(crate) fn of_number(number: u64) -> Option<Rc<State>> {
        LIVE.with_borrow(|live| {
            live.iter().find_map(|s| s.upgrade().filter(|s| s.number == number))
        })
    }

    /// The Lua side of functions.
    #[expect(clippy::expect_used, reason = "set before anything else can ask")]
    pub(crate) fn glue(&self) -> &Glue {
        self.glue.get().expect("glue is made with the state")
    }

    /// A coroutine for a function.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn coroutine(&self) -> mlua::Result<Coroutine> {
        self.make_room();
        match self.spare.borrow_mut().pop() {
            Some(coroutine) => Ok(coroutine),
            None => Coroutine::new(&self.lua, &self.nothing),
        }
    }

    /// How many coroutines have not finished.
    pub(crate) fn unfinished(&self) -> usize {
        Coroutine::count().saturating_sub(self.spare.borrow().len())
    }

    /// Keeps a coroutine that has finished for the next function.
    pub(crate) fn keep(&self, coroutine: Coroutine) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(coroutine.recycled());
        }
    }

    /// Has its code told by a function up to which level lines are written, now and later.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn tell_level_by(&self, function: Function) -> mlua::Result<()> {
        // A state has one.
        let _ = self.level_changed.set(function);
        self.tell_level()
    }

    /// Tells its code if the level has changed; asked before code runs.
    pub(crate) fn follow_level(&self) {
        if silverback_pdk::written_level() != self.level.get()
            && let Err(error) = self.tell_level()
        {
            silverback_pdk::log(LogLevel::Err, "", &raw::plain(&error));
        }
    }

    #[cold]
    fn tell_level(&self) -> mlua::Result<()> {
        let level = silverback_pdk::written_level();
        self.level.set(level);
        let place = level.and_then(|level| LogLevel::ALL.iter().position(|one| *one == level));
        let place = place.and_then(|place| i32::try_from(place).ok()).unwrap_or(-1);
        self.level_changed.get().map_or(Ok(()), |tell| tell.call(place))
    }

    /// A number that nothing else on this worker has.
    pub(crate) fn next_id(&self) -> u64 {
        self.last_id.set(self.last_id.get() + 1);
        self.last_id.get()
    }

    /// Makes room before more is run. (Not after: a coroutine that has failed still holds what it
    /// had.)
    fn make_room(&self) {
        if self.pulse.memory() >= self.collect_at.get() || self.refused.get() {
            self.collect();
        }
    }

    /// Notes that code has failed for want of memory. What a state of few bytes was refused was
    /// too much by itself.
    #[cold]
    pub(crate) fn refused(&self) {
        let max = self.config.memory_max as u64;
        self.refused.set(self.pulse.memory() > max / 4);
    }

    /// Whether it is full for good: collecting has not helped twice in a row.
    pub(crate) fn is_full(&self) -> bool {
        self.full.get() >= 2
    }

    /// Collects what code has left that has used up the memory: LuaJIT itself fails rather than
    /// collect when it finds none.
    #[cold]
    fn collect(&self) {
        // Collecting may need a little memory itself.
        let limit = |bytes| self.lua.set_memory_limit(bytes);
        // LuaJIT keeps the coroutine that has used its FFI last: now it is none of a plugin's.
        let forget = || self.lua.load("require('ffi').sizeof('int')").exec();
        let collect = || forget().and_then(|()| self.lua.gc_collect());
        let done = limit(0).and_then(|_| self.pulse.turn(collect).0);
        if let Err(error) = limit(self.config.memory_max).and(done) {
            silverback_pdk::log(LogLevel::Err, "", &format!("collecting: {}", raw::plain(&error)));
        }
        let (max, left) = (self.config.memory_max as u64, self.pulse.memory());
        // A table of a quarter can't grow: it needs twice as much beside it.
        let full = (self.refused.take() && left > max / 4) || left > max / 16 * 15;
        self.full.set(if full { self.full.get() + 1 } else { 0 });
        // What is in use for good is not worth looking through after every turn.
        self.collect_at.set(left + max.saturating_sub(left) / 2);
    }

    /// Runs code of plugins outside of the scheduler.
    ///
    /// # Errors
    /// Those of the code, and if it does not end.
    pub(crate) fn watched<R>(&self, run: impl FnOnce() -> mlua::Result<R>) -> mlua::Result<R> {
        self.make_room();
        self.follow_level();
        let (result, stopped) = self.pulse.turn(run);
        if stopped {
            return Err(mlua::Error::runtime(self.pulse.message()));
        }
        result
    }

    /// The table of that global name, made if it is not there.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn global_table(&self, name: &str) -> mlua::Result<Table> {
        let globals = self.lua.globals();
        if let Ok(table) = globals.get::<Table>(name) {
            return Ok(table);
        }
        let table = self.lua.create_table()?;
        globals.set(name, &table)?;
        Ok(table)
    }
}

/// LuaJIT with all its libraries, FFI and debug included: plugins are trusted code.
#[expect(unsafe_code, reason = "mlua calls a state unsafe that has debug and ffi; Kong's has both")]
fn plain_lua() -> mlua::Result<Lua> {
    // SAFETY: that a plugin may break memory by FFI is what `plugins` in kong.conf agrees to; code
    // in configurations gets neither library (kong/tools/sandbox).
    let lua = unsafe { Lua::unsafe_new_with(StdLib::ALL, LuaOptions::default()) };
    let tell: Function = lua.load(COROUTINES).set_name("=[silverback]").eval()?;
    tell.call::<()>(raw::wait_value())?;
    Ok(lua)
}

/// Coroutines that plugins make hand on what waits for the gateway to the coroutine around them,
/// so that a handler may wait within them.
const COROUTINES: &str = r#"
local create, resume = coroutine.create, coroutine.resume
local yield, status = coroutine.yield, coroutine.status
local error, type = error, type
local WAIT
local function after(co, ok, first, ...)
  if ok and first == WAIT and WAIT ~= nil then
    return after(co, resume(co, yield(WAIT)))
  end
  return ok, first, ...
end
local function pump(co, ...) return after(co, resume(co, ...)) end
coroutine.resume = pump
local function unwrapped(ok, ...)
  if ok then return ... end
  return error((...), 0)
end
function coroutine.wrap(f)
  local co = create(f)
  return function(...) return unwrapped(pump(co, ...)) end
end
return function(mark) WAIT = mark end
"#;
