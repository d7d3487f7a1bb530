//! `kong.*`: the functions of the PDK's table, bound once for all, and what only Lua can have.

pub(crate) mod tables;

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::{Rc, Weak},
    sync::{self, Arc},
};

use foldhash::fast::RandomState;
use futures_util::FutureExt;
use mlua::{Function, Table};
use silverback_pdk::{
    Exchange, Flow, Found, LogLevel, Record, SecretRef, Value,
    kong::{self, Call, Lent, Stop},
};

use crate::{
    bind::{self, Begun},
    convert, current,
    raw::{
        Anchor, Args, Out, Outcome,
        quick::{self, Quickly},
    },
    scheduler::Wait,
    state::{Inbox, State},
};

/// What is written in Lua, by the name of its place.
const PARTS: &[(&str, &str)] = &[
    ("log", include_str!("kong/log.lua")),
    ("ctx", include_str!("kong/ctx.lua")),
    ("parts", include_str!("kong/parts.lua")),
    ("body", include_str!("kong/body.lua")),
    ("node", include_str!("kong/node.lua")),
    ("db", include_str!("kong/db.lua")),
    ("cache", include_str!("kong/cache.lua")),
];

/// Puts the global table `kong` into a state.
///
/// # Errors
/// If there is no memory.
pub(crate) fn register(state: &Rc<State>) -> mlua::Result<()> {
    let kong = state.global_table("kong")?;
    for function in kong::all() {
        // A log line is made of text by Lua itself, and `kong.ctx` holds tables.
        let by_lua = ["kong.log.", "kong.ctx."].iter().any(|part| function.name.starts_with(part));
        if !by_lua || function.name.starts_with("kong.log.se") {
            place(state, &kong, function.name, bind_function(state, function)?)?;
        }
    }
    kong.set("version", "3.10.0")?;
    kong.set("version_num", 30_010_000)?;
    kong.set("_VERSION", "3.10.0")?;
    let configuration = convert::to_lua(&state.lua, &state.config.settings)?;
    kong.set("configuration", configuration)?;
    kong.get::<Table>("log")?.set("serialize", bind::fast(state, |_| serialize())?)?;
    let native = native(state)?;
    for (name, source) in PARTS {
        let chunk = state.lua.load(*source).set_name(format!("@silverback/kong/{name}.lua"));
        chunk.call::<()>((&kong, &native))?;
    }
    state.tell_level_by(native.get("level_changed")?)?;
    // Timers and events are modules of the library.
    state.require::<mlua::Value>("silverback.kong").map(|_| ())
}

/// Puts a function in its place: `kong.request.get_header` into `kong.request`.
fn place(state: &State, kong: &Table, name: &str, function: Function) -> mlua::Result<()> {
    let mut table = kong.clone();
    let mut parts = name.split('.').skip(1).peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return table.raw_set(part, function);
        }
        let inner = match table.raw_get::<Option<Table>>(part)? {
            Some(inner) => inner,
            None => {
                let inner = state.lua.create_table()?;
                table.raw_set(part, &inner)?;
                inner
            }
        };
        table = inner;
    }
    Ok(())
}

/// A function of the table for Lua.
fn bind_function(state: &Rc<State>, function: &'static kong::Function) -> mlua::Result<Function> {
    let inbox = Rc::downgrade(&state.inbox);
    match function.call {
        Call::Quick(work) => {
            let (known, weak) = (Entities::default(), Rc::downgrade(state));
            let shared = function.name.starts_with("kong.router.");
            quick::function(&state.lua, move |given, scratch| {
                let called =
                    |exchange: &mut Exchange| match function.call_quick(work, exchange, given) {
                        Ok(Lent::Entity(record)) if shared => known.table(&weak, record),
                        Ok(lent) => scratch.lent(lent),
                        Err(stop) => Quickly::Other(outcome(Err(stop))),
                    };
                current::with(called).unwrap_or_else(no_request)
            })
        }
        Call::Now(_) => bind::fast(state, move |args| call(function, args, &inbox)),
        Call::Later(_) => bind::fast_waits(state, move |args| {
            let values = match args.values(1) {
                Ok(values) => values,
                Err(text) => return Begun::Done(Outcome::Raise(text)),
            };
            Begun::Exchange(Box::new(move |exchange| {
                async move { outcome(function.call(exchange, &values).await) }.boxed_local()
            }))
        }),
    }
}

/// A function was called where there is no exchange.
#[cold]
fn no_request() -> Quickly {
    Quickly::Other(Outcome::Raise("no request found".to_owned()))
}

