//! States that were full, and made way for new ones. What had begun there ends there.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

use silverback_pdk::{Exchange, LogLevel, log};

use super::{STATES, Shared, begin_work};
use crate::{raw::plain, state::State};

/// For how long a state is kept for what has begun there. What has tables in it (`kong.ctx`) keeps
/// it itself.
const KEPT: Duration = Duration::from_secs(60);

/// How soon another may make way: where the limit is too small for the plugins, new ones do not
/// help.
const AGAIN: Duration = Duration::from_secs(10);

/// A state that has made way.
struct Former {
    state: Weak<State>,
    /// The state that has taken its place, by its number.
    by: u64,
    at: Instant,
}

thread_local! {
    static FORMER: RefCell<Vec<Former>> = const { RefCell::new(Vec::new()) };
}

/// Whether there are any.
pub(super) fn any() -> bool {
    FORMER.with_borrow(|former| !former.is_empty())
}

/// The state in whose time an exchange has begun, if that is one before the state of now.
pub(super) fn before(now: &Rc<State>, exchange: &Exchange) -> Option<Rc<State>> {
    FORMER.with_borrow_mut(|former| {
        former.retain(|one| one.state.strong_count() > 0);
        // From the newest back.
        let (mut number, mut found) = (now.number, None);
        for one in former.iter().rev() {
            if one.by == number && exchange.timing.start < one.at {
                found = one.state.upgrade();
                number = found.as_ref().map_or(number, |state| state.number);
            }
        }
        found
    })
}

/// Puts a new state in the place of one that is full. Where none can be made that stays.
#[cold]
pub(super) fn replace(shared: &Arc<Shared>, full: &Rc<State>, exchange: &Exchange) {
    let last = FORMER.with_borrow(|former| former.last().map(|one| one.at));
    if last.is_some_and(|at| at.elapsed() < AGAIN) {
        return;
    }
    let bytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    let text = format!(
        "a worker's Lua state is full: code fails for want of memory, and of {} (lua_max_memory in \
         kong.conf) {} stay in use, whatever is collected. A new state takes its place, in which \
         plugins begin anew; what keeps so much is to be looked for in what they leave in globals \
         and locals of modules",
        bytes(shared.config.memory_max as u64),
        bytes(full.pulse.memory()),
    );
    log(LogLevel::Err, "", &text);
    let state = match State::new(&shared.config, &shared.database) {
        Ok(state) => state,
        Err(error) => return log(LogLevel::Crit, "", &format!("no new state: {}", plain(&error))),
    };
    STATES.with_borrow_mut(|states| {
        let own = states.iter_mut().find(|(id, _)| *id == shared.id);
        if let Some((_, place)) = own {
            *place = state.clone();
        }
    });
    let former = Former { state: Rc::downgrade(full), by: state.number, at: Instant::now() };
    FORMER.with_borrow_mut(|list| list.push(former));
    full.timers.stop();
    let kept = full.clone();
    tokio::task::spawn_local(async move {
        tokio::time::sleep(KEPT).await;
        drop(kept);
    });
    begin_work(shared, state, exchange.view.clone(), true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Config, scheduler,
        testing::{exchange, texts},
    };

    /// Runs a chunk as a handler in a state.
    async fn run(state: &Rc<State>, exchange: &mut Exchange, source: &str) -> String {
        let function = state.lua.load(source).into_function().expect("it compiles");
        let ending = scheduler::run(state, exchange, &function, &[], true).await;
        texts(ending).unwrap_or_else(|error| error)
    }

    #[test]
    fn what_has_begun_in_a_state_ends_there() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), async {
            let shared = Shared::new(Config { memory_max: 32 << 20, ..Config::default() });
            let mut old = exchange();
            let first = shared.state_for(&old).expect("a state");
            let noted = run(&first, &mut old, "kong.ctx.plugin.a = 1 ngx.ctx.b = 2").await;
            assert_eq!(noted, "");
            let fill = "kept = kept or {} while true do kept[#kept + 1] = #kept .. 'text' end";
            while !first.is_full() {
                let failed = run(&first, &mut exchange(), fill).await;
                assert!(failed.starts_with("not enough memory"), "{failed}");
            }
            let state = shared.state_for(&exchange()).expect("a state");
            assert_eq!(state.number, first.number, "the request had begun");
            let mut new = exchange();
            let second = shared.state_for(&new).expect("a state");
            assert_ne!(second.number, first.number);
            assert_eq!(run(&second, &mut new, "return kept").await, "nil");
            let state = shared.state_for(&old).expect("a state");
            let read = run(&state, &mut old, "return kong.ctx.plugin.a, ngx.ctx.b").await;
            assert_eq!(read, "1 2");
            // Where its state is another, nothing is mixed up.
            let read = run(&second, &mut old, "return kong.ctx.plugin.a").await;
            assert_eq!(read, "nil");
        });
    }
}
