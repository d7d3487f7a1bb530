//! Lines in the log: `ngx.log` and `print` (`lib/silverback/ngx/log.lua` makes the lines).

use mlua::Table;
use silverback_pdk::{LogLevel, log, logs};

use crate::{
    bind, current,
    raw::{Args, Outcome},
    state::State,
};

/// Puts the functions into `native`.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, native: &Table) -> mlua::Result<()> {
    native.set("logs", bind::fast(state, |args| Outcome::One(logs(level(args)).into()))?)?;
    native.set("log", bind::fast(state, write)?)
}

/// The level of nginx's number: 0 (always written) to 8 (debug).
fn level(args: &Args<'_>) -> LogLevel {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let number = args.number(1).unwrap_or(4.0) as usize;
    LogLevel::ALL.get(number.saturating_sub(1)).copied().unwrap_or(LogLevel::Debug)
}

/// (level, text)
fn write(args: &Args<'_>) -> Outcome {
    let text = String::from_utf8_lossy(args.bytes(2).unwrap_or_default()).into_owned();
    let plugin = current::with(|exchange| {
        let running = exchange.running.and_then(|number| exchange.view.instance(number));
        running.and_then(|entity| Some(entity.get("name")?.as_str()?.to_owned()))
    });
    log(level(args), plugin.flatten().as_deref().unwrap_or_default(), &text);
    Outcome::Nothing
}
