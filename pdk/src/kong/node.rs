//! `kong.node`: this node (`kong/pdk/node.lua`).

use super::{
    Function, Outcome,
    Shape::{Int, MemoryStats, Text},
    arg, args,
    phases::ANY,
};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::now("kong.node.get_id", ANY, &[], Text, get_id).doc("This node's id, a UUID."),
    Function::now(
        "kong.node.get_memory_stats",
        ANY,
        &[arg("unit", Text), arg("scale", Int)],
        MemoryStats,
        get_memory_stats,
    )
    .doc(
        "What the workers' interpreters and the shared dictionaries occupy; empty on a node \
          without Lua.",
    ),
    Function::now("kong.node.get_hostname", ANY, &[], Text, get_hostname)
        .doc("The machine's name."),
];

fn get_id(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    Ok(exchange.view.node().id.as_str().into())
}

fn get_memory_stats(_: &mut Exchange, args: &[Value]) -> Outcome {
    if let Some(unit) = args::get(args, 0).as_str()
        && !matches!(unit.to_ascii_lowercase().as_str(), "" | "b" | "k" | "m" | "g")
    {
        return Err(args::raise(format!(
            "invalid unit '{unit}' (expected 'k/K', 'm/M', or 'g/G')"
        )));
    }
    let scale = args::get(args, 1);
    if !scale.is_nil() && scale.as_number().is_none_or(|scale| scale < 0.0) {
        return Err(args::raise("scale must be equal or greater than 0"));
    }
    Ok(Value::Map(vec![
        (Value::constant("workers_lua_vms"), Value::Array(Vec::new())),
        (Value::constant("lua_shared_dicts"), Value::Map(Vec::new())),
    ]))
}

fn get_hostname(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    Ok(exchange.view.node().hostname.as_str().into())
}
