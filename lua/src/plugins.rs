//! What a state knows of plugins: their handlers, the functions of their schemas, and their
//! configurations as Lua tables, each made once.

mod references;

use std::{
    collections::HashMap,
    path::Path,
    rc::Rc,
    sync::{Arc, Weak},
};

use foldhash::fast::RandomState;
use mlua::{FromLua, Function, Lua, Table, Value};
use serde_json::Value as Json;
use silverback_model::schema::Field;
use silverback_pdk::{Phase, View};

use crate::{convert, host::Instance, modules, schema::Source, state::State};

/// What a plugin's `handler.lua` has given.
pub(crate) struct Class {
    /// The table that handlers are called on.
    pub(crate) table: Table,
    /// The same.
    pub(crate) value: Value,
    /// Where it was found.
    pub(crate) file: String,
    functions: [Option<Function>; Phase::ALL.len()],
}

impl Class {
    /// Its function for a phase.
    pub(crate) fn function(&self, phase: Phase) -> Option<&Function> {
        self.functions.get(phase as usize)?.as_ref()
    }
}

/// What a state has loaded.
#[derive(Default)]
pub(crate) struct Loaded {
    classes: HashMap<String, Rc<Class>>,
    functions: HashMap<Source, Vec<Function>>,
    confs: HashMap<u64, (Weak<Instance>, Value), RandomState>,
    expressions: HashMap<u64, (Weak<Code>, Function), RandomState>,
}

/// An expression: a number that no other has, and its text.
type Code = (u64, String);

impl State {
    /// Requires a module.
    ///
    /// # Errors
    /// If it is not there, or fails.
    pub(crate) fn require<T: FromLua>(&self, module: &str) -> mlua::Result<T> {
        let require: Function = self.lua.globals().get("require")?;
        self.watched(|| require.call(module))
    }

    /// Whether there is a module of that name.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn has_module(&self, module: &str) -> mlua::Result<bool> {
        Ok(modules::source(module).is_some() || self.module_file(module)?.is_some())
    }

    /// The file that a module would be loaded from.
    pub(crate) fn module_file(&self, module: &str) -> mlua::Result<Option<String>> {
        let package: Table = self.lua.globals().get("package")?;
        let path: String = package.get("path")?;
        let name = module.replace('.', "/");
        let files = path.split(';').map(|pattern| pattern.replace('?', &name));
        Ok(files.into_iter().find(|file| Path::new(file).is_file()))
    }

    /// The handler of a plugin.
    ///
    /// # Errors
    /// If it can't be loaded, or is none.
    pub(crate) fn handler_class(&self, name: &str) -> mlua::Result<Rc<Class>> {
        if let Some(class) = self.loaded.borrow().classes.get(name) {
            return Ok(class.clone());
        }
        let module = format!("kong.plugins.{name}.handler");
        let file = self.module_file(&module)?.unwrap_or_else(|| "built in".to_owned());
        let table = match self.require::<Value>(&module)? {
            Value::Table(table) => table,
            other => {
                let kind = other.type_name();
                let text = format!("handler.lua gives a {kind} and no table: end it with `return`");
                return Err(mlua::Error::runtime(text));
            }
        };
        let table = self.instantiated(table)?;
        let base = self.base_plugin();
        let functions = Phase::ALL.map(|phase| phase_function(&table, base.as_ref(), phase));
        let value = Value::Table(table.clone());
        let class = Rc::new(Class { table, value, file, functions });
        self.loaded.borrow_mut().classes.insert(name.to_owned(), class.clone());
        Ok(class)
    }

    /// A class in the style of Kong 0.14 is made an object: `new` of it is called.
    fn instantiated(&self, table: Table) -> mlua::Result<Table> {
        let callable = table
            .metatable()
            .is_some_and(|meta| meta.get::<Value>("__call").is_ok_and(|call| call.is_function()));
        if !callable || !table.get::<Value>("new")?.is_function() {
            return Ok(table);
        }
        let call = self.lua.load("return (...)()").set_name("=[silverback]");
        self.watched(|| call.call(table))
    }

    /// The class that plugins of Kong before 3.0 extend, if one of them is loaded.
    fn base_plugin(&self) -> Option<Table> {
        let package: Table = self.lua.globals().get("package").ok()?;
        let loaded: Table = package.get("loaded").ok()?;
        loaded.get("kong.plugins.base_plugin").ok()
    }

    /// Keeps the functions of a schema.
    pub(crate) fn keep_functions(&self, source: Source, functions: Vec<Function>) {
        self.loaded.borrow_mut().functions.insert(source, functions);
    }

    /// A function of a schema.
    pub(crate) fn function(&self, source: &Source, number: usize) -> Option<Function> {
        self.loaded.borrow().functions.get(source)?.get(number).cloned()
    }

    /// The function of an expression, made once.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn expression(
        &self,
        code: &Arc<Code>,
        make: impl FnOnce(&str) -> mlua::Result<Function>,
    ) -> mlua::Result<Function> {
        let (id, text) = &**code;
        if let Some((_, function)) = self.loaded.borrow().expressions.get(id) {
            return Ok(function.clone());
        }
        let function = make(text)?;
        let known = &mut self.loaded.borrow_mut().expressions;
        if known.len() == known.capacity() {
            known.retain(|_, (code, _)| code.strong_count() > 0);
        }
        known.insert(*id, (Arc::downgrade(code), function.clone()));
        Ok(function)
    }

    /// The configuration that handlers of an instance are given.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn conf(&self, instance: &Arc<Instance>, view: &dyn View) -> mlua::Result<Value> {
        if let Some((_, conf)) = self.loaded.borrow().confs.get(&instance.id) {
            return Ok(conf.clone());
        }
        let conf = make_conf(&self.lua, instance, view)?;
        let mut loaded = self.loaded.borrow_mut();
        if loaded.confs.len() == loaded.confs.capacity() {
            // Those of former configurations have had their time.
            loaded.confs.retain(|_, (instance, _)| instance.strong_count() > 0);
        }
        loaded.confs.insert(instance.id, (Arc::downgrade(instance), conf.clone()));
        Ok(conf)
    }
}

