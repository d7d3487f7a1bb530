//! `kong.node`: this node (`kong/pdk/node.lua`).

use super::{
    Function, Outcome,
    Shape::{Int, MemoryStats, Text},
    arg, args,
    phases::ANY,
    quick::{Given, Lending},
};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::quick("kong.node.get_id", ANY, &[], Text, get_id).doc("This node's id, a UUID."),
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
    Function::quick("kong.node.get_hostname", ANY, &[], Text, get_hostname)
        .doc("The machine's name."),
];

fn get_id<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.view.node().id.as_str().into())
}

fn get_memory_stats(_: &mut Exchange, args: &[Value]) -> Outcome {
    let scale = match args::get(args, 1) {
        Value::Nil => 2.0,
        scale => scale.as_number().unwrap_or(-1.0),
    };
    let unit = args::get(args, 0).as_str().unwrap_or_default();
    crate::lua_memory().shown(unit, scale).map_err(args::raise)
}

fn get_hostname<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.view.node().hostname.as_str().into())
}
