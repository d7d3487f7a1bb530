//! `kong.vault`: secrets by reference (`kong/pdk/vault.lua`).

use super::{
    Function, Outcome,
    Shape::{Bool, Map, Text},
    Stop, arg, args,
    phases::ANY,
    uri,
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

impl SecretRef {
    /// Takes a reference apart.
    ///
    /// # Errors
    /// Kong's text for what is no reference or lacks a part.
    pub fn parse(reference: &str) -> Result<SecretRef, String> {
        let inner = reference.strip_prefix("{vault://").and_then(|rest| rest.strip_suffix('}'));
        let inner = inner.ok_or_else(|| format!("not a reference [{reference}]"))?;
        let (inner, version) = match inner.split_once('#') {
            Some((inner, version)) => {
                let version = version
                    .parse()
                    .map_err(|_| format!("reference url has invalid version [{reference}]"))?;
                (inner, Some(version))
            }
            None => (inner, None),
        };
        let (inner, query) = inner.split_once('?').unwrap_or((inner, ""));
        let (name, path) = inner
            .split_once('/')
            .ok_or_else(|| format!("reference url is missing path [{reference}]"))?;
        if name.is_empty() {
            return Err(format!("reference url is missing host [{reference}]"));
        }
        if path.is_empty() {
            return Err(format!("reference url has empty path [{reference}]"));
        }
        let (resource, key) = match path.trim_start_matches('/').rsplit_once('/') {
            Some((resource, "")) => (resource, None),
            Some((resource, key)) => (resource, Some(unescape(key))),
            None => (path.trim_start_matches('/'), None),
        };
        if resource.is_empty() {
            return Err(format!("reference url has invalid path [{reference}]"));
        }
        let config = query.split('&').filter(|pair| !pair.is_empty());
        let config = config.map(|pair| pair.split_once('=').unwrap_or((pair, "true")));
        Ok(SecretRef {
            name: name.to_owned(),
            resource: unescape(resource),
            key,
            config: config.map(|(name, value)| (unescape(name), unescape(value))).collect(),
            version,
        })
    }
}

fn unescape(text: &str) -> String {
    String::from_utf8_lossy(&uri::unescape_component(text.as_bytes())).into_owned()
}

fn is_reference(_: &mut Exchange, args: &[Value]) -> Outcome {
    let text = args::get(args, 0).as_bytes();
    Ok(text.is_some_and(|text| text.starts_with(b"{vault://") && text.ends_with(b"}")).into())
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
