//! Vault references in kong.conf: `{vault://env/NAME}`.
//!
//! Only the `env` vault can be asked before the node runs; the rules are those of
//! kong/vaults/env/init.lua: the name in capitals, its dashes as underscores, behind the prefix
//! given by `vault_env_prefix` or `?prefix=`. A second part of the path picks a field of JSON text.

use std::collections::HashMap;

/// Whether `text` is a reference.
pub(super) fn is_reference(text: &str) -> bool {
    text.starts_with("{vault://") && text.ends_with('}')
}

/// The secret that `reference` stands for.
///
/// # Errors
/// Why there is none; the text never holds a secret.
pub(super) fn resolve(
    reference: &str,
    environment: &HashMap<String, String>,
    default_prefix: &str,
) -> Result<String, String> {
    let path = reference.trim_start_matches("{vault://").trim_end_matches('}');
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut parts = path.split('/');
    let vault = parts.next().unwrap_or_default();
    if vault != "env" {
        return Err(format!("vault '{vault}' is not available here, only 'env' is"));
    }
    let resource = parts.next().filter(|name| !name.is_empty()).ok_or("it names no variable")?;
    let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix="));
    let name = format!("{}{resource}", prefix.unwrap_or(default_prefix));
    let name = name.replace('-', "_").to_uppercase();
    let value = environment.get(&name).ok_or_else(|| format!("{name} is not set"))?;
    match parts.next() {
        None | Some("") => Ok(value.clone()),
        Some(field) => json_field(value, field)
            .ok_or_else(|| format!("{name} holds no JSON object with text or number '{field}'")),
    }
}

fn json_field(text: &str, field: &str) -> Option<String> {
    match serde_json::from_str::<serde_json::Value>(text).ok()?.get(field)? {
        serde_json::Value::String(value) => Some(value.clone()),
        serde_json::Value::Number(value) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_env_vault() {
        let environment: HashMap<_, _> =
            [("PG_PASS", "a"), ("X_PG_PASS", "b"), ("DB", r#"{"user":"u","port":5}"#)]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into();
        for (reference, prefix, expect) in [
            ("{vault://env/pg-pass}", "", Ok("a")),
            ("{vault://env/PG_PASS}", "x_", Ok("b")),
            ("{vault://env/pg-pass?prefix=X_}", "", Ok("b")),
            ("{vault://env/db/user}", "", Ok("u")),
            ("{vault://env/db/port}", "", Ok("5")),
            (
                "{vault://env/db/none}",
                "",
                Err("DB holds no JSON object with text or number 'none'"),
            ),
            ("{vault://env/none}", "", Err("NONE is not set")),
            ("{vault://aws/x}", "", Err("vault 'aws' is not available here, only 'env' is")),
            ("{vault://env}", "", Err("it names no variable")),
        ] {
            assert!(is_reference(reference));
            let got = resolve(reference, &environment, prefix);
            assert_eq!(got.as_deref().map_err(String::as_str), expect, "{reference}");
        }
        assert!(!is_reference("vault://env/x"));
    }
}
