//! `ngx.*`: the part of OpenResty's interface that plugins lean on.
//!
//! What is here are the functions; objects and whatever is easier said in Lua are made of them by
//! the modules under `lib/silverback/ngx`. `native` is a module of functions that only our own
//! Lua code uses.

mod context;

mod answer;
mod request;
mod variable;

mod flow;
mod timer;

mod events;

mod dict;
mod shared;

mod codec;
mod digest;
mod log;
mod native;
mod regex;
mod socket;
mod time;
mod yaml;

use std::{
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use mlua::Table;

pub(crate) use self::{
    answer::{finish, has_said},
    timer::{Timers, counts as timer_counts, exchange},
};
use crate::{
    bind,
    raw::{Out, Outcome},
    state::State,
};

/// Of all shared dictionaries name, capacity and what is in use, in bytes.
pub(crate) fn dict_sizes() -> Vec<(String, u64, u64)> {
    dict::sizes()
}

/// Puts the global table `ngx` into a state.
///
/// # Errors
/// If there is no memory, or a module of our own can't be loaded, which tests rule out.
pub(crate) fn register(state: &Rc<State>) -> mlua::Result<()> {
    let lua = &state.lua;
    let ngx = state.global_table("ngx")?;
    let native = lua.create_table()?;
    native.set("null", mlua::Value::NULL)?;
    // Any address that nothing else has.
    let empty = mlua::LightUserData((&raw const EMPTY_ARRAY).cast_mut().cast());
    native.set("empty_array", empty)?;
    answer::register(state, &ngx, &native)?;
    request::register(state, &ngx, &native)?;
    variable::register(state, &native)?;
    flow::register(state, &ngx, &native)?;
    timer::register(state, &ngx, &native)?;
    events::register(state, &native)?;
    codec::register(state, &ngx, &native)?;
    digest::register(state, &ngx, &native)?;
    log::register(state, &native)?;
    native::register(state, &native)?;
    time::register(state, &ngx, &native)?;
    yaml::register(state, &native)?;
    let part = |name: &str, register: fn(&State, &Table) -> mlua::Result<()>| {
        let table = lua.create_table()?;
        register(state, &table)?;
        native.set(name, table)
    };
    part("shared", shared::register)?;
    part("re", regex::register)?;
    part("socket", socket::register)?;
    here(state, &ngx, &native)?;
    let loaded: Table = lua.globals().get::<Table>("package")?.get("loaded")?;
    loaded.set("silverback.native", native)?;
    lua.load("require 'silverback.ngx'").set_name("=[silverback]").exec()
}

static EMPTY_ARRAY: u8 = 0;

/// Where the code runs.
fn here(state: &State, ngx: &Table, native: &Table) -> mlua::Result<()> {
    ngx.set("get_phase", bind::fast(state, |_| Outcome::One(context::now().name().into()))?)?;
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
    let id = |id: u64| Out::Number(id as f64);
    let current = bind::fast(state, move |_| Outcome::One(context::id().map_or(Out::Nil, id)))?;
    native.set("exchange", current)?;
    let gone =
        bind::fast(state, move |_| Outcome::Many(context::gone().into_iter().map(id).collect()))?;
    native.set("gone", gone)?;
    let methods = state.lua.create_table()?;
    for (name, number) in request::METHODS {
        methods.set(name, number)?;
    }
    native.set("methods", methods)?;
    native.set("pid", state.pulse.thread())?;
    // Plugins ask for it where there is no request yet.
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    native.set("hostname", hostname.trim())?;
    // A generation of workers makes a state each.
    static STATES: AtomicU64 = AtomicU64::new(0);
    native.set("worker", STATES.fetch_add(1, Ordering::Relaxed))?;
    native.set(
        "prefix",
        bind::fast(state, |_| {
            let prefix = |exchange: &mut silverback_pdk::Exchange| {
                exchange.view.node().prefix.to_string_lossy().into_owned()
            };
            Outcome::One(crate::current::with(prefix).map_or(Out::Nil, Out::from))
        })?,
    )?;
    native.set(
        "workers",
        bind::fast(state, |_| {
            let workers = crate::current::with(|exchange| exchange.view.node().workers);
            Outcome::One(f64::from(workers.unwrap_or(1)).into())
        })?,
    )
}

#[cfg(test)]
mod tests;
