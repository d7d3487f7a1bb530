//! What a reference means: a variable, or a place in a directory.

use serde_json::Value;
use silverback_model::{Record, SecretRef, entities::FileVault, set::Entities};

use crate::{
    config::{Config, Kind},
    directory::Place,
};

/// Where a secret comes from.
pub(crate) enum Source {
    /// The variable of this name.
    Env(String),
    /// A file.
    File(Place),
}

impl Source {
    /// What a reference means. The kind `env` is asked by its name alone; other names are prefixes
    /// of vaults first, so that a prefix `file` that somebody has already stays theirs.
    pub(crate) fn of(
        reference: &SecretRef,
        config: &Config,
        entities: Option<&Entities>,
    ) -> Result<Source, String> {
        let name = reference.name.as_str();
        let unknown = || format!("could not find vault ({name})");
        if name == Kind::Env.name() && config.has(Kind::Env) {
            return Ok(env(reference, config.env_prefix.as_deref()));
        }
        let entity = entities.and_then(|entities| entities.of("vaults").by("prefix", name));
        let Some(entity) = entity else {
            return match name == Kind::File.name() && config.has(Kind::File) {
                true => file(reference, config.file.clone(), config),
                false => Err(unknown()),
            };
        };
        let kind = entity.get("name").and_then(Value::as_str).unwrap_or_default();
        let kind = config.kinds.iter().find(|known| known.name() == kind);
        let settings = entity.get("config").and_then(Value::as_object);
        match kind {
            Some(Kind::Env) => {
                let prefix = settings.and_then(|s| s.get("prefix")).and_then(Value::as_str);
                Ok(env(reference, prefix))
            }
            Some(Kind::File) => {
                let settings = Value::Object(settings.cloned().unwrap_or_default());
                let vault = serde_json::from_value(settings);
                let vault = vault.map_err(|fault| format!("vault {name}: config: {fault}"))?;
                file(reference, vault, config)
            }
            None => Err(unknown()),
        }
    }
}

/// kong/vaults/env/init.lua: the name in capitals, its dashes as underscores.
fn env(reference: &SecretRef, prefix: Option<&str>) -> Source {
    let overriding = reference.config.iter().find(|(name, _)| name == "prefix");
    let overriding = overriding.map(|(_, value)| value.as_str());
    // One that does not fit the schema counts as none.
    let overriding = overriding.filter(|prefix| is_env_prefix(prefix));
    let prefix = overriding.or(prefix.filter(|prefix| is_env_prefix(prefix))).unwrap_or_default();
    let mut name = format!("{prefix}{}", reference.resource).replace('-', "_");
    name.make_ascii_uppercase();
    if reference.version == Some(2) {
        name.push_str("_PREVIOUS");
    }
    Source::Env(name)
}

/// `^[%a_-][%a%d_-]*$`, as the schema has it.
fn is_env_prefix(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '-';
    text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

fn file(reference: &SecretRef, mut vault: FileVault, config: &Config) -> Result<Source, String> {
    for (name, value) in &reference.config {
        let wrong = || no_value(Some(&format!("'{name}={value}' in the reference is not usable")));
        let seconds = || value.parse::<u32>().map_err(|_| wrong());
        match name.as_str() {
            "prefix" => vault.prefix = Some(value.clone()),
            "ttl" => vault.ttl = seconds()?,
            "neg_ttl" => vault.neg_ttl = seconds()?,
            "resurrect_ttl" => vault.resurrect_ttl = Some(seconds()?),
            "base64_decode" => vault.base64_decode = value.parse().map_err(|_| wrong())?,
            // Whoever writes a reference does not choose what the node may read.
            "directory" => return Err(wrong()),
            _ => {}
        }
    }
    let place = Place::new(reference, vault, &config.root);
    place.map(Source::File).map_err(|fault| no_value(Some(&fault)))
}

/// The member of a secret that is a JSON object: its text, or its number or boolean as text.
pub(crate) fn member(secret: &str, key: &str) -> Result<String, String> {
    let Ok(object) = serde_json::from_str::<Record>(secret) else {
        // Kong shows the parser's error, which may show the secret.
        return Err("unable to json decode value: it is no JSON object".to_owned());
    };
    match object.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
        None | Some(Value::Null) => Err(format!("subfield {key} not found in JSON secret")),
        Some(_) => Err(format!("unexpected table value in JSON secret for subfield {key}")),
    }
}

