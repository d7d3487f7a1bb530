//! Stops Lua code that does not end.
//!
//! Each state has a [`Pulse`]: a number that goes up when its thread enters Lua, and when it
//! leaves. A thread of the process looks at all of them a few times a second. One that has used
//! its budget of CPU time in one turn gets a signal. Its handler, on the very thread, sets a hook,
//! which has the code yield at the next instruction, whatever catches errors there. Where it can't
//! yield, in what a C function has called, an error is raised, at each instruction until the turn
//! is over.
//! Loops that LuaJIT has compiled look for hooks, since it is built so (`.cargo/config.toml`).
//!
//! What can't be stopped is C code until it returns, such as `string.find` with a pattern that
//! tries for ever, and what LuaJIT calls no hooks in: finalizers (`__gc`), and the handler of an
//! `xpcall` in what a C function has called. The log says so.
//!
//! The rules that make the `unsafe` of this file sound:
//! - [`RUNNING`] points to a pulse while [`Pulse::turn`] runs, which has a reference to it.
//! - The handler of the signal and the hook use a state only through a pulse in `RUNNING`, so that
//!   the state is alive and their thread is the one that runs it. LuaJIT says of `lua_sethook` that
//!   a signal handler may call it.
#![expect(unsafe_code, reason = "signals, clocks of other threads and hooks; see above")]

