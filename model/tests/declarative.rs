//! Declarative files against what Kong answered: every `POST /config` of the recorded scenarios of
//! DB-less mode.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use silverback_model::declarative::{self, Format};
use silverback_model::entities::with_expressions;
use silverback_model::schema::Schema;
use silverback_model::set::{Entities, Kinds};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file of the conformance data")
}

fn conformance() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance")
}

/// The kinds with the plugins whose schemas are recorded.
fn kinds() -> Arc<Kinds> {
    let facts = read(&conformance().join("facts/plugin-schemas.json"));
    let facts: Value = serde_json::from_str(&facts).expect("facts");
    let schemas = facts.as_object().expect("schemas by name").iter();
    let plugins = schemas.filter_map(|(name, json)| {
        Some((name.clone(), Arc::new(Schema::for_plugin(name, json).ok()?)))
    });
    Arc::new(Kinds::bundled(plugins))
}

/// A request's configuration: text, or an object.
enum Config {
    Text(String),
    Object(Value),
}

fn config(step: &Value) -> Option<Config> {
    if let Some(body) = step.get("json") {
        return match body.get("config") {
            Some(Value::String(text)) => Some(Config::Text(text.clone())),
            _ => Some(Config::Object(body.clone())),
        };
    }
    let text = step.get("body")?.as_str()?;
    let yaml = step["headers"].to_string().contains("yaml");
    (yaml && !text.is_empty()).then(|| Config::Text(text.to_owned()))
}

fn answer(config: Config, kinds: &Arc<Kinds>, flat: bool) -> (u16, Value) {
    let result = match config {
        Config::Text(text) => declarative::load(&text, Format::Any, kinds),
        Config::Object(file) => {
            let file = file.as_object().cloned().unwrap_or_default();
            declarative::load_value(file, kinds, &Entities::empty(Arc::clone(kinds)))
        }
    };
    match result {
        Ok(loaded) => (201, json!(loaded)),
        Err(errors) if flat => (400, errors.flattened(kinds)),
        Err(errors) => (400, errors.fault().to_json()),
    }
}

/// Whether a value is as recorded: marks stand for what differs from run to run.
fn same(recorded: &Value, value: &Value, path: &str) -> Result<(), String> {
    let wrong = || Err(format!("{path}: expected {recorded}, got {value}"));
    match (recorded, value) {
        (Value::String(mark), Value::Number(_)) if mark == "<time>" => Ok(()),
        (Value::String(mark), _) if mark == "<any>" => Ok(()),
        (Value::String(text), Value::String(value)) => {
            if *text == masked(value) || text == value {
                Ok(())
            } else {
                wrong()
            }
        }
        (Value::Array(recorded), Value::Array(list)) if recorded.len() == list.len() => {
            recorded.iter().zip(list).enumerate().try_for_each(|(i, (recorded, value))| {
                same(recorded, value, &format!("{path}.{i}"))
            })
        }
        (Value::Object(recorded), Value::Object(fields)) => {
            if let Some(name) = fields.keys().find(|name| !recorded.contains_key(*name)) {
                return Err(format!("{path}.{name}: not recorded, got {}", fields[name]));
            }
            recorded.iter().try_for_each(|(name, recorded)| {
                let path = format!("{path}.{name}");
                same(recorded, fields.get(name).unwrap_or(&json!("(absent)")), &path)
            })
        }
        // Lists of numbers are read as texts where a mark is among them.
        _ if recorded == value => Ok(()),
        _ => wrong(),
    }
}

fn masked(text: &str) -> String {
    let uuid = regex::Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").expect("regex");
    uuid.replace_all(text, "<uuid>").into_owned()
}

fn remove(value: &mut Value, path: &str) {
    match path.split_once('.') {
        Some((head, tail)) => {
            if let Some(inner) = value.get_mut(head) {
                remove(inner, tail);
            }
        }
        None => {
            if let Some(fields) = value.as_object_mut() {
                fields.remove(path);
            }
        }
    }
}

