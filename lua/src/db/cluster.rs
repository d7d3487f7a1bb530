//! What plugins tell those of other nodes, `kong.cluster_events`, and what they hear of changes of
//! entities (`lib/silverback/kong/events.lua` makes it of this).

use std::rc::{Rc, Weak};

use futures_util::FutureExt;
use mlua::{Function, Lua, Table, Value};
use silverback_pdk::{LogLevel, Phase, View, log};
use silverback_store::{Changed, Told};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    bind, convert, current, ngx,
    scheduler::{self, Ending},
    state::State,
};

/// Puts `tell`, `tell_stale`, `hear` and `hear_changes` into the module.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &Rc<State>, native: &Table) -> mlua::Result<()> {
    let database = state.database.clone();
    let tell = bind::waits(state, move |lua, args| {
        let (channel, data): (String, String) =
            lua.unpack_multi(args).map_err(|error| crate::raw::plain(&error))?;
        let store = database.store()?.clone();
        let told = async move { store.broadcast(&channel, &data).await };
        Ok(told.map(|told| told.map(|()| true).map_err(|fault| fault.message)).boxed_local())
    })?;
    native.set("tell", tell)?;
    let database = state.database.clone();
    let tell_stale = bind::waits(state, move |lua, args| {
        let key: String = lua.unpack_multi(args).map_err(|error| crate::raw::plain(&error))?;
        let store = database.store()?.clone();
        let told = async move { store.tell_stale(&key).await };
        Ok(told.map(|told| told.map(|()| true).map_err(|fault| fault.message)).boxed_local())
    })?;
    native.set("tell_stale", tell_stale)?;
    let weak = Rc::downgrade(state);
    let hear = move |_: &Lua, handler: Function| {
        let view = current::with(|exchange| exchange.view.clone());
        let told = weak.upgrade().and_then(|state| state.database.store().ok()?.told());
        if let (Some(view), Some(told)) = (view, told) {
            tokio::task::spawn_local(hear(weak.clone(), view, handler, told));
        }
        Ok(())
    };
    native.set("hear", state.lua.create_function(hear)?)?;
    let weak = Rc::downgrade(state);
    let hear_changes = move |_: &Lua, handler: Function| {
        let view = current::with(|exchange| exchange.view.clone());
        let changed = weak.upgrade().and_then(|state| state.database.store().ok()?.watch());
        if let (Some(view), Some(changed)) = (view, changed) {
            tokio::task::spawn_local(hear_changed(weak.clone(), view, handler, changed));
        }
        Ok(())
    };
    native.set("hear_changes", state.lua.create_function(hear_changes)?)
}

/// Calls the handler with what other nodes tell, as long as the state is there.
async fn hear(state: Weak<State>, view: Rc<dyn View>, handler: Function, mut all: Receiver<Told>) {
    while let Some(told) = next("cluster_events", &mut all).await {
        let Some(state) = state.upgrade() else { return };
        let text = |text: &str| state.lua.create_string(text).map(Value::String);
        let (Ok(channel), Ok(data)) = (text(&told.channel), text(&told.data)) else { return };
        call(&state, &view, &handler, &[&channel, &data]).await;
    }
}

/// The next event; none when there will be none any more.
async fn next<T: Clone>(what: &str, all: &mut Receiver<T>) -> Option<T> {
    loop {
        match all.recv().await {
            Ok(event) => return Some(event),
            Err(RecvError::Lagged(missed)) => {
                let text = format!("{what}: {missed} events were missed, there are too many");
                log(LogLevel::Warn, "", &text);
            }
            Err(RecvError::Closed) => return None,
        }
    }
}

async fn call(state: &Rc<State>, view: &Rc<dyn View>, handler: &Function, args: &[&Value]) {
    let mut exchange = ngx::exchange(view.clone(), Phase::Timer);
    let ending = scheduler::run(state, &mut exchange, handler, args, false).await;
    if let Ending::Failed(text) = ending {
        log(LogLevel::Err, "", &format!("events: {text}"));
    }
}

/// Calls the handler with (operation, kind, entity, the entity before) for each change that this
/// node makes, as long as the state is there.
async fn hear_changed(
    state: Weak<State>,
    view: Rc<dyn View>,
    handler: Function,
    mut all: Receiver<Changed>,
) {
    while let Some(changed) = next("crud events", &mut all).await {
        let Some(state) = state.upgrade() else { return };
        let lua = &state.lua;
        let entity =
            |record| convert::to_lua(lua, &silverback_pdk::Value::Entity(record).to_json());
        let text = |text: &str| lua.create_string(text).map(Value::String);
        let old = changed.old.map_or(Ok(Value::Nil), entity);
        let values = [text(changed.operation), text(&changed.kind), entity(changed.entity), old];
        let values: mlua::Result<Vec<Value>> = values.into_iter().collect();
        if let Ok(values) = values {
            call(&state, &view, &handler, &values.iter().collect::<Vec<_>>()).await;
        }
    }
}
