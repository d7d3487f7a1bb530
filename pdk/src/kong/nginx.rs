//! `kong.nginx`: the web server's view of the request (`kong/pdk/nginx.lua`, and what
//! `kong/runloop/plugin_servers/plugin.lua` adds for plugin servers).

use super::{
    Function, Outcome,
    Shape::{Any, Map, None as Nothing, Number, Text},
    arg, args, ctx, nginx_vars,
    phases::ANY,
    quick::{self, Given, Lending, Lent},
};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::quick("kong.nginx.get_var", ANY, &[arg("name", Text)], Text, get_var).doc(
        "The web server's variable of that name (`request_uri`, `arg_x`, `http_x`...), as \
              text; nil if there is none.",
    ),
    Function::now("kong.nginx.get_tls1_version_str", ANY, &[], Text, get_tls1_version_str)
        .doc("The version of TLS that the client speaks, \"TLSv1.3\"; nil on a plain connection."),
    Function::now(
        "kong.nginx.set_ctx",
        ANY,
        &[arg("key", Text), arg("value", Any)],
        Nothing,
        set_ctx,
    )
    .doc("Leaves a value in the request's `ngx.ctx`; nil removes it."),
    Function::now("kong.nginx.get_ctx", ANY, &[arg("key", Text)], Any, get_ctx)
        .doc("A value out of the request's `ngx.ctx`, or nil."),
    Function::quick("kong.nginx.req_start_time", ANY, &[], Number, req_start_time)
        .doc("When the request came, in seconds since 1970, with milliseconds."),
    Function::quick("kong.nginx.get_subsystem", ANY, &[], Text, get_subsystem)
        .doc("\"http\", or \"stream\" for TCP, TLS and UDP."),
    Function::now("kong.nginx.get_statistics", ANY, &[], Map, get_statistics)
        .doc("Connections and requests since the start of the node."),
];

fn get_var<'e>(exchange: &'e mut Exchange, args: &[Given<'_>]) -> Lending<'e> {
    let name = quick::text(args, 0, "bad variable name")?;
    Ok(Lent::Value(nginx_vars::get(exchange, &String::from_utf8_lossy(name))))
}

fn get_tls1_version_str(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    Ok(exchange.client.tls.as_ref().map_or(Value::Nil, |tls| Value::constant(tls.version)))
}

fn set_ctx(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let key = ctx::key(args).ok_or_else(|| args::raise("table index is nil"))?;
    match args::get(args, 1) {
        Value::Nil | Value::Foreign(_) => exchange.nginx_ctx.remove(&key),
        value => exchange.nginx_ctx.insert(key, value.clone()),
    };
    args::done()
}

fn get_ctx(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    Ok(ctx::key(args).and_then(|key| exchange.nginx_ctx.get(&key).cloned()).unwrap_or_default())
}

fn req_start_time<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double")]
    Ok(Lent::Number(exchange.timing.began_ms() as f64 / 1000.0))
}

fn get_subsystem<'e>(exchange: &'e mut Exchange, _: &[Given<'_>]) -> Lending<'e> {
    Ok(Lent::from(if exchange.session.is_some() { "stream" } else { "http" }))
}

fn get_statistics(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    let counted = exchange.view.statistics();
    let counts = [
        ("connections_active", counted.active),
        ("connections_reading", counted.reading),
        ("connections_writing", counted.writing),
        ("connections_waiting", counted.waiting),
        ("connections_accepted", counted.accepted),
        ("connections_handled", counted.handled),
        ("total_requests", counted.requests),
    ];
    let number = |count: u64| Value::Int(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(Value::Map(
        counts.into_iter().map(|(name, count)| (Value::constant(name), number(count))).collect(),
    ))
}
