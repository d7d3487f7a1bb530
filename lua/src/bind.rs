//! Making functions for Lua: three kinds, by what they cost and what they can do.
//!
//! - [`fast`]: plain arguments and results, about 40 ns a call.
//! - [`cold`]: mlua's conversions and handles, about 300 ns a call.
//! - [`waits`]: gives a future; the coroutine goes on with its result, others run meanwhile.
//!
//! All raise errors as strings, with the place of the caller in front, as Lua code expects them.
//! The exchange is reached by [`crate::current::with`].

use std::rc::{Rc, Weak};

use futures_util::{FutureExt, future::LocalBoxFuture};
use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Table};
use silverback_pdk::Exchange;

use crate::{
    raw::{self, Args, Outcome},
    scheduler::{Delivered, Wait},
    state::State,
};

/// The Lua side of functions: raising strings, and waiting.
const GLUE: &str = r#"
local finish, take, yield, WAIT = ...
local error = error
-- Raise if the first value says so, else give the others. A tail call leaves no place of its own.
local function check(ok, ...)
  if ok then return ... end
  error((...), 2)
end
local function check_begun(ok, ...)
  if ok then return ... end
  error((...), 3)
end
return
  function(body) return function(...) return check(body(...)) end end,
  function(begin)
    return function(...)
      if begin(...) then yield(WAIT) end
      return finish()
    end
  end,
  function(begin)
    return function(...)
      if check_begun(begin(...)) then yield(WAIT) end
      return check(take())
    end
  end
"#;

/// What [`GLUE`] made.
pub(crate) struct Glue {
    checked: Function,
    fast_waiting: Function,
    cold_waiting: Function,
}

impl Glue {
    /// Makes it; `yield_` is the `coroutine.yield` of the beginning, which plugins can't replace.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn new(lua: &Lua, inbox: &Rc<crate::state::Inbox>) -> mlua::Result<Glue> {
        let weak = Rc::downgrade(inbox);
        let finish = raw::function(lua, move |_| finish(&weak))?;
        let weak = Rc::downgrade(inbox);
        let take = lua.create_function(move |lua, ()| take(lua, &weak))?;
        let yield_: Function = lua.globals().get::<Table>("coroutine")?.get("yield")?;
        let glue = lua.load(GLUE).set_name("=[silverback]").into_function()?;
        let (checked, fast_waiting, cold_waiting) =
            glue.call((finish, take, yield_, raw::wait_value()))?;
        Ok(Glue { checked, fast_waiting, cold_waiting })
    }
}

/// What the gateway delivered to a fast function that waited.
fn finish(inbox: &Weak<crate::state::Inbox>) -> Outcome {
    match inbox.upgrade().and_then(|inbox| inbox.delivered.take()) {
        Some(Delivered::Outcome(outcome)) => outcome,
        Some(Delivered::Nothing) | None => Outcome::Nothing,
        Some(Delivered::Lua(_)) => Outcome::Raise("a delivery went astray".to_owned()),
    }
}

fn take(lua: &Lua, inbox: &Weak<crate::state::Inbox>) -> mlua::Result<MultiValue> {
    match inbox.upgrade().and_then(|inbox| inbox.delivered.take()) {
        Some(Delivered::Lua(make)) => answer(lua, make(lua)),
        _ => true.into_lua_multi(lua),
    }
}

/// A result with whether it is one in front.
fn answer(lua: &Lua, result: Result<MultiValue, String>) -> mlua::Result<MultiValue> {
    match result {
        Ok(mut values) => {
            values.push_front(mlua::Value::Boolean(true));
            Ok(values)
        }
        Err(text) => (false, text).into_lua_multi(lua),
    }
}

/// A function that answers at once. It must keep no handle of mlua's.
///
/// # Errors
/// If there is no memory.
pub(crate) fn fast(
    state: &State,
    body: impl Fn(&Args<'_>) -> Outcome + 'static,
) -> mlua::Result<Function> {
    raw::function(&state.lua, body)
}

/// A function with mlua's conversions. Its error is raised as a string.
///
/// # Errors
/// If there is no memory.
pub(crate) fn cold<R: IntoLuaMulti>(
    state: &State,
    body: impl Fn(&Lua, MultiValue) -> Result<R, String> + 'static,
) -> mlua::Result<Function> {
    let inner = state.lua.create_function(move |lua, args| {
        let result = body(lua, args).map(|values| values.into_lua_multi(lua));
        match result {
            Ok(values) => answer(lua, values.map_err(|error| raw::plain(&error))),
            Err(text) => answer(lua, Err(text)),
        }
    })?;
    state.glue().checked.call(inner)
}

/// A function that waits. What it begins with may be an error, and so may what the future gives.
///
/// # Errors
/// If there is no memory.
pub(crate) fn waits<R: IntoLuaMulti + 'static>(
    state: &State,
    begin: impl Fn(&Lua, MultiValue) -> Result<LocalBoxFuture<'static, Result<R, String>>, String>
    + 'static,
) -> mlua::Result<Function> {
    let inbox = Rc::downgrade(&state.inbox);
    let inner = state.lua.create_function(move |lua, args| {
        let Some(inbox) = inbox.upgrade() else { return answer(lua, Ok(MultiValue::new())) };
        match begin(lua, args) {
            Ok(future) => {
                let future = future.map(|result| {
                    Delivered::Lua(Box::new(move |lua: &Lua| {
                        let values = result?.into_lua_multi(lua);
                        values.map_err(|error| raw::plain(&error))
                    }))
                });
                (true, inbox.wait_for(Box::pin(future))).into_lua_multi(lua)
            }
            Err(text) => answer(lua, Err(text)),
        }
    })?;
    state.glue().cold_waiting.call(inner)
}

/// A future over an exchange that gives an outcome.
pub(crate) type OverExchange =
    Box<dyn for<'a> FnOnce(&'a mut Exchange) -> LocalBoxFuture<'a, Outcome>>;

/// What a fast function that may wait does first.
pub(crate) enum Begun {
    /// There is nothing to wait for.
    Done(Outcome),
    /// This, without the exchange.
    Free(LocalBoxFuture<'static, Outcome>),
    /// This, with the exchange: no other thread of the handler runs meanwhile.
    Exchange(OverExchange),
}

/// A function of plain arguments and results that may have to wait.
///
/// # Errors
/// If there is no memory.
pub(crate) fn fast_waits(
    state: &State,
    begin: impl Fn(&Args<'_>) -> Begun + 'static,
) -> mlua::Result<Function> {
    let inbox = Rc::downgrade(&state.inbox);
    let inner = raw::function(&state.lua, move |args| {
        let Some(inbox) = inbox.upgrade() else { return Outcome::Nothing };
        let waits = match begin(args) {
            Begun::Done(outcome) => {
                inbox.delivered.set(Some(Delivered::Outcome(outcome)));
                false
            }
            Begun::Free(future) => inbox.wait_for(Box::pin(future.map(Delivered::Outcome))),
            Begun::Exchange(work) => {
                inbox.wait.set(Some(Wait::Exchange(work)));
                true
            }
        };
        Outcome::One(waits.into())
    })?;
    state.glue().fast_waiting.call(inner)
}
