//! What plugins tell those of other nodes: `kong.cluster_events`
//! (`lib/silverback/kong/events.lua` makes it of this).

use std::rc::{Rc, Weak};

use futures_util::FutureExt;
use mlua::{Function, Lua, Table, Value};
use silverback_pdk::{LogLevel, Phase, View, log};
use silverback_store::Told;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    bind, current, ngx,
    scheduler::{self, Ending},
    state::State,
};

/// Puts `tell` and `hear` into the module.
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
    let weak = Rc::downgrade(state);
    let hear = move |_: &Lua, handler: Function| {
        let view = current::with(|exchange| exchange.view.clone());
        let told = weak.upgrade().and_then(|state| state.database.store().ok()?.told());
        if let (Some(view), Some(told)) = (view, told) {
            tokio::task::spawn_local(hear(weak.clone(), view, handler, told));
        }
        Ok(())
    };
    native.set("hear", state.lua.create_function(hear)?)
}

/// Calls the handler with what other nodes tell, as long as the state is there.
async fn hear(state: Weak<State>, view: Rc<dyn View>, handler: Function, mut all: Receiver<Told>) {
    loop {
        let told = match all.recv().await {
            Ok(told) => told,
            Err(RecvError::Lagged(missed)) => {
                let text =
                    format!("cluster_events: {missed} events were missed, there are too many");
                log(LogLevel::Warn, "", &text);
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        let Some(state) = state.upgrade() else { return };
        let text = |text: &str| state.lua.create_string(text).map(Value::String);
        let (Ok(channel), Ok(data)) = (text(&told.channel), text(&told.data)) else { return };
        let mut exchange = ngx::exchange(view.clone(), Phase::Timer);
        let ending =
            scheduler::run(&state, &mut exchange, &handler, &[&channel, &data], false).await;
        if let Ending::Failed(text) = ending {
            log(LogLevel::Err, "", &format!("cluster_events: {text}"));
        }
    }
}
