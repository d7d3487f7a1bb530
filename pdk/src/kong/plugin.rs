//! `kong.plugin`: the instance that runs (`kong/pdk/plugin.lua`).

use super::{Function, Outcome, Shape::Text, phases::ANY};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] =
    &[Function::now("kong.plugin.get_id", ANY, &[], Text, get_id)
        .doc("The id of the plugin's configuration that runs now, a UUID.")];

fn get_id(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    let running = exchange.running.and_then(|instance| exchange.view.instance(instance));
    Ok(running.and_then(|entity| entity.get("id")).map(Value::from).into())
}