use std::{
    cell::Cell,
    ffi::{CStr, CString},
    mem::MaybeUninit,
    ptr,
    sync::{
        Arc, Mutex, Once, PoisonError, Weak,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use libc::c_int;
use mlua::{Lua, ffi};
use silverback_pdk::{LogLevel, log};

/// Nobody waits for the signal, and a process that does not know it ignores it.
const SIGNAL: c_int = libc::SIGURG;
/// How often the watchdog looks at most and at least.
const TICKS: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(250)];
/// Looks in one budget: how much later than its time a turn may end.
const LOOKS: u32 = 10;

thread_local! {
    /// The pulse of the state that this thread runs.
    static RUNNING: Cell<*const Pulse> = const { Cell::new(ptr::null()) };
}

/// All pulses.
static PULSES: Mutex<Vec<Weak<Pulse>>> = Mutex::new(Vec::new());

/// Whether a state is in Lua, and what the watchdog thinks of it.
pub(crate) struct Pulse {
    /// Odd while Lua runs; another number for each turn.
    turn: AtomicU64,
    /// The turn that is to end.
    ending: AtomicU64,
    /// Whether the turn of now was ended.
    ended: AtomicBool,
    /// Whether its thread is a worker's.
    of_worker: AtomicBool,
    /// The bytes that the state occupied at the end of its last turn.
    memory: AtomicU64,
    /// The turn that the watchdog has seen last, what the thread had used of its CPU then, in
    /// nanoseconds, and whether it has said that it can't end it.
    seen: [AtomicU64; 2],
    told: AtomicBool,
    thread: libc::pid_t,
    lua: AtomicPtr<ffi::lua_State>,
    /// CPU time for each turn; none is as much as it takes.
    budget: Option<Duration>,
    message: CString,
    /// The message, with where the code was when it was ended.
    place: Mutex<String>,
}

impl Pulse {
    /// The pulse of a state that belongs to this thread.
    pub(crate) fn new(lua: &Lua, budget: Option<Duration>) -> Arc<Pulse> {
        let state = lua.exec_raw_lua(|raw| raw.state());
        let seconds = budget.unwrap_or_default().as_secs_f64();
        let message = format!(
            "stopped: the code ran for {seconds} s of CPU time without waiting. It does not end, \
             or should wait now and then (ngx.sleep(0)), or needs more: see lua_cpu_budget in \
             kong.conf"
        );
        let pulse = Arc::new(Pulse {
            turn: AtomicU64::new(0),
            ending: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            of_worker: AtomicBool::new(false),
            memory: AtomicU64::new(0),
            seen: Default::default(),
            told: AtomicBool::new(false),
            // SAFETY: asks for a number, and can't fail.
            thread: unsafe { libc::gettid() },
            lua: AtomicPtr::new(state),
            budget,
            message: CString::new(message).unwrap_or_default(),
            place: Mutex::default(),
        });
        pulses(|list| {
            list.retain(|pulse| pulse.strong_count() > 0);
            list.push(Arc::downgrade(&pulse));
        });
        if let Some(budget) = budget {
            start_watching(budget);
        }
        pulse
    }

    /// The id of its thread, which plugins take for that of a worker process.
    pub(crate) fn thread(&self) -> u32 {
        self.thread.unsigned_abs()
    }

    /// Notes that its thread is a worker's, rather than one that reads configurations.
    pub(crate) fn belongs_to_worker(&self) {
        self.of_worker.store(true, Ordering::Relaxed);
    }

    /// The bytes that the state occupied at the end of its last turn.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Runs Lua; whether the watchdog has ended it. It may be called within itself.
    pub(crate) fn turn<R>(&self, run: impl FnOnce() -> R) -> (R, bool) {
        let before = RUNNING.get();
        if ptr::eq(before, self) {
            let result = run();
            return (result, self.ended.load(Ordering::Relaxed));
        }
        let number = self.turn.load(Ordering::Relaxed) + 1;
        self.ended.store(false, Ordering::Relaxed);
        let turn = Turn { pulse: self, before, number };
        RUNNING.set(self);
        self.turn.store(number, Ordering::Release);
        let result = run();
        drop(turn);
        (result, self.ended.load(Ordering::Relaxed))
    }

    /// What is to be said of a turn that was ended, and where it was then.
    pub(crate) fn message(&self) -> String {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_empty() {
            // Where the stack is full, it can't be told.
            return self.message.to_string_lossy().into_owned();
        }
        std::mem::take(&mut *place)
    }

    /// The watchdog's look.
    fn look(&self) {
        let turn = self.turn.load(Ordering::Acquire);
        let (Some(budget), 1) = (self.budget, turn % 2) else { return };
        let Some(used) = cpu_time(self.thread) else { return };
        let [seen, since] = &self.seen;
        if seen.swap(turn, Ordering::Relaxed) != turn {
            since.store(used, Ordering::Relaxed);
            self.told.store(false, Ordering::Relaxed);
            return;
        }
        let used = Duration::from_nanos(used.saturating_sub(since.load(Ordering::Relaxed)));
        if used < budget {
            return;
        }
        self.ending.store(turn, Ordering::Release);
        signal(self.thread);
        if used > budget * 2 && !self.told.swap(true, Ordering::Relaxed) {
            let text = format!(
                "a worker has been in a Lua plugin for {} s of CPU time, in a C function or a \
                 finalizer, which can't be stopped: it serves nothing until that returns",
                used.as_secs()
            );
            log(LogLevel::Crit, "", &text);
        }
    }
}

/// A turn that runs; dropping it ends it.
struct Turn<'a> {
    pulse: &'a Pulse,
    before: *const Pulse,
    number: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let pulse = self.pulse;
        pulse.turn.store(self.number + 1, Ordering::Release);
        RUNNING.set(self.before);
        let lua = pulse.lua.load(Ordering::Relaxed);
        // SAFETY: the state belongs to this thread, which does not run it now. The calls raise
        // nothing.
        let bytes = unsafe {
            if pulse.ending.load(Ordering::Acquire) == self.number {
                ffi::lua_sethook(lua, None, 0, 0);
            }
            i64::from(ffi::lua_gc(lua, ffi::LUA_GCCOUNT, 0)) << 10
        };
        pulse.memory.store(bytes.unsigned_abs(), Ordering::Relaxed);
    }
}

/// What the Lua states of workers occupy, in bytes, each by the id of its thread.
pub(crate) fn memory() -> Vec<(u32, u64)> {
    let all = pulses(|list| list.iter().filter_map(Weak::upgrade).collect::<Vec<_>>());
    let mut states: Vec<(u32, u64)> = Vec::new();
    for pulse in all.iter().filter(|pulse| pulse.of_worker.load(Ordering::Relaxed)) {
        let bytes = pulse.memory.load(Ordering::Relaxed);
        // While a reload replaces the host, a thread has two.
        match states.iter_mut().find(|(thread, _)| *thread == pulse.thread()) {
            Some((_, sum)) => *sum += bytes,
            None => states.push((pulse.thread(), bytes)),
        }
    }
    states.sort_unstable();
    states
}

