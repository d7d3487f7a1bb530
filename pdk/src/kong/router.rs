//! `kong.router`: what the request matched (`kong/pdk/router.lua`).

use super::{
    Function, Outcome,
    Shape::{Route, Service},
    phases::ACCESS_AND_LATER,
};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::now("kong.router.get_route", ACCESS_AND_LATER, &[], Route, get_route)
        .doc("The route that the request matched, or nil."),
    Function::now("kong.router.get_service", ACCESS_AND_LATER, &[], Service, get_service)
        .doc("The service of the route that the request matched, or nil."),
];

fn get_route(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    Ok(exchange.route().map_or(Value::Nil, |route| Value::Entity(route.record().clone())))
}

fn get_service(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    Ok(exchange.service().map_or(Value::Nil, |service| Value::Entity(service.record().clone())))
}
