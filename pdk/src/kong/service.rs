//! `kong.service`: where the request goes (`kong/pdk/service.lua`).

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use super::{
    Function, Outcome,
    Shape::{Bool, Int, None as Nothing, Text},
    Stop, arg, args, headers,
    phases::{ACCESS, BEFORE_TARGET},
};
use crate::{Exchange, Target, Timeouts, Value};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::later("kong.service.set_upstream", ACCESS, &[arg("host", Text)], Bool, set_upstream)
        .doc("Sends the request to the upstream of that name; nil if there is none."),
    Function::now(
        "kong.service.set_target",
        BEFORE_TARGET,
        &[arg("host", Text), arg("port", Int)],
        Nothing,
        set_target,
    )
    .doc("Sends the request to a host and port, which also become its Host."),
    Function::now("kong.service.set_retries", ACCESS, &[arg("retries", Int)], Nothing, set_retries)
        .doc("Sets how often a failed try is repeated, 0 to 32767."),
    Function::now(
        "kong.service.set_timeouts",
        ACCESS,
        &[arg("connect_timeout", Int), arg("write_timeout", Int), arg("read_timeout", Int)],
        Nothing,
        set_timeouts,
    )
    .doc("Sets how long to wait for the service, in milliseconds."),
    Function::now(
        "kong.service.set_tls_verify",
        BEFORE_TARGET,
        &[arg("on", Bool)],
        Bool,
        set_tls_verify,
    )
    .doc("Sets whether the service's certificate is verified."),
    Function::now(
        "kong.service.set_tls_verify_depth",
        BEFORE_TARGET,
        &[arg("depth", Int)],
        Bool,
        set_tls_verify_depth,
    )
    .doc("Sets how many certificates may stand between the service's and a trusted one."),
];

fn set_upstream<'a>(exchange: &'a mut Exchange, args: &'a [Value]) -> LocalBoxFuture<'a, Outcome> {
    Box::pin(async move {
        let host = args::string(args, 0, "host must be a string")?;
        let found = exchange.view.find("upstreams", "name", &host).get().await;
        if found.map_err(Stop::Nil)?.is_none() {
            return Err(Stop::Nil(format!("could not find an Upstream named '{host}'")));
        }
        exchange.upstream.target = Some(Target::Upstream(host));
        Ok(Value::Bool(true))
    })
}

fn set_target(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let host = args::string(args, 0, "host must be a string")?;
    let port = args::integer(args, 1, "port", 0, 65535)?;
    let port = u16::try_from(port).unwrap_or_default();
    exchange.upstream.host_header = Some(headers::to_value(host.as_bytes()));
    exchange.upstream.target = Some(Target::Address { host, port });
    args::done()
}

fn set_retries(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let retries = args::integer(args, 0, "retries", 0, 32767)?;
    exchange.upstream.retries = u16::try_from(retries).ok();
    args::done()
}

fn set_timeouts(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let millis = |position, name| {
        let number = args::integer(args, position, name, 1, 2_147_483_646)?;
        Ok::<_, Stop>(Duration::from_millis(number.unsigned_abs()))
    };
    exchange.upstream.timeouts = Some(Timeouts {
        connect: millis(0, "connect_timeout")?,
        write: millis(1, "write_timeout")?,
        read: millis(2, "read_timeout")?,
    });
    args::done()
}

fn set_tls_verify(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let Value::Bool(on) = args::get(args, 0) else {
        return Err(args::raise("argument must be a boolean"));
    };
    exchange.upstream.tls_verify = Some(*on);
    Ok(Value::Bool(true))
}

fn set_tls_verify_depth(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let depth = args::get(args, 0);
    if depth.as_number().is_none() {
        return Err(args::raise("argument must be a number"));
    }
    let depth = depth.as_int().and_then(|depth| u16::try_from(depth).ok());
    let depth =
        depth.ok_or_else(|| args::raise("argument must be a number between 0 and 65535"))?;
    exchange.upstream.tls_verify_depth = Some(depth);
    Ok(Value::Bool(true))
}
