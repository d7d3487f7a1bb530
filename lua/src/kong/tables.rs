//! The Lua tables of `kong.ctx`, which belong to an exchange.
//!
//! `kong.ctx.shared` is a table here, so that Lua plugins can leave functions and objects for one
//! another; for everyone else it is [`Exchange::shared`]. The table holds the values from when Lua
//! first reaches for it until somebody else asks for them.

use std::{
    collections::HashMap,
    ptr,
    rc::{Rc, Weak},
};

use mlua::{Function, Lua, Table};
use silverback_pdk::{Exchange, Holder, Value};

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
    shared: Option<Rc<Anchor>>,
    core: Option<Anchor>,
    /// Those of plugins, by the number of the instance.
    plugins: Vec<(u32, Anchor)>,
}

/// Those of a state.
fn tables(exchange: &mut Exchange, state: *const State) -> Option<&mut Tables> {
    let tables: &mut Tables = exchange.attached.as_mut()?.downcast_mut()?;
    ptr::eq(Rc::as_ptr(&tables.state), state).then_some(tables)
}

/// The same, made if there are none yet.
fn tables_made<'a>(exchange: &'a mut Exchange, state: &Weak<State>) -> Option<&'a mut Tables> {
    if tables(exchange, state.as_ptr()).is_none() {
        let (state, plugins) = (state.upgrade()?, Vec::new());
        exchange.attached = Some(Box::new(Tables { state, shared: None, core: None, plugins }));
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
    native.set("keep_shared", keep(|tables, _, table| tables.shared = Some(Rc::new(table)))?)?;
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

/// The table of shared values, which holds them from now on.
fn share(state: &Weak<State>, exchange: &mut Exchange) -> Result<Option<Place>, String> {
    let Some(tables) = tables(exchange, state.as_ptr()) else { return Ok(None) };
    let Some(anchor) = tables.shared.clone() else { return Ok(None) };
    let place = anchor.place();
    if exchange.shared.is_held_by(&anchor) {
        return Ok(Some(place));
    }
    let values = exchange.shared.hold(anchor.clone());
    if !values.is_empty() {
        let state = state.upgrade().ok_or("the Lua state has ended")?;
        refresh(&state.lua, &values, &anchor).map_err(|error| error.to_string())?;
    }
    Ok(Some(place))
}

/// Takes over what others have left among the shared values. Tables stay what they are, since
/// others can't change their inside.
fn refresh(lua: &Lua, values: &HashMap<String, Value>, anchor: &Anchor) -> mlua::Result<()> {
    let shared = anchor.table(lua)?;
    for (key, value) in values {
        let is_table = matches!(value, Value::Array(_) | Value::Map(_) | Value::Entity(_));
        if is_table && shared.contains_key(key.as_str())? {
            continue;
        }
        shared.raw_set(key.as_str(), convert::to_lua(lua, &value.to_json())?)?;
    }
    Ok(())
}

impl Holder for Anchor {
    fn values(&self) -> HashMap<String, Value> {
        let Ok(Value::Map(pairs)) = self.read() else { return HashMap::new() };
        let named = pairs.into_iter().filter_map(|(key, value)| {
            let lasts = !matches!(value, Value::Nil | Value::Foreign(_));
            key.as_str().filter(|_| lasts).map(str::to_owned).map(|key| (key, value))
        });
        named.collect()
    }
}
