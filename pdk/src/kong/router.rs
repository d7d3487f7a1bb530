//! `kong.router`: what the request matched (`kong/pdk/router.lua`).

use super::{
    Function,
    Shape::{Route, Service},
    phases::ACCESS_AND_LATER,
    quick::{Given, Lending},
};
use silverback_model::Entity;

use crate::Exchange;

pub(super) static FUNCTIONS: &[Function] = &[
    Function::quick("kong.router.get_route", ACCESS_AND_LATER, &[], Route, get_route)
        .doc("The route that the request matched, or nil."),
    Function::quick("kong.router.get_service", ACCESS_AND_LATER, &[], Service, get_service)
        .doc("The service of the route that the request matched, or nil."),
];

fn get_route<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.route().map(Entity::record).into())
}

fn get_service<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.service().map(Entity::record).into())
}
