//! `kong.ip`: addresses (`kong/pdk/ip.lua`).

use super::{
    Function, Outcome,
    Shape::{Bool, Text},
    arg, args,
    phases::ANY,
};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] =
    &[Function::now("kong.ip.is_trusted", ANY, &[arg("address", Text)], Bool, is_trusted)
        .doc("Whether an address is one of `trusted_ips`.")];

fn is_trusted(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let address = args::get(args, 0).as_str().and_then(|address| address.parse().ok());
    let node = exchange.view.node();
    Ok(address.is_some_and(|address| node.trusts(address)).into())
}