fn pulses<R>(work: impl FnOnce(&mut Vec<Weak<Pulse>>) -> R) -> R {
    work(&mut PULSES.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Has the thread look often enough for a budget.
fn start_watching(budget: Duration) {
    static TICK: AtomicU64 = AtomicU64::new(u64::MAX);
    static START: Once = Once::new();
    let [least, most] = TICKS;
    let tick = (budget / LOOKS).clamp(least, most).as_millis();
    TICK.fetch_min(u64::try_from(tick).unwrap_or(u64::MAX), Ordering::Relaxed);
    START.call_once(|| {
        handle_signal();
        let watch = || loop {
            thread::sleep(Duration::from_millis(TICK.load(Ordering::Relaxed)));
            let all: Vec<_> = pulses(|list| list.iter().filter_map(Weak::upgrade).collect());
            all.iter().for_each(|pulse| pulse.look());
        };
        if let Err(error) = thread::Builder::new().name("lua-watch".to_owned()).spawn(watch) {
            log(LogLevel::Crit, "", &format!("nothing stops Lua code that does not end: {error}"));
        }
    });
}

/// The CPU time that a thread has used, in nanoseconds.
fn cpu_time(thread: libc::pid_t) -> Option<u64> {
    // The clock of a thread's scheduling, as the kernel's posix-timers.h makes its number.
    let clock = (!thread << 3) | 6;
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the kernel writes the time, or says that there is no such thread.
    let time = unsafe {
        if libc::clock_gettime(clock, time.as_mut_ptr()) != 0 {
            return None;
        }
        time.assume_init()
    };
    let (seconds, rest) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_nsec).ok()?);
    Some(seconds * 1_000_000_000 + rest)
}

/// Sends the signal to a thread of this process. If it has ended there is nobody to be told.
fn signal(thread: libc::pid_t) {
    // SAFETY: takes three numbers and touches no memory.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL) };
}

fn handle_signal() {
    // SAFETY: zeros are a valid `sigaction`, of which the fields that matter are then set.
    let failed = unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = on_signal as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(SIGNAL, &raw const action, ptr::null_mut()) != 0
    };
    if failed {
        let error = std::io::Error::last_os_error();
        log(LogLevel::Crit, "", &format!("nothing stops Lua code that does not end: {error}"));
    }
}

/// Runs in the middle of whatever the thread does: only what is safe there.
extern "C" fn on_signal(_: c_int) {
    // SAFETY: see the top of this file. The thread-local has neither initialization nor destructor.
    unsafe {
        let Some(pulse) = RUNNING.get().as_ref() else { return };
        if pulse.turn.load(Ordering::Relaxed) == pulse.ending.load(Ordering::Acquire) {
            let lua = pulse.lua.load(Ordering::Relaxed);
            // Taken off first, so that a change that this signal has come in between of is made
            // whole the next time.
            ffi::lua_sethook(lua, None, 0, 0);
            ffi::lua_sethook(lua, Some(on_instruction), ffi::LUA_MASKCOUNT, 1);
        }
    }
}

unsafe extern "C-unwind" {
    /// Whether a coroutine can yield where it is.
    fn lua_isyieldable(lua: *mut ffi::lua_State) -> c_int;
}

/// The hook: ends the turn.
unsafe extern "C-unwind" fn on_instruction(lua: *mut ffi::lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: see the top of this file. LuaJIT has made room on the stack; nothing is left to be
    // dropped when an error is raised.
    unsafe {
        let pulse = RUNNING.get().as_ref();
        let Some(pulse) =
            pulse.filter(|p| p.turn.load(Ordering::Relaxed) == p.ending.load(Ordering::Relaxed))
        else {
            ffi::lua_sethook(lua, None, 0, 0);
            return;
        };
        if !pulse.ended.swap(true, Ordering::Relaxed) {
            ffi::luaL_where(lua, 0);
            ffi::lua_pushstring(lua, pulse.message.as_ptr());
            ffi::lua_concat(lua, 2);
            ffi::luaL_traceback(lua, lua, ffi::lua_tostring(lua, -1), 0);
            let text = CStr::from_ptr(ffi::lua_tostring(lua, -1)).to_string_lossy().into_owned();
            *pulse.place.lock().unwrap_or_else(PoisonError::into_inner) = text;
            ffi::lua_settop(lua, -3);
        }
        if lua_isyieldable(lua) != 0 {
            ffi::lua_yield(lua, 0);
        } else {
            ffi::lua_pushstring(lua, pulse.message.as_ptr());
            ffi::lua_error(lua);
        }
    }
}

#[cfg(test)]
mod tests;
