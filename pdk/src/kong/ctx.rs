//! `kong.ctx.shared`: values that plugins leave for one another (`kong/pdk/ctx.lua`).

use super::{
    Function, Outcome,
    Shape::{Any, None as Nothing, Text},
    arg, args,
    phases::ANY,
};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::now("kong.ctx.shared.set", ANY, &[arg("key", Text), arg("value", Any)], Nothing, set)
        .doc("Leaves a value for later handlers of this request, of any plugin; nil removes it."),
    Function::now("kong.ctx.shared.get", ANY, &[arg("key", Text)], Any, get)
        .doc("The value that a handler of this request has left under a key, or nil."),
];

/// A key: text; a number by its digits.
pub(super) fn key(args: &[Value]) -> Option<String> {
    let key = args::get(args, 0);
    (!key.is_nil()).then(|| String::from_utf8_lossy(&args::to_text(key)).into_owned())
}

fn set(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let key = key(args).ok_or_else(|| args::raise("table index is nil"))?;
    match args::get(args, 1) {
        Value::Nil | Value::Foreign(_) => exchange.shared.remove(&key),
        value => exchange.shared.insert(key, value.clone()),
    }
    args::done()
}

fn get(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    Ok(key(args).and_then(|key| exchange.shared.get(&key)).unwrap_or_default())
}
