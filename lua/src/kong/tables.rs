//! The Lua tables of `kong.ctx`, which belong to an exchange.
//!
//! `kong.ctx.shared` is a table here, so that Lua plugins can leave functions and objects for one
//! another; for everyone else it is [`Exchange::shared`]. The two are brought in line when a run
//! first reaches for the table, and when the run is over.

use std::rc::{Rc, Weak};

use mlua::{Lua, Table};
use silverback_pdk::{Exchange, Value};

use crate::{
    bind, convert, current,
    raw::{self, Anchor, Out, Outcome},
    state::State,
};

/// Where the table of shared values stands among those of an exchange (`ctx.lua`).
const SHARED: i64 = 1;

/// What is attached to an exchange that Lua has worked on.
pub(crate) struct Tables {
    anchor: Rc<Anchor>,
    /// Whether the shared values may differ from the table.
    in_use: bool,
}

fn tables(exchange: &mut Exchange) -> Option<&mut Tables> {
    exchange.attached.as_mut()?.downcast_mut()
}

/// What `ctx.lua` is made of:
/// - `here()`: the tables of the exchange (nil if there are none yet), the number of the instance
///   that runs (nil if there is no exchange), whether the shared values are in line;
/// - `keep(tables)`: makes this its tables;
/// - `share()`: brings the shared values in line.
///
/// # Errors
/// If there is no memory.
pub(super) fn bind(state: &Rc<State>, native: &Table) -> mlua::Result<()> {
    let here = |exchange: &mut Exchange| {
        let instance = f64::from(exchange.running.unwrap_or_default()).into();
        match tables(exchange) {
            Some(Tables { anchor, in_use }) => {
                let tables = Out::Anchored(anchor.clone());
                Outcome::Three(tables, instance, (*in_use).into())
            }
            None => Outcome::Two(Out::Nil, instance),
        }
    };
    let here = bind::fast(state, move |_| current::with(here).unwrap_or(Outcome::Nothing))?;
    native.set("here", here)?;
    let keep = |anchor: Anchor| {
        let tables = Tables { anchor: Rc::new(anchor), in_use: false };
        current::with(|exchange| exchange.attached = Some(Box::new(tables)));
    };
    native.set("keep", raw::keeping(&state.lua, keep)?)?;
    let weak = Rc::downgrade(state);
    let share =
        bind::fast(state, move |_| match current::with(|exchange| share(&weak, exchange)) {
            Some(Err(text)) => Outcome::Raise(text),
            Some(Ok(())) | None => Outcome::Nothing,
        })?;
    native.set("share", share)
}

fn share(state: &Weak<State>, exchange: &mut Exchange) -> Result<(), String> {
    let Some(tables) = tables(exchange).filter(|tables| !tables.in_use) else { return Ok(()) };
    tables.in_use = true;
    let anchor = tables.anchor.clone();
    if exchange.shared.is_empty() {
        return Ok(());
    }
    let state = state.upgrade().ok_or("the Lua state has ended")?;
    refresh(&state.lua, exchange, &anchor).map_err(|error| error.to_string())
}

/// Takes over what others have left in the shared values. Tables stay what they are, since others
/// can't change their inside.
fn refresh(lua: &Lua, exchange: &Exchange, anchor: &Anchor) -> mlua::Result<()> {
    let shared: Table = anchor.table(lua)?.raw_get(SHARED)?;
    for (key, value) in &exchange.shared {
        let is_table = matches!(value, Value::Array(_) | Value::Map(_) | Value::Entity(_));
        if is_table && shared.contains_key(key.as_str())? {
            continue;
        }
        shared.raw_set(key.as_str(), convert::to_lua(lua, &value.to_json())?)?;
    }
    Ok(())
}

/// After a run: what it has left in the table is for everyone.
pub(crate) fn settle(lua: &Lua, exchange: &mut Exchange) {
    let Some(tables) = tables(exchange).filter(|tables| tables.in_use) else { return };
    tables.in_use = false;
    let values = tables.anchor.read_member(lua, SHARED);
    let Ok(values) = values else { return };
    exchange.shared.clear();
    let Value::Map(pairs) = values else { return };
    for (key, value) in pairs {
        if let (Some(key), false) = (key.as_str(), matches!(value, Value::Nil | Value::Foreign(_)))
        {
            exchange.shared.insert(key.to_owned(), value);
        }
    }
}
