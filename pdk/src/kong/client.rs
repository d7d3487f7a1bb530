//! `kong.client`: who asks (`kong/pdk/client.lua`).

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use serde_json::Value as Json;
use uuid::Uuid;

use super::{
    Function, Outcome,
    Shape::{Any, Bool, Consumer, Credential, Int, List, Map, None as Nothing, Text},
    Stop, arg, args, headers, ip,
    phases::{ACCESS, ACCESS_AND_LATER, NOT_INIT},
    quick::{self, Given, Lending, Lent},
};
use crate::{Exchange, Record, Scheme, Value};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::quick("kong.client.get_ip", NOT_INIT, &[], Text, get_ip)
        .doc("The address of the connection's other end."),
    Function::quick("kong.client.get_forwarded_ip", NOT_INIT, &[], Text, get_forwarded_ip)
        .doc("The address of the client, behind trusted proxies if there are any."),
    Function::quick("kong.client.get_port", NOT_INIT, &[], Int, get_port)
        .doc("The port of the connection's other end."),
    Function::quick("kong.client.get_forwarded_port", NOT_INIT, &[], Int, get_forwarded_port)
        .doc("The port of the client, behind trusted proxies if there are any."),
    Function::quick(
        "kong.client.get_credential",
        ACCESS_AND_LATER,
        &[],
        Credential,
        get_credential,
    )
    .doc("The credential that the client was authenticated with, or nil."),
    Function::later(
        "kong.client.load_consumer",
        ACCESS_AND_LATER,
        &[arg("consumer_id", Text), arg("search_by_username", Bool)],
        Consumer,
        load_consumer,
    )
    .doc(
        "The consumer of that id, or with `search_by_username` of that id or name; nil if there \
          is none.",
    ),
    Function::quick("kong.client.get_consumer", ACCESS_AND_LATER, &[], Consumer, get_consumer)
        .doc("The consumer that was authenticated, or nil."),
    Function::now(
        "kong.client.authenticate",
        ACCESS,
        &[arg("consumer", Consumer), arg("credential", Credential)],
        Nothing,
        authenticate,
    )
    .doc("Says who the client is: a consumer, a credential, or both."),
    Function::quick(
        "kong.client.get_protocol",
        ACCESS_AND_LATER,
        &[arg("allow_terminated", Bool)],
        Text,
        get_protocol,
    )
    .doc(
        "The protocol of the route that the request matched by: with `allow_terminated`, https \
          also where a trusted proxy has ended TLS.",
    ),
    Function::now("kong.client.get_consumer_group", ACCESS_AND_LATER, &[], Any, get_group)
        .doc("The first of the consumer groups that plugins have set, or nil."),
    Function::now("kong.client.get_consumer_groups", ACCESS_AND_LATER, &[], List, get_groups)
        .doc("The consumer groups that plugins have set, or nil."),
    Function::now(
        "kong.client.set_authenticated_consumer_group",
        ACCESS,
        &[arg("group", Map)],
        Nothing,
        set_group,
    )
    .doc("Sets the consumer group that later plugins see; nil for none."),
    Function::now(
        "kong.client.set_authenticated_consumer_groups",
        ACCESS,
        &[arg("groups", List)],
        Nothing,
        set_groups,
    )
    .doc("Sets the consumer groups that later plugins see; nil for none."),
];

fn get_ip<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(Lent::Address(ip::text(exchange.client.peer.ip())))
}

fn get_forwarded_ip<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(Lent::Address(ip::text(exchange.client.forwarded_ip)))
}

fn get_port<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.client.peer.port().into())
}

fn get_forwarded_port<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.client.forwarded_port.into())
}

fn get_credential<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.client.credential.as_ref().into())
}

fn load_consumer<'a>(exchange: &'a mut Exchange, args: &'a [Value]) -> LocalBoxFuture<'a, Outcome> {
    Box::pin(async move {
        let id = args::string(args, 0, "consumer_id must be a string")?;
        let by_username = !matches!(args::get(args, 1), Value::Nil | Value::Bool(false));
        let is_uuid = id.len() == 36 && Uuid::try_parse(&id).is_ok();
        if !is_uuid && !by_username {
            return Err(args::raise("cannot load a consumer with an id that is not a uuid"));
        }
        let view = &exchange.view;
        let mut found = None;
        if is_uuid {
            found = view.find("consumers", "id", &id).get().await.map_err(Stop::Nil)?;
        }
        if found.is_none() && by_username {
            found = view.find("consumers", "username", &id).get().await.map_err(Stop::Nil)?;
        }
        Ok(found.map_or(Value::Nil, Value::Entity))
    })
}

fn get_consumer<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(exchange.client.consumer.as_ref().into())
}

/// A table as an entity; none for nil.
fn to_record(value: &Value, refusal: &str) -> Result<Option<Arc<Record>>, Stop> {
    match value {
        Value::Nil => Ok(None),
        Value::Entity(record) => Ok(Some(record.clone())),
        // An empty table of a language that has but one kind.
        Value::Array(items) if items.is_empty() => Ok(Some(Arc::default())),
        table => match table.to_json() {
            Json::Object(record) => Ok(Some(Arc::new(record))),
            _ => Err(args::raise(refusal)),
        },
    }
}

fn authenticate(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let consumer = to_record(args::get(args, 0), "consumer must be a table or nil")?;
    let credential = to_record(args::get(args, 1), "credential must be a table or nil")?;
    if consumer.is_none() && credential.is_none() {
        return Err(args::raise("either credential or consumer must be provided"));
    }
    exchange.client.consumer = consumer;
    exchange.client.credential = credential;
    args::done()
}

fn get_protocol<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let Some(route) = exchange.route() else {
        return Err(Stop::Nil("No active route found".to_owned()));
    };
    if let Some(Json::Array(protocols)) = route.record().get("protocols")
        && let [Json::String(only)] = protocols.as_slice()
    {
        return Ok(only.as_str().into());
    }
    if exchange.session.is_some() {
        let tls = exchange.upstream.scheme == Scheme::Https;
        return Ok(Lent::from(if tls { "tls" } else { "tcp" }));
    }
    let terminated = quick::truthy(args, 0);
    if exchange.request.scheme == Scheme::Http && terminated && exchange.client.trusted {
        let proto = headers::text(&exchange.request.headers, "x-forwarded-proto");
        if proto.is_some_and(|proto| proto.contains(',')) {
            return Err(Stop::Nil("Only one X-Forwarded-Proto header allowed".to_owned()));
        }
        let https = proto.is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        return Ok(Lent::from(if https { "https" } else { "http" }));
    }
    Ok(exchange.request.scheme.as_str().into())
}

fn get_group(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    let groups = exchange.client.consumer_groups.as_deref().unwrap_or_default();
    Ok(groups.first().cloned().unwrap_or_default())
}

fn get_groups(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    Ok(exchange.client.consumer_groups.clone().map_or(Value::Nil, Value::Array))
}

fn set_group(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    exchange.client.consumer_groups = match args::get(args, 0) {
        Value::Nil => None,
        group if group.type_name() == "table" => Some(vec![group.clone()]),
        _ => return Err(args::raise("consumer group must be a table or nil")),
    };
    args::done()
}

fn set_groups(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    exchange.client.consumer_groups = match args::get(args, 0) {
        Value::Nil => None,
        Value::Array(groups) => Some(groups.clone()),
        Value::Map(pairs) => Some(pairs.iter().map(|(_, group)| group.clone()).collect()),
        _ => return Err(args::raise("consumer groups must be a table or nil")),
    };
    args::done()
}
