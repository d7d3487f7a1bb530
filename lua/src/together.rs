//! Handlers that are entered together: the plugins of a phase one after the other, in one call.
//!
//! Entering Lua and leaving it costs more than many a handler. So the handlers that stand next to
//! each other in a chain become one Lua function, made when they first run so, which notes whose
//! turn it is, and ends where a handler has begun to answer (`ngx.say`). LuaJIT compiles it with
//! the handlers in it.

use std::{
    collections::HashMap,
    fmt::Write,
    rc::Rc,
    sync::{Arc, Weak},
};

use foldhash::fast::RandomState;
use mlua::{Function, Lua, MultiValue, Value};

use crate::{current, host::Instance, raw::Anchor, state::State};

/// The handlers of one or several instances, ready to be called.
pub(crate) struct Group {
    /// The function and its arguments.
    pub(crate) values: Vec<Anchor>,
    instances: Vec<Weak<Instance>>,
}

/// A group, and the numbers of its instances in a snapshot; none of a single one.
pub(crate) struct Ready {
    pub(crate) group: Rc<Group>,
    pub(crate) numbers: Vec<u32>,
}

/// What runs where, as long as a worker serves by the same snapshot.
#[derive(Default)]
pub(crate) struct Remembered {
    snapshot: u64,
    by_place: HashMap<usize, Rc<Ready>, RandomState>,
}

/// How many places in chains are remembered.
const REMEMBERED_MAX: usize = 4096;

/// What a state has made, by phase and the ids of the instances.
pub(crate) type Groups = HashMap<Box<[u64]>, Rc<Group>, RandomState>;

/// One member: the handler, and what it is called with.
pub(crate) type Member = (Function, Value, Value);

impl State {
    /// What runs at a place ([`silverback_pdk::Behind::key`]), if it is known.
    pub(crate) fn remembered(&self, (snapshot, place): (u64, usize)) -> Option<Rc<Ready>> {
        let remembered = self.remembered.borrow();
        let known = || remembered.by_place.get(&place).cloned();
        if remembered.snapshot == snapshot { known() } else { None }
    }

    /// Remembers what runs at a place. Of former snapshots nothing is kept.
    pub(crate) fn remember(&self, (snapshot, place): (u64, usize), ready: &Rc<Ready>) {
        let mut remembered = self.remembered.borrow_mut();
        if snapshot < remembered.snapshot {
            return;
        }
        if snapshot > remembered.snapshot || remembered.by_place.len() >= REMEMBERED_MAX {
            remembered.by_place.clear();
            remembered.snapshot = snapshot;
        }
        remembered.by_place.insert(place, ready.clone());
    }

    /// The group of that key, if it was made before.
    pub(crate) fn group(&self, key: &[u64]) -> Option<Rc<Group>> {
        self.groups.borrow().get(key).cloned()
    }

    /// Makes a group of handlers and keeps it under a key.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn make_group(
        &self,
        key: &[u64],
        members: &[(Arc<Instance>, Member)],
    ) -> mlua::Result<Rc<Group>> {
        let lua = &self.lua;
        let values = match members {
            [(_, (function, class, conf))] => {
                vec![Anchor::new(lua, function)?, Anchor::new(lua, class)?, Anchor::new(lua, conf)?]
            }
            several => vec![Anchor::new(lua, joined(lua, several)?)?],
        };
        let instances = members.iter().map(|(instance, _)| Arc::downgrade(instance)).collect();
        let group = Rc::new(Group { values, instances });
        let mut groups = self.groups.borrow_mut();
        if groups.len() == groups.capacity() {
            // Those of former configurations have had their time.
            groups.retain(|_, group| group.instances.iter().all(|i| i.strong_count() > 0));
        }
        groups.insert(key.into(), group.clone());
        Ok(group)
    }
}

/// One function that calls all.
fn joined(lua: &Lua, members: &[(Arc<Instance>, Member)]) -> mlua::Result<Function> {
    let (mut names, mut calls) = (String::from("cells"), String::new());
    let mut values = MultiValue::new();
    values.push_back(Value::LightUserData(current::together_cells()));
    for (place, (_, (function, class, conf))) in members.iter().enumerate() {
        let _ = write!(names, ", f{place}, class{place}, conf{place}");
        if place > 0 {
            let _ = write!(calls, "  if now[1] ~= 0 then return end now[0] = {place}");
        }
        let _ = writeln!(calls, "  f{place}(class{place}, conf{place})");
        values.extend([Value::Function(function.clone()), class.clone(), conf.clone()]);
    }
    let source = format!(
        "local {names} = ...\nlocal now = require(\"ffi\").cast(\"uint32_t *\", cells)\n\
         return function()\n{calls}end"
    );
    lua.load(source).set_name("=[silverback]").into_function()?.call(values)
}