fn call(function: &'static kong::Function, args: &Args<'_>, inbox: &Weak<Inbox>) -> Outcome {
    let result =
        args.with_values(|values| current::with(|exchange| function.call_now(exchange, values)));
    let result = match result {
        Ok(result) => result,
        Err(text) => return Outcome::Raise(text),
    };
    match result {
        Some(Some(Err(Stop::Exit(answer)))) => end(inbox, Flow::Exit(*answer)),
        Some(Some(result)) => outcome(result),
        Some(None) | None => Outcome::Raise("no request found".to_owned()),
    }
}

/// Ends the run: nothing of the handler runs any more.
pub(crate) fn end(inbox: &Weak<Inbox>, flow: Flow) -> Outcome {
    if let Some(inbox) = inbox.upgrade() {
        inbox.wait.set(Some(Wait::End(flow)));
    }
    Outcome::Never
}

/// The tables of entities that belong to the configuration: one for all requests, as in Kong.
#[derive(Default)]
struct Entities(RefCell<HashMap<*const Record, Tabled, RandomState>>);

/// An entity, as long as it is part of the configuration, and its table.
type Tabled = (sync::Weak<Record>, Anchor);

/// How many tables of entities are kept for each function.
const ENTITIES_MAX: usize = 1000;

impl Entities {
    /// The table that was made of an entity when it was first asked for.
    fn table(&self, state: &Weak<State>, record: &Arc<Record>) -> Quickly {
        let key = Arc::as_ptr(record);
        // Its memory can't be another's as long as there is a weak reference.
        if let Some((_, anchor)) = self.0.borrow().get(&key) {
            return Quickly::Anchored(anchor.place());
        }
        let Some(anchor) = state.upgrade().and_then(|state| anchored(&state, record)) else {
            return Quickly::Other(Outcome::One(Value::Entity(record.clone()).into()));
        };
        let place = anchor.place();
        let mut known = self.0.borrow_mut();
        if known.len() >= ENTITIES_MAX {
            known.clear();
        }
        known.insert(key, (Arc::downgrade(record), anchor));
        Quickly::Anchored(place)
    }
}

/// An entity as a table; none if there is no memory for it.
fn anchored(state: &State, record: &Arc<Record>) -> Option<Anchor> {
    let json = Value::Entity(Arc::clone(record)).to_json();
    let table = convert::to_lua(&state.lua, &json).ok()?;
    Anchor::new(&state.lua, table).ok()
}

/// What a call has given, as Lua sees it.
fn outcome(result: kong::Outcome) -> Outcome {
    match result {
        Ok(value) => Outcome::One(value.into()),
        Err(Stop::Nil(text)) => Outcome::nil(text),
        Err(Stop::Raise(text)) => Outcome::Raise(text),
        Err(Stop::Exit(_)) => Outcome::Raise("the request can't be answered here".to_owned()),
    }
}

/// What the Lua parts are built on.
fn native(state: &Rc<State>) -> mlua::Result<Table> {
    let native = state.lua.create_table()?;
    native.set("null", convert::NULL)?;
    tables::bind(state, &native)?;
    native.set("running_name", bind::fast(state, |_| Outcome::One(running_name()))?)?;
    native.set("phase", bind::fast(state, |_| Outcome::One(phase()))?)?;
    let levels = LogLevel::ALL.iter().zip(0..).map(|(level, place)| (level.name(), place));
    native.set("levels", state.lua.create_table_from(levels)?)?;
    native.set("log", bind::fast(state, write)?)?;
    native.set("find", bind::fast_waits(state, find)?)?;
    native.set("children", bind::fast_waits(state, children)?)?;
    native.set("renew_secret", bind::fast(state, renew_secret)?)?;
    native.set("flush_secrets", bind::fast(state, |_| flush_secrets())?)?;
    native.set("workspace", bind::fast(state, |_| Outcome::One(workspace()))?)?;
    Ok(native)
}

/// The name of the plugin whose handler runs, or nil.
fn running_name() -> Out {
    let name = current::with(|exchange| {
        let entity = exchange.view.instance(exchange.running?)?;
        entity.get("name")?.as_str().map(str::to_owned)
    });
    name.flatten().map_or(Out::Nil, Out::from)
}

