//! `kong.log`: lines in the log, and the document that logging plugins send
//! (`kong/pdk/log.lua`).

use super::{
    Function, Outcome,
    Shape::{Any, List, Map, None as Nothing, Text},
    arg, args,
    phases::{ANY, LOG},
    serialize,
};
use crate::{Exchange, LogLevel, SerializeMode, Value, logging};

const LINE: &[super::Arg] = &[arg("parts", List)];

pub(super) static FUNCTIONS: &[Function] = &[
    Function::now("kong.log.alert", ANY, LINE, Nothing, alert)
        .doc("Writes a line at level alert: the parts, one after the other."),
    Function::now("kong.log.crit", ANY, LINE, Nothing, crit).doc("The same at level crit."),
    Function::now("kong.log.err", ANY, LINE, Nothing, err).doc("The same at level err."),
    Function::now("kong.log.warn", ANY, LINE, Nothing, warn).doc("The same at level warn."),
    Function::now("kong.log.notice", ANY, LINE, Nothing, notice).doc("The same at level notice."),
    Function::now("kong.log.info", ANY, LINE, Nothing, info).doc("The same at level info."),
    Function::now("kong.log.debug", ANY, LINE, Nothing, debug).doc("The same at level debug."),
    Function::now("kong.log.deprecation", ANY, LINE, Nothing, deprecation).doc(
        "Writes a warning that something is deprecated; a map as the last part says `after` and \
         `removal`, the versions.",
    ),
    Function::now("kong.log.serialize", LOG, &[], Text, serialize_text)
        .doc("The document that logging plugins send about the request, JSON."),
    Function::now(
        "kong.log.set_serialize_value",
        ANY,
        &[arg("key", Text), arg("value", Any), arg("options", Map)],
        Nothing,
        set_serialize_value,
    )
    .doc(
        "Sets a value in that document: `key` is a path with dots, `options.mode` one of set, \
          add (only where there is nothing) and replace (only where there is something).",
    ),
];

fn alert(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    write(LogLevel::Alert, exchange, args)
}

fn crit(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    write(LogLevel::Crit, exchange, args)
}

fn err(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    write(LogLevel::Err, exchange, args)
}

fn warn(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    write(LogLevel::Warn, exchange, args)
}

fn notice(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    write(LogLevel::Notice, exchange, args)
}

fn info(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    write(LogLevel::Info, exchange, args)
}

fn debug(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    write(LogLevel::Debug, exchange, args)
}

fn write(level: LogLevel, exchange: &Exchange, args: &[Value]) -> Outcome {
    if logging::logs(level) {
        let text: Vec<u8> = args.iter().flat_map(args::to_text).collect();
        logging::log(level, super::running_name(exchange), &String::from_utf8_lossy(&text));
    }
    args::done()
}

fn deprecation(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let Some((metadata @ (Value::Map(_) | Value::Entity(_)), parts)) = args.split_last() else {
        return warn(exchange, args);
    };
    let version = |name: &str| metadata.member(name).as_str().map(str::to_owned);
    let note = match (version("after"), version("removal")) {
        (Some(after), Some(removal)) => {
            format!(" (deprecated after {after}, scheduled for removal in {removal})")
        }
        (Some(after), None) => format!(" (deprecated after {after})"),
        (None, Some(removal)) => format!(" (scheduled for removal in {removal})"),
        (None, None) => String::new(),
    };
    let mut parts = parts.to_vec();
    parts.push(note.into());
    warn(exchange, &parts)
}

fn serialize_text(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    let document = serialize::serialize_text(exchange).map_err(args::raise)?;
    Ok(Value::Text(document.into()))
}

fn set_serialize_value(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let key = args::string(args, 0, "key must be a string")?;
    let mode = match args::get(args, 2).member("mode") {
        Value::Nil => SerializeMode::Set,
        mode => match mode.as_str() {
            Some("set") => SerializeMode::Set,
            Some("add") => SerializeMode::Add,
            Some("replace") => SerializeMode::Replace,
            _ => return Err(args::raise("mode must be 'set', 'add' or 'replace'")),
        },
    };
    exchange.serialize.push((key, args::get(args, 1).clone(), mode));
    args::done()
}
