//! `ngx.*`: the part of OpenResty's interface that plugins lean on.

use crate::state::State;

/// Puts the global table `ngx` into a state.
///
/// # Errors
/// If there is no memory.
pub(crate) fn register(state: &State) -> mlua::Result<()> {
    state.global_table("ngx")?;
    Ok(())
}
