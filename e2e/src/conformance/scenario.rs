//! Scenario files, and what stands beside them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use serde::Deserialize;
use serde_json::Value;

use crate::setup;

/// A scenario: what to configure, which requests to send, what was answered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    #[expect(dead_code, reason = "for the reader of the file")]
    pub(super) name: String,
    /// The same for all scenarios of a folder, whose gateway.env says it too.
    #[serde(default)]
    pub(super) mode: Mode,
    /// The whole declarative configuration.
    pub(super) config: Option<String>,
    pub(super) steps: Vec<Step>,
}

/// One request. The fields are those of `conformance/README.md`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) request: String,
    #[serde(default)]
    pub(super) to: Listener,
    #[serde(default)]
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) json: Option<Value>,
    pub(super) form: Option<String>,
    pub(super) sni: Option<String>,
    #[serde(default)]
    pub(super) show_certificate: bool,
    #[serde(default)]
    pub(super) show_headers: bool,
    #[serde(default)]
    pub(super) wait: f64,
    #[serde(default)]
    pub(super) once: bool,
    #[serde(default)]
    pub(super) save: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) subset: bool,
    #[serde(default)]
    pub(super) ignore: Vec<String>,
    pub(super) lines: Option<String>,
    #[serde(default)]
    pub(super) unordered: Vec<String>,
    #[serde(default)]
    pub(super) expect: Value,
}

/// Which of the gateway's listeners a request goes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Listener {
    #[default]
    Proxy,
    ProxySsl,
    Admin,
}

/// The folder with everything of the conformance tests.
pub(super) fn folder() -> PathBuf {
    setup::root().join("conformance")
}

/// Reads a scenario, with the private keys put in where `{pem:NAME}` stands for them.
pub(super) fn read(file: &Path) -> Result<Scenario, String> {
    let text = fs::read_to_string(file).map_err(|err| format!("{}: {err}", file.display()))?;
    let mut value: Value =
        serde_yaml_ng::from_str(&text).map_err(|err| format!("{}: {err}", file.display()))?;
    fill_pems(&mut value)?;
    serde_json::from_value(value).map_err(|err| format!("{}: {err}", file.display()))
}

/// The `NAME=VALUE` lines of a folder's gateway.env, `mode` among them.
pub(super) fn environment(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let file = folder.join("gateway.env");
    let text = fs::read_to_string(&file).map_err(|err| format!("{}: {err}", file.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.split_once('=').ok_or(format!("no `=` in {line:?}"))?;
            let mut value = Value::String(value.trim().into());
            fill_pems(&mut value)?;
            Ok((name.trim().into(), value.as_str().unwrap_or_default().into()))
        })
        .collect()
}

/// The throwaway private keys of the scenarios by name, as PEM.
pub(super) fn pems() -> Result<BTreeMap<String, String>, String> {
    let file = folder().join("pems.json");
    let text = fs::read_to_string(&file).map_err(|err| format!("{}: {err}", file.display()))?;
    let coded: BTreeMap<String, String> =
        serde_json::from_str(&text).map_err(|err| format!("{}: {err}", file.display()))?;
    let decode = |(name, coded): (String, String)| {
        let pem = base64::engine::general_purpose::STANDARD.decode(coded);
        let pem = pem.map_err(|err| format!("{name}: {err}"))?;
        Ok((name, String::from_utf8_lossy(&pem).into_owned()))
    };
    coded.into_iter().map(decode).collect()
}

fn fill_pems(value: &mut Value) -> Result<(), String> {
    match value {
        Value::String(text) if text.contains("{pem") => {
            for (name, pem) in pems()? {
                *text = text.replace(&format!("{{pem:{name}}}"), &pem);
                *text = text.replace(&format!("{{pem/json:{name}}}"), &pem.replace('\n', "\\n"));
            }
            Ok(())
        }
        Value::Array(list) => list.iter_mut().try_for_each(fill_pems),
        Value::Object(map) => map.values_mut().try_for_each(fill_pems),
        _ => Ok(()),
    }
}

/// What keeps the entities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// A declarative file, loaded as a whole.
    #[default]
    Dbless,
    /// A database, which a scenario finds empty.
    Db,
}

/// A field that is there, even when it is null.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_can_be_read() {
        let mut count = 0;
        for folder in fs::read_dir(folder().join("scenarios")).unwrap().flatten() {
            environment(&folder.path()).unwrap();
            for file in fs::read_dir(folder.path()).unwrap().flatten() {
                if file.path().extension().is_some_and(|end| end == "yaml") {
                    assert!(!read(&file.path()).unwrap().steps.is_empty());
                    count += 1;
                }
            }
        }
        assert!(count >= 530, "only {count} scenarios");
    }
}
