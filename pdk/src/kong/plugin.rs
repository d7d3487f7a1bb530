//! `kong.plugin`: the instance that runs (`kong/pdk/plugin.lua`).

use super::{
    Function,
    Shape::Text,
    phases::ANY,
    quick::{Given, Lending},
};
use crate::Exchange;

pub(super) static FUNCTIONS: &[Function] =
    &[Function::quick("kong.plugin.get_id", ANY, &[], Text, get_id)
        .doc("The id of the plugin's configuration that runs now, a UUID.")];

fn get_id<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    let running = exchange.running.and_then(|instance| exchange.view.instance(instance));
    Ok(running.and_then(|entity| entity.get("id")?.as_str()).into())
}
