//! Entities as Lua code looks them up (`lib/silverback/kong/db.lua` makes DAOs of this).

use futures_util::FutureExt;
use mlua::Table;
use silverback_pdk::{Found, Value};

use crate::{
    bind::{self, Begun},
    current,
    raw::{Args, Out, Outcome},
    state::State,
};

/// Puts the functions into `native`.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, native: &Table) -> mlua::Result<()> {
    native.set("find_entity", bind::fast_waits(state, find)?)?;
    native.set("children", bind::fast_waits(state, children)?)?;
    native.set("view", bind::fast(state, |_| view())?)
}

fn text(args: &Args<'_>, position: usize) -> String {
    String::from_utf8_lossy(args.bytes(position).unwrap_or_default()).into_owned()
}

/// (kind, field, value): the entity, nil if there is none; nil and what is wrong.
fn find(args: &Args<'_>) -> Begun {
    let (kind, field, value) = (text(args, 1), text(args, 2), text(args, 3));
    match current::with(|exchange| exchange.view.find(&kind, &field, &value)) {
        None => Begun::Done(Outcome::nil("there is no configuration here")),
        Some(Found::Now(found)) => Begun::Done(Outcome::One(Out::Value(entity(found)))),
        Some(Found::Later(found)) => Begun::Free(
            async move {
                match found.await {
                    Ok(found) => Outcome::One(Out::Value(entity(found))),
                    Err(text) => Outcome::nil(text),
                }
            }
            .boxed_local(),
        ),
    }
}

fn entity(found: Option<std::sync::Arc<silverback_pdk::Record>>) -> Value {
    found.map_or(Value::Nil, Value::Entity)
}

/// (kind, parent's kind, parent's id): the entities that belong to it.
fn children(args: &Args<'_>) -> Begun {
    let (kind, parent, id) = (text(args, 1), text(args, 2), text(args, 3));
    match current::with(|exchange| exchange.view.children(&kind, &parent, &id)) {
        None => Begun::Done(list(Vec::new())),
        Some(Found::Now(found)) => Begun::Done(list(found)),
        Some(Found::Later(found)) => Begun::Free(
            async move {
                match found.await {
                    Ok(found) => list(found),
                    Err(text) => Outcome::nil(text),
                }
            }
            .boxed_local(),
        ),
    }
}

fn list(found: Vec<std::sync::Arc<silverback_pdk::Record>>) -> Outcome {
    Outcome::One(Out::Value(Value::Array(found.into_iter().map(Value::Entity).collect())))
}

/// A number that tells one state of the configuration from the next.
#[expect(clippy::cast_precision_loss, reason = "addresses have 47 bits")]
fn view() -> Outcome {
    let address =
        current::with(|exchange| std::rc::Rc::as_ptr(&exchange.view).cast::<()>().addr() as f64);
    Outcome::One(address.map_or(Out::Nil, Out::Number))
}