/// A handler's function for a phase; those that only the base class has don't count.
fn phase_function(handler: &Table, base: Option<&Table>, phase: Phase) -> Option<Function> {
    let function: Function = handler.get(phase.name()).ok()?;
    let inherited: Option<Function> = base.and_then(|base| base.get(phase.name()).ok());
    (Some(&function) != inherited.as_ref()).then_some(function)
}

/// A configuration as handlers get it (kong/runloop/plugins_iterator.lua, `get_plugin_config`).
fn make_conf(lua: &Lua, instance: &Instance, view: &dyn View) -> mlua::Result<Value> {
    let Instance { entity, stored, known, .. } = instance;
    let config = entity.get("config").and_then(Json::as_object).cloned().unwrap_or_default();
    let conf = convert::to_lua(lua, &Json::Object(config))?;
    let Value::Table(table) = &conf else { return Ok(conf) };
    let schema = known.schema.fields.get("config").and_then(Field::as_record);
    let stored = stored.as_ref().and_then(|stored| stored.get("config")?.as_object());
    if let (Some(stored), Some(schema)) = (stored, schema) {
        references::add(lua, table, stored, schema)?;
    }
    let text = |name: &str| entity.get(name).and_then(Json::as_str).map(str::to_owned);
    let foreign = |name: &str| {
        let id = entity.get(name).and_then(|other| other.get("id")).and_then(Json::as_str);
        id.map(str::to_owned)
    };
    let (route, service, consumer) = (foreign("route"), foreign("service"), foreign("consumer"));
    let part = |id: &Option<String>| id.clone().unwrap_or_default();
    let id = text("id");
    let key = format!(
        "plugins:{}:{}:{}:{}::{}",
        text("name").unwrap_or_default(),
        part(&route),
        part(&service),
        part(&consumer),
        view.workspace_id().unwrap_or_default()
    );
    table.raw_set("plugin_instance_name", text("instance_name"))?;
    table.raw_set("__plugin_id", id)?;
    table.raw_set("__ws_id", view.workspace_id())?;
    table.raw_set("__key__", key)?;
    table.raw_set("__seq__", LAST_SEQUENCE.fetch_add(1, std::sync::atomic::Ordering::Relaxed))?;
    table.raw_set("route_id", route)?;
    table.raw_set("service_id", service)?;
    table.raw_set("consumer_id", consumer)?;
    Ok(conf)
}

static LAST_SEQUENCE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