/// The secret that a reference names, read again.
fn renew_secret(args: &Args<'_>) -> Outcome {
    let reference = args.text(1).unwrap_or_default();
    let renewed = SecretRef::parse(reference).and_then(|reference| {
        let renewed = current::with(|exchange| exchange.view.renewed_secret(&reference));
        renewed.unwrap_or_else(|| Err("no configuration at hand".to_owned()))
    });
    match renewed {
        Ok(secret) => Outcome::One(secret.into()),
        Err(fault) => Outcome::nil(fault),
    }
}

/// Has all secrets read again, soon.
fn flush_secrets() -> Outcome {
    current::with(|exchange| exchange.view.flush_secrets());
    Outcome::One(Out::Nil)
}

/// The id of the workspace, or nil.
fn workspace() -> Out {
    let id = current::with(|exchange| exchange.view.workspace_id().map(str::to_owned));
    id.flatten().map_or(Out::Nil, Out::from)
}

/// The document that logging plugins send, as a table.
fn serialize() -> Outcome {
    let work = |exchange: &mut Exchange| {
        if let Some(function) = kong::find("kong.log.serialize") {
            function.check(exchange).map_err(|stop| stop.to_string())?;
        }
        kong::serialize(exchange)
    };
    match current::with(work) {
        Some(Ok(document)) => Outcome::One(Value::Entity(Arc::new(document)).into()),
        Some(Err(text)) => Outcome::Raise(text),
        None => Outcome::Raise("no request found".to_owned()),
    }
}

fn texts<const N: usize>(args: &Args<'_>) -> Option<[String; N]> {
    let texts: Option<Vec<String>> =
        (1..=N).map(|position| args.text(position).map(str::to_owned)).collect();
    texts?.try_into().ok()
}

/// (kind, field, value): the entity that has this value in a unique field.
fn find(args: &Args<'_>) -> Begun {
    let Some([kind, field, value]) = texts(args) else {
        return Begun::Done(Outcome::Raise("expected three strings".to_owned()));
    };
    let given = |found: Result<Option<Arc<Record>>, String>| match found {
        Ok(Some(record)) => Outcome::One(Value::Entity(record).into()),
        Ok(None) => Outcome::One(Out::Nil),
        Err(text) => Outcome::nil(text),
    };
    match current::with(|exchange| exchange.view.find(&kind, &field, &value)) {
        Some(Found::Now(found)) => Begun::Done(given(Ok(found))),
        Some(Found::Later(found)) => Begun::Free(found.map(given).boxed_local()),
        None => Begun::Done(Outcome::nil("no configuration at hand")),
    }
}

/// (kind, parent, id): the entities that belong to another; (kind): all.
fn children(args: &Args<'_>) -> Begun {
    let Some(kind) = args.text(1) else {
        return Begun::Done(Outcome::Raise("expected a string".to_owned()));
    };
    let given = |found: Result<Vec<Arc<Record>>, String>| match found {
        Ok(found) => {
            let items = found.into_iter().map(Value::Entity).collect();
            Outcome::One(Value::Array(items).into())
        }
        Err(text) => Outcome::nil(text),
    };
    let found = current::with(|exchange| match (args.text(2), args.text(3)) {
        (Some(parent), Some(id)) => exchange.view.children(kind, parent, id),
        _ => Found::Now(exchange.view.all(kind)),
    });
    match found {
        Some(Found::Now(found)) => Begun::Done(given(Ok(found))),
        Some(Found::Later(found)) => Begun::Free(found.map(given).boxed_local()),
        None => Begun::Done(given(Ok(Vec::new()))),
    }
}

/// What was cached of entities is looked up anew: they have changed.
pub(crate) fn forget(state: &State) {
    let forget = state.lua.globals().get::<Table>("kong");
    let forget = forget.and_then(|kong| kong.get::<Table>("cache")?.get::<Function>("_forget"));
    if let Err(error) = forget.and_then(|forget| forget.call::<()>(())) {
        silverback_pdk::log(LogLevel::Err, "", &crate::raw::plain(&error));
    }
}

/// The phase that runs.
fn phase() -> Out {
    current::with(|exchange| exchange.phase.name()).map_or(Out::Static("init"), Out::Static)
}

fn level(args: &Args<'_>) -> Option<LogLevel> {
    LogLevel::from_name(args.text(1)?)
}

/// Writes a line: level, plugin, text.
fn write(args: &Args<'_>) -> Outcome {
    if let Some(level) = level(args) {
        let text = |position| String::from_utf8_lossy(args.bytes(position).unwrap_or_default());
        silverback_pdk::log(level, &text(2), &text(3));
    }
    Outcome::Nothing
}
