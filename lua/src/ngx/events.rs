//! Events from worker to worker: texts that reach every state of the process
//! (`lib/silverback/kong/events.lua` makes `kong.worker_events` of it).

use std::{
    cell::Cell,
    rc::{Rc, Weak},
    sync::{Mutex, PoisonError},
};

use mlua::{Function, Lua, LuaString, Table, Value};
use silverback_pdk::{LogLevel, Phase, View, log};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::timer;
use crate::{
    current,
    scheduler::{self, Ending},
    state::State,
};

/// How many events may wait for a worker; more are lost for it, and the log says so.
const WAITING_MAX: usize = 4096;

/// The states that listen.
static LISTENERS: Mutex<Vec<(u64, Sender<Vec<u8>>)>> = Mutex::new(Vec::new());

/// Puts `listen` and `tell` into `native`.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &Rc<State>, native: &Table) -> mlua::Result<()> {
    let (weak, listens) = (Rc::downgrade(state), Cell::new(false));
    let listen = move |_: &Lua, handler: Function| {
        let view = current::with(|exchange| exchange.view.clone());
        let (false, Some(view)) = (listens.get(), view) else { return Ok(()) };
        listens.set(true);
        let (sender, receiver) = channel(WAITING_MAX);
        let me = weak.as_ptr().addr() as u64;
        listeners(|list| list.push((me, sender)));
        tokio::task::spawn_local(hear(weak.clone(), view, handler, receiver));
        Ok(())
    };
    native.set("listen", state.lua.create_function(listen)?)?;
    let me = Rc::as_ptr(state).addr() as u64;
    let tell_others = move |_: &Lua, text: LuaString| {
        listeners(|list| tell(list, me, &text.as_bytes()));
        Ok(())
    };
    native.set("tell", state.lua.create_function(tell_others)?)
}

fn listeners(work: impl FnOnce(&mut Vec<(u64, Sender<Vec<u8>>)>)) {
    work(&mut LISTENERS.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Sends a text to every state but the one it comes from.
fn tell(list: &mut Vec<(u64, Sender<Vec<u8>>)>, me: u64, text: &[u8]) {
    list.retain(|(_, sender)| !sender.is_closed());
    for (_, sender) in list.iter().filter(|(listener, _)| *listener != me) {
        if sender.try_send(text.to_vec()).is_err() {
            log(LogLevel::Warn, "", "a worker hears too many events: one of them is lost for it");
        }
    }
}

/// Calls the handler with each text, as long as the state is there.
async fn hear(
    state: Weak<State>,
    view: Rc<dyn View>,
    handler: Function,
    mut texts: Receiver<Vec<u8>>,
) {
    while let Some(text) = texts.recv().await {
        let Some(state) = state.upgrade() else { return };
        let Ok(text) = state.lua.create_string(&text) else { return };
        let mut exchange = timer::exchange(view.clone(), Phase::Timer);
        let args = [&Value::String(text)];
        let ending = scheduler::run(&state, &mut exchange, &handler, &args, false).await;
        if let Ending::Failed(text) = ending {
            log(LogLevel::Err, "", &format!("worker-events: {text}"));
        }
    }
}
