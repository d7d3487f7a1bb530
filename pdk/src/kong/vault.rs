//! `kong.vault`: secrets by reference (`kong/pdk/vault.lua`).

use super::{
    Function, Outcome,
    Shape::{Bool, Map, Text},
    Stop, arg, args,
    phases::ANY,
};
use crate::{Exchange, SecretRef, Value};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::now("kong.vault.is_reference", ANY, &[arg("reference", Text)], Bool, is_reference)
        .doc("Whether a text is a reference: `{vault://NAME/RESOURCE/KEY}`."),
    Function::now(
        "kong.vault.parse_reference",
        ANY,
        &[arg("reference", Text)],
        Map,
        parse_reference,
    )
    .doc("A reference taken apart: `name`, `resource`, `key`, `config`, `version`."),
    Function::now("kong.vault.get", ANY, &[arg("reference", Text)], Text, get)
        .doc("The secret that a reference names; nil if there is none."),
];

fn is_reference(_: &mut Exchange, args: &[Value]) -> Outcome {
    let text = args::get(args, 0).as_bytes().map(|text| String::from_utf8_lossy(text));
    Ok(text.is_some_and(|text| silverback_model::is_reference(&text)).into())
}

/// The reference among the arguments; what is no text is no reference.
fn reference(args: &[Value]) -> Result<SecretRef, Stop> {
    let text = String::from_utf8_lossy(&args::to_text(args::get(args, 0))).into_owned();
    SecretRef::parse(&text).map_err(Stop::Nil)
}

fn parse_reference(_: &mut Exchange, args: &[Value]) -> Outcome {
    let parsed = reference(args)?;
    let mut parts = vec![
        (Value::constant("name"), Value::from(parsed.name)),
        (Value::constant("resource"), Value::from(parsed.resource)),
    ];
    if let Some(key) = parsed.key {
        parts.push((Value::constant("key"), key.into()));
    }
    if !parsed.config.is_empty() {
        let config = parsed.config.into_iter().map(|(name, value)| (name.into(), value.into()));
        parts.push((Value::constant("config"), Value::Map(config.collect())));
    }
    if let Some(version) = parsed.version {
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        parts.push((Value::constant("version"), version.into()));
    }
    Ok(Value::Map(parts))
}

fn get(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let secret = exchange.view.secret(&reference(args)?).map_err(Stop::Nil)?;
    Ok(secret.into())
}