/// Checks a scenario; how many requests were compared, and what differed.
fn check(path: &Path, kinds: &Arc<Kinds>) -> (usize, Vec<String>) {
    let scenario = declarative::parse(&read(path), Format::Yaml).expect("scenario");
    let mut differences = Vec::new();
    let mut compared = 0;
    let steps = scenario.get("steps").and_then(Value::as_array).expect("steps");
    for (i, step) in steps.iter().enumerate() {
        let request = step["request"].as_str().unwrap_or_default();
        let expect = &step["expect"];
        let status = expect["status"].as_u64().unwrap_or_default();
        let own = status == 201 || expect["json"]["code"] == 14;
        let Some(config) = config(step).filter(|_| request.starts_with("POST /config") && own)
        else {
            continue;
        };
        if matches!(&config, Config::Text(text) if text.contains("${")) {
            continue;
        }
        compared += 1;
        let flat = request.contains("flatten_errors") && !request.contains("flatten_errors=0");
        let (got, mut body) = answer(config, kinds, flat);
        for ignored in step["ignore"].as_array().into_iter().flatten() {
            let path = ignored.as_str().and_then(|path| path.strip_prefix("json."));
            remove(&mut body, path.unwrap_or_default());
        }
        let result = if u64::from(got) == status {
            same(&expect["json"], &body, "")
        } else {
            Err(format!("status {got} instead of {status}: {body}"))
        };
        if let Err(difference) = result {
            differences.push(format!("{} step {i} {difference}", path.display()));
        }
    }
    (compared, differences)
}

#[test]
fn files_load_as_recorded() {
    let kinds = kinds();
    let folder = conformance().join("scenarios/admin-dbless");
    let mut compared = 0;
    let mut differences = Vec::new();
    for entry in std::fs::read_dir(folder).expect("scenarios") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let (count, found) = check(&path, &kinds);
            compared += count;
            differences.extend(found);
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared > 60, "only {compared} requests were compared");
}

/// Folders whose configurations use plugins of their own.
const OWN_PLUGINS: [&str; 3] = ["external", "lua", "pdk"];

/// The configuration of every scenario was loaded by Kong.
#[test]
fn configurations_load() {
    let kinds = kinds();
    let routes = kinds.get("routes").expect("routes").schema.as_ref().clone();
    let expressions = Arc::new(Kinds::clone(&kinds).with(with_expressions(routes, |_, _| Ok(()))));
    let mut loaded = 0;
    let mut refused = Vec::new();
    for folder in std::fs::read_dir(conformance().join("scenarios")).expect("folders") {
        let folder = folder.expect("folder").path();
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if OWN_PLUGINS.iter().any(|own| name.starts_with(own)) {
            continue;
        }
        let kinds = if name.contains("expressions") { &expressions } else { &kinds };
        for entry in std::fs::read_dir(&folder).expect("scenarios") {
            let path = entry.expect("entry").path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let scenario = declarative::parse(&read(&path), Format::Yaml).expect("scenario");
            let Some(Value::String(config)) = scenario.get("config") else { continue };
            let config = with_keys(config);
            match declarative::load(&config, Format::Any, kinds) {
                Ok(_) => loaded += 1,
                Err(errors) => refused.extend(errors.describe(&path.display().to_string())),
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(loaded > 100, "only {loaded} configurations were loaded");
}

/// The scenarios name their private keys, which stand in a file of their own.
fn with_keys(config: &str) -> String {
    let pems: Value = serde_json::from_str(&read(&conformance().join("pems.json"))).expect("keys");
    let mut config = config.to_owned();
    for (name, pem) in pems.as_object().expect("keys by name") {
        let pem = STANDARD.decode(pem.as_str().unwrap_or_default()).expect("base64");
        let pem = String::from_utf8(pem).expect("text");
        let json = Value::from(pem.as_str()).to_string();
        config = config.replace(&format!("{{pem/json:{name}}}"), json.trim_matches('"'));
        config = config.replace(&format!("{{pem:{name}}}"), &pem);
    }
    config
}