/// Kong's text for a secret that is not there, or `why` it can't be had.
pub(crate) fn no_value(why: Option<&str>) -> String {
    match why {
        None => "could not get value from external vault (no value found)".to_owned(),
        Some(why) => format!("could not get value from external vault (no value found ({why}))"),
    }
}

/// Kong's text for an object without the member.
pub(crate) fn no_member(why: &str) -> String {
    format!("could not get value from external vault (could not get subfield value: {why})")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;
    use silverback_model::set::Kinds;

    use super::*;
    use crate::Vaults;

    /// Vaults `env` and `file`, and entities: `my` and `file` are of variables, `other` is of a
    /// kind that is not there.
    fn check(enabled: &[&str], reference: &str, expect: Result<&str, &str>) {
        let environment = [
            ("DB", r#"{"user": "u", "port": 5, "list": []}"#),
            ("PG_PASS", "plain"),
            ("PG_PASS_PREVIOUS", "before"),
            ("X_PG_PASS", "prefixed"),
            ("MY_PG_PASS", "own"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let enabled: Vec<String> = enabled.iter().map(|name| (*name).to_owned()).collect();
        let config = Config::read(&enabled, HashMap::from(environment), |name| {
            (name == "vault_env_prefix" && reference.ends_with("#9}")).then(|| "x-".to_owned())
        });
        let vaults = Vaults::new(config.unwrap_or_else(|(_, text)| panic!("{text}")));
        let mut entities = Entities::empty(Kinds::bundled([]).into());
        for (prefix, name) in [("my", "env"), ("file", "env"), ("other", "hcv")] {
            let entity = json!({
                "id": prefix, "prefix": prefix, "name": name, "config": {"prefix": "my_"},
            });
            entities.put("vaults", entity.as_object().cloned().unwrap_or_default().into());
        }
        let parsed = SecretRef::parse(reference).expect("a reference");
        let got = vaults.get(&parsed, Some(&entities));
        assert_eq!(got.as_deref().map_err(String::as_str), expect, "{reference}");
    }

    #[test]
    fn variables() {
        let none = "could not get value from external vault (no value found)";
        check(&["bundled"], "{vault://env/pg-pass}", Ok("plain"));
        check(&["bundled"], "{vault://env/PG_PASS#2}", Ok("before"));
        check(&["bundled"], "{vault://env/pg-pass#9}", Ok("prefixed"));
        check(&["bundled"], "{vault://env/pg-pass?prefix=X_}", Ok("prefixed"));
        check(&["bundled"], "{vault://env/pg-pass?prefix=1_}", Ok("plain"));
        check(&["bundled"], "{vault://env/none}", Err(none));
        check(&["bundled"], "{vault://env/db/user}", Ok("u"));
        check(&["bundled"], "{vault://env/db/port}", Ok("5"));
        let list = no_member("unexpected table value in JSON secret for subfield list");
        check(&["bundled"], "{vault://env/db/list}", Err(&list));
        let text = no_member("unable to json decode value: it is no JSON object");
        check(&["bundled"], "{vault://env/pg-pass/x}", Err(&text));
    }

    #[test]
    fn names_and_prefixes() {
        check(&["bundled"], "{vault://my/pg-pass}", Ok("own"));
        check(&["bundled"], "{vault://my/pg-pass?prefix=X_}", Ok("prefixed"));
        check(&["bundled"], "{vault://file/pg-pass}", Ok("own"));
        check(&["bundled"], "{vault://none/x}", Err("could not find vault (none)"));
        check(&["bundled"], "{vault://other/x}", Err("could not find vault (other)"));
        check(&["file"], "{vault://env/pg-pass}", Err("could not find vault (env)"));
        check(&["off"], "{vault://my/pg-pass}", Err("could not find vault (my)"));
    }

    #[test]
    fn a_reference_does_not_choose_the_directory() {
        let config = Config::read(&["file".to_owned()], HashMap::new(), |_| None);
        let config = config.unwrap_or_else(|(_, text)| panic!("{text}"));
        let parsed = SecretRef::parse("{vault://file/passwd?directory=/etc}").expect("one");
        let got = Vaults::new(config).get(&parsed, None);
        let text = no_value(Some("'directory=/etc' in the reference is not usable"));
        assert_eq!(got.err(), Some(text));
    }
}
