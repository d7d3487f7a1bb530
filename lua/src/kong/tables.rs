//! The Lua tables that belong to an exchange: `ngx.ctx`, `kong.ctx.shared`, `kong.ctx.plugin`.
//!
//! `kong.ctx.shared` is a table here, so that Lua plugins can leave functions and objects for one
//! another; for everyone else it is [`Exchange::shared`]. The two are brought in line when a run
//! first reaches for the table, and when the run is over.

use std::rc::{Rc, Weak};

use mlua::{Function, Lua, Table};
use silverback_pdk::{Exchange, Value};

use crate::{
    bind, convert, current,
    raw::{Anchor, Out, Outcome},
    state::State,
};

/// What is attached to an exchange that Lua has worked on.
pub(crate) struct Tables {
    anchor: Rc<Anchor>,
    /// Whether the shared values may differ from the table.
    in_use: bool,
}

/// A function that gives the tables of the current exchange, nil without one:
/// `{ ngx = {…}, shared = {…}, plugins = {[instance] = {…}} }`.
///
/// # Errors
/// If there is no memory.
pub(super) fn bind(state: &Rc<State>) -> mlua::Result<Function> {
    let weak = Rc::downgrade(state);
    bind::fast(state, move |_| match current::with(|exchange| reach(&weak, exchange)) {
        None => Outcome::One(Out::Nil),
        Some(Ok(anchor)) => Outcome::One(Out::Anchored(anchor)),
        Some(Err(text)) => Outcome::Raise(text),
    })
}

fn reach(state: &Weak<State>, exchange: &mut Exchange) -> Result<Rc<Anchor>, String> {
    let state = state.upgrade().ok_or("the Lua state has ended")?;
    let known = exchange.attached.as_mut().and_then(|attached| attached.downcast_mut::<Tables>());
    if let Some(tables) = known {
        if tables.in_use {
            return Ok(tables.anchor.clone());
        }
        tables.in_use = true;
        let anchor = tables.anchor.clone();
        refresh(&state.lua, exchange, &anchor).map_err(|error| error.to_string())?;
        return Ok(anchor);
    }
    let make = || {
        let tables = state.lua.create_table()?;
        for name in ["ngx", "shared", "plugins"] {
            tables.raw_set(name, state.lua.create_table()?)?;
        }
        let anchor = Rc::new(Anchor::new(&state.lua, &tables)?);
        refresh(&state.lua, exchange, &anchor)?;
        Ok(anchor)
    };
    let anchor = make().map_err(|error: mlua::Error| error.to_string())?;
    exchange.attached = Some(Box::new(Tables { anchor: anchor.clone(), in_use: true }));
    Ok(anchor)
}

/// Takes over what others have left in the shared values. Tables stay what they are, since others
/// can't change their inside.
fn refresh(lua: &Lua, exchange: &Exchange, anchor: &Anchor) -> mlua::Result<()> {
    let shared: Table = anchor.table(lua)?.raw_get("shared")?;
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
    let attached = exchange.attached.as_mut();
    let Some(tables) = attached.and_then(|attached| attached.downcast_mut::<Tables>()) else {
        return;
    };
    if !std::mem::take(&mut tables.in_use) {
        return;
    }
    let anchor = tables.anchor.clone();
    let shared = anchor.table(lua).and_then(|tables| tables.raw_get::<Table>("shared"));
    let Ok(Ok(values)) = shared.map(|shared| Anchor::read(lua, &shared)) else { return };
    let Value::Map(pairs) = values else {
        exchange.shared.clear();
        return;
    };
    exchange.shared.clear();
    for (key, value) in pairs {
        if let (Some(key), false) = (key.as_str(), matches!(value, Value::Nil | Value::Foreign(_)))
        {
            exchange.shared.insert(key.to_owned(), value);
        }
    }
}
