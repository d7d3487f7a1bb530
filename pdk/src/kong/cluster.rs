//! `kong.cluster`: what all nodes share (`kong/pdk/cluster.lua`).

use futures_util::future::LocalBoxFuture;

use super::{Function, Outcome, Shape::Text, Stop, phases::ANY};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] =
    &[Function::later("kong.cluster.get_id", ANY, &[], Text, get_id)
        .doc("The cluster's id; nil without a database.")];

fn get_id<'a>(exchange: &'a mut Exchange, _: &'a [Value]) -> LocalBoxFuture<'a, Outcome> {
    Box::pin(async move {
        let found = exchange.view.find("parameters", "key", "cluster_id");
        let parameter = found.get().await.map_err(Stop::Nil)?;
        Ok(parameter.as_ref().and_then(|entity| entity.get("value")).map(Value::from).into())
    })
}
