//! The Lua tables of `kong.ctx`, which belong to an exchange.
//!
//! `kong.ctx.shared` is a table here, so that Lua plugins can leave functions and objects for one
//! another; for everyone else it is [`Exchange::shared`]. The two are brought in line when a run
//! first reaches for the table, and when the run is over.

use std::{
    ptr,
    rc::{Rc, Weak},
};

use mlua::{Function, Lua, Table};
use silverback_pdk::{Exchange, Value};

use crate::{
    convert, current,
    raw::{
        self, Anchor, Outcome,
        quick::{self, Place, Quickly},
    },
    state::State,
};

/// What is attached to an exchange that Lua has worked on: each table as soon as it is asked for.
struct Tables {
    /// The state that they are in.
    state: Rc<State>,
    shared: Option<Anchor>,
    core: Option<Anchor>,
    /// Those of plugins, by the number of the instance.
    plugins: Vec<(u32, Anchor)>,
    /// Whether the shared values may differ from the table.
    in_use: bool,
}

/// Those of a state.
fn tables(exchange: &mut Exchange, state: *const State) -> Option<&mut Tables> {
    let tables: &mut Tables = exchange.attached.as_mut()?.downcast_mut()?;
    ptr::eq(Rc::as_ptr(&tables.state), state).then_some(tables)
}

/// The same, made if there are none yet.
fn tables_made<'a>(exchange: &'a mut Exchange, state: &Weak<State>) -> Option<&'a mut Tables> {
    if tables(exchange, state.as_ptr()).is_none() {
        let (plugins, in_use) = (Vec::new(), false);
        let state = state.upgrade()?;
        exchange.attached =
            Some(Box::new(Tables { state, shared: None, core: None, plugins, in_use }));
    }
    tables(exchange, state.as_ptr())
}

/// What `ctx.lua` is made of:
/// - `index(make)`: the `__index` that finds the table of a name, the shared values in line, and
///   calls `make` with the name where there is none yet;
/// - `keep_plugin(table)`, `keep_shared(table)`, `keep_core(table)`: makes this that table.
///
/// # Errors
/// If there is no memory.
pub(super) fn bind(state: &Rc<State>, native: &Table) -> mlua::Result<()> {
    let weak = Rc::downgrade(state);
    let index = move |lua: &Lua, make: Function| {
        let weak = weak.clone();
        let find = move |name: &[u8]| {
            let found = current::with(|exchange| find(&weak, exchange, name));
            found.unwrap_or(Quickly::Bool(false))
        };
        quick::index(lua, find, &make)
    };
    native.set("index", state.lua.create_function(index)?)?;
    let keep = |keep: fn(&mut Tables, u32, Anchor)| {
        let weak = Rc::downgrade(state);
        raw::keeping(&state.lua, move |anchor| {
            current::with(|exchange| {
                let instance = exchange.running.unwrap_or_default();
                if let Some(tables) = tables_made(exchange, &weak) {
                    keep(tables, instance, anchor);
                }
            });
        })
    };
    native
        .set("keep_plugin", keep(|tables, plugin, table| tables.plugins.push((plugin, table)))?)?;
    native.set("keep_shared", keep(|tables, _, table| tables.shared = Some(table))?)?;
    native.set("keep_core", keep(|tables, _, table| tables.core = Some(table))?)
}

/// A table of the exchange; nil if there is none yet, false if there never is one of that name.
fn find(state: &Weak<State>, exchange: &mut Exchange, name: &[u8]) -> Quickly {
    let instance = exchange.running.unwrap_or_default();
    let tables = tables(exchange, state.as_ptr());
    let found = match name {
        b"plugin" => tables.and_then(|tables| {
            let of_plugin = tables.plugins.iter().find(|(plugin, _)| *plugin == instance);
            of_plugin.map(|(_, anchor)| anchor.place())
        }),
        b"shared" => match share(state, exchange) {
            Ok(found) => found,
            Err(text) => return Quickly::Other(Outcome::Raise(text)),
        },
        b"core" => tables.and_then(|tables| tables.core.as_ref().map(Anchor::place)),
        _ => return Quickly::Bool(false),
    };
    found.map_or(Quickly::Nil, Quickly::Anchored)
}

/// The table of shared values, which are in line with it from now on.
fn share(state: &Weak<State>, exchange: &mut Exchange) -> Result<Option<Place>, String> {
    let nothing_shared = exchange.shared.is_empty();
    let Some(tables) = tables(exchange, state.as_ptr()) else { return Ok(None) };
    let Some(anchor) = &tables.shared else { return Ok(None) };
    let place = anchor.place();
    if tables.in_use {
        return Ok(Some(place));
    }
    tables.in_use = true;
    if !nothing_shared {
        let state = tables.state.clone();
        let table = anchor.table(&state.lua).map_err(|error| error.to_string())?;
        refresh(&state.lua, exchange, &table).map_err(|error| error.to_string())?;
    }
    Ok(Some(place))
}

/// Takes over what others have left in the shared values. Tables stay what they are, since others
/// can't change their inside.
fn refresh(lua: &Lua, exchange: &Exchange, shared: &Table) -> mlua::Result<()> {
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
pub(crate) fn settle(state: &State, exchange: &mut Exchange) {
    let found = tables(exchange, state).filter(|tables| tables.in_use);
    let Some(tables) = found else { return };
    tables.in_use = false;
    let values = tables.shared.as_ref().map(|anchor| anchor.read(&state.lua));
    let Some(Ok(values)) = values else { return };
    exchange.shared.clear();
    let Value::Map(pairs) = values else { return };
    for (key, value) in pairs {
        if let (Some(key), false) = (key.as_str(), matches!(value, Value::Nil | Value::Foreign(_)))
        {
            exchange.shared.insert(key.to_owned(), value);
        }
    }
}
