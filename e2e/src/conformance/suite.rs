//! Starts a gateway for each folder of scenarios and replays the folder, in the manner of libtest.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use serde_json::Value;

use super::replay::{Settling, replay};
use super::scenario::{self, Scenario};
use crate::gateway::{Builder, Gateway};
use crate::postgres::{Database, Postgres};
use crate::setup;
use crate::upstream::Upstream;
use crate::wait::{PATIENCE, wait_until};

/// How long a changed configuration may take until requests see it.
const SETTLING: Duration = Duration::from_secs(5);

/// `conformance/expected.yaml`: what does not run, or does not pass yet.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    waiting: Vec<Waiting>,
}

/// A folder that is not run, or a scenario that is run and known to differ.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiting {
    path: String,
    reason: String,
}

/// `conformance/differences/FOLDER/NAME.yaml`: where Silverback answers otherwise on purpose. Each
/// step's number has a JSON merge patch (RFC 7396) for the recorded expectation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    steps: BTreeMap<usize, Value>,
}

/// How one scenario ended.
enum Outcome {
    Passed,
    Failed(Vec<String>),
    /// Not passed, as expected, and why.
    Waits(String),
    Filtered,
}

#[derive(Default)]
struct Count {
    passed: usize,
    failed: Vec<(String, Vec<String>)>,
    waiting: usize,
    filtered: usize,
}

/// Runs the scenarios whose `FOLDER/NAME` contains one of the arguments, all without any. With
/// `--include-ignored`, folders that wait are run as well. Exits with 1 when one fails.
pub fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let all = arguments.iter().any(|argument| argument == "--include-ignored");
    let filters: Vec<String> = arguments.into_iter().filter(|a| !a.starts_with('-')).collect();
    let started = Instant::now();
    let count = match run(&filters, all) {
        Ok(count) => count,
        Err(why) => {
            println!("error: {why}");
            std::process::exit(1);
        }
    };
    for (name, lines) in &count.failed {
        println!("\n---- {name}\n{}", lines.join("\n"));
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; {} ignored; 0 measured; {} filtered out; \
         finished in {:.2}s",
        if count.failed.is_empty() { "ok" } else { "FAILED" },
        count.passed,
        count.failed.len(),
        count.waiting,
        count.filtered,
        started.elapsed().as_secs_f64(),
    );
    std::process::exit(i32::from(!count.failed.is_empty()));
}

fn run(filters: &[String], all: bool) -> Result<Count, String> {
    // The scenarios name the upstreams' ports, so only one run at a time can have them.
    let lock = fs::File::create(std::env::temp_dir().join("silverback-conformance.lock"));
    let lock = lock.map_err(|err| err.to_string())?;
    lock.lock().map_err(|err| err.to_string())?;
    let _upstreams = upstreams()?;
    let expected = read_expected()?;
    let mut count = Count::default();
    for (folder, store) in folders_and_stores()? {
        let name = format!("{}{}", name_of(&folder), store.suffix());
        let files = files(&folder)?;
        let chosen = |file: &PathBuf| {
            let name = format!("{name}/{}", name_of(file));
            filters.is_empty() || filters.iter().any(|filter| name.contains(filter))
        };
        let waits = expected.waiting.iter().find(|w| w.path == name_of(&folder));
        let outcomes = match waits {
            _ if !files.iter().any(chosen) => files.iter().map(|_| Outcome::Filtered).collect(),
            Some(waiting) if !all => {
                files.iter().map(|_| Outcome::Waits(waiting.reason.clone())).collect()
            }
            _ => run_folder(&folder, store, &files, chosen, &expected, waits.is_some())?,
        };
        for (file, outcome) in files.iter().zip(outcomes) {
            count.add(format!("{name}/{}", name_of(file)), outcome);
        }
    }
    Ok(count)
}

impl Count {
    fn add(&mut self, name: String, outcome: Outcome) {
        match outcome {
            Outcome::Passed => {
                println!("test {name} ... ok");
                self.passed += 1;
            }
            Outcome::Waits(reason) => {
                println!("test {name} ... ignored, {reason}");
                self.waiting += 1;
            }
            Outcome::Failed(lines) => {
                println!("test {name} ... FAILED");
                self.failed.push((name, lines));
            }
            Outcome::Filtered => self.filtered += 1,
        }
    }
}

/// What keeps the entities of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Memory,
    Sqlite,
    Postgres,
}

impl Kept {
    /// What stands behind the names of a folder's scenarios.
    fn suffix(self) -> &'static str {
        match self {
            Kept::Memory | Kept::Sqlite => "",
            Kept::Postgres => "@postgres",
        }
    }
}

/// The folders; those that write entities once for each database.
fn folders_and_stores() -> Result<Vec<(PathBuf, Kept)>, String> {
    let mut all = Vec::new();
    for folder in folders()? {
        let settings = scenario::environment(&folder)?;
        let mode = settings.iter().find(|(name, _)| name == "mode");
        match mode.map_or("dbless", |(_, mode)| mode.as_str()) {
            "dbless" => all.push((folder, Kept::Memory)),
            "db" => {
                all.push((folder.clone(), Kept::Sqlite));
                all.push((folder, Kept::Postgres));
            }
            mode => return Err(format!("{}: mode={mode}: dbless or db", folder.display())),
        }
    }
    Ok(all)
}

fn run_folder(
    folder: &Path,
    store: Kept,
    files: &[PathBuf],
    chosen: impl Fn(&PathBuf) -> bool,
    expected: &Expected,
    folder_waits: bool,
) -> Result<Vec<Outcome>, String> {
    let started = start(folder, store);
    let one = |file: &PathBuf| {
        if !chosen(file) {
            return Outcome::Filtered;
        }
        let name = format!("{}/{}", name_of(folder), name_of(file));
        let waiting = expected.waiting.iter().find(|waiting| waiting.path == name);
        let settling = if waiting.is_some() { SETTLING / 5 } else { SETTLING };
        let lines = match &started {
            Ok((gateway, _)) => run_one(gateway, file, &name, Settling(settling)),
            Err(why) => Err(why.clone()),
        };
        let lines = lines.unwrap_or_else(|why| vec![why]);
        match waiting {
            None if lines.is_empty() => Outcome::Passed,
            None => Outcome::Failed(lines),
            Some(waiting) if !lines.is_empty() => Outcome::Waits(waiting.reason.clone()),
            Some(_) if folder_waits => Outcome::Passed,
            Some(_) => {
                let advice = "it passes now: take it off conformance/expected.yaml";
                Outcome::Failed(vec![advice.into()])
            }
        }
    };
    Ok(files.iter().map(one).collect())
}

fn run_one(
    gateway: &Gateway,
    file: &Path,
    name: &str,
    settling: Settling,
) -> Result<Vec<String>, String> {
    let mut scenario = scenario::read(file)?;
    let overlay = scenario::folder().join(format!("differences/{name}.yaml"));
    if overlay.exists() {
        patch_expectations(&mut scenario, &overlay)?;
    }
    replay(gateway, &scenario, settling)
}

fn patch_expectations(scenario: &mut Scenario, overlay: &Path) -> Result<(), String> {
    let text = fs::read_to_string(overlay).map_err(|err| err.to_string())?;
    let difference: Difference =
        serde_yaml_ng::from_str(&text).map_err(|err| format!("{}: {err}", overlay.display()))?;
    for (number, patch) in &difference.steps {
        let step = number.checked_sub(1).and_then(|i| scenario.steps.get_mut(i));
        let step = step.ok_or(format!("{}: there is no step {number}", overlay.display()))?;
        merge(&mut step.expect, patch);
    }
    Ok(())
}

/// JSON merge patch.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Default::default());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.shift_remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Starts the gateway with the folder's settings, and waits for its plugin servers.
fn start(folder: &Path, store: Kept) -> Result<(Gateway, Option<Database>), String> {
    let database = (store == Kept::Postgres).then(|| Postgres::shared().database());
    let mut builder = match (&database, store) {
        (Some(database), _) => {
            database.bootstrap();
            database.gateway()
        }
        (None, Kept::Memory) => Builder::new(),
        (None, _) => Builder::new().set("database", "sqlite"),
    }
    .set("log_level", "notice");
    let mut sockets = Vec::new();
    for (name, value) in scenario::environment(folder)? {
        if name == "mode" {
            continue;
        }
        let value = fill_marks(&value, builder.prefix());
        if name.starts_with("KONG_PLUGINSERVER_") && name.ends_with("_SOCKET") {
            sockets.push(value.clone());
        }
        builder = builder.environment(&name, &value);
    }
    let gateway = catch_unwind(AssertUnwindSafe(|| builder.try_start()));
    let gateway = gateway.map_err(|_| "the gateway could not be run")?;
    let gateway = gateway.map_err(|why| format!("the gateway did not start: {why}"))?;
    for socket in sockets {
        let listens = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        let waited = catch_unwind(|| wait_until(&socket, PATIENCE, listens));
        waited.map_err(|_| format!("nothing listens on {socket}\n{}", gateway.log()))?;
    }
    Ok((gateway, database))
}

fn fill_marks(value: &str, prefix: &Path) -> String {
    let mut value = value
        .replace("{prefix}", &prefix.display().to_string())
        .replace("{plugins}", &scenario::folder().join("plugins").display().to_string());
    for mark in ["{py}", "{js}", "{go}"] {
        if value.contains(mark) {
            let path = match mark {
                "{py}" => setup::python_server(),
                "{js}" => setup::js_server(),
                _ => setup::env("go/bin"),
            };
            value = value.replace(mark, &path.display().to_string());
        }
    }
    value
}

fn upstreams() -> Result<Vec<Upstream>, String> {
    let pems = scenario::pems()?;
    let key = pems.get("upstream").ok_or("pems.json has no key `upstream`")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|err| err.to_string())?;
    let file = scenario::folder().join("tls.crt");
    let chain = CertificateDer::pem_file_iter(&file).map_err(|err| err.to_string())?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|err| err.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|err| format!("the upstream's certificate: {err}"))?;
    let tls = Some(Arc::new(tls));
    let listeners = [(9800, None), (9801, None), (9802, None), (9843, tls)];
    let listen = |(port, tls)| {
        let upstream = Upstream::listen(port, tls, false);
        upstream.map_err(|err| format!("the scenarios' upstream needs port {port}: {err}"))
    };
    listeners.into_iter().map(listen).collect()
}

fn read_expected() -> Result<Expected, String> {
    let file = scenario::folder().join("expected.yaml");
    let text = fs::read_to_string(&file).map_err(|err| format!("{}: {err}", file.display()))?;
    let expected: Expected = serde_yaml_ng::from_str(&text).map_err(|err| err.to_string())?;
    for Waiting { path, reason } in &expected.waiting {
        let scenarios = scenario::folder().join("scenarios");
        let is_there =
            scenarios.join(path).is_dir() || scenarios.join(format!("{path}.yaml")).is_file();
        if !is_there || reason.is_empty() {
            return Err(format!("{}: {path} names nothing, or has no reason", file.display()));
        }
    }
    Ok(expected)
}

fn folders() -> Result<Vec<PathBuf>, String> {
    sorted(&scenario::folder().join("scenarios"), |path| path.is_dir())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    sorted(folder, |path| path.extension().is_some_and(|end| end == "yaml"))
}

fn sorted(folder: &Path, keep: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|err| format!("{}: {err}", folder.display()))?;
    let mut out: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    out.retain(|path| keep(path));
    out.sort();
    Ok(out)
}

/// A folder's name, a file's without its extension.
fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_list_of_what_waits_names_what_is_there() {
        read_expected().unwrap();
    }

    /// A deliberate difference is explained where one looks for it, and patches what exists.
    #[test]
    fn every_difference_is_explained() {
        let text = fs::read_to_string(scenario::folder().join("differences.md")).unwrap();
        let folder = scenario::folder().join("differences");
        for folder in sorted(&folder, Path::is_dir).unwrap_or_default() {
            for file in files(&folder).unwrap() {
                let name = format!("{}/{}", name_of(&folder), name_of(&file));
                assert!(text.contains(&name), "differences.md does not name {name}");
                let recorded = scenario::folder().join(format!("scenarios/{name}.yaml"));
                patch_expectations(&mut scenario::read(&recorded).unwrap(), &file).unwrap();
            }
        }
    }

    #[test]
    fn a_patch_replaces_adds_and_removes() {
        let mut target = json!({"status": 200, "json": {"a": 1, "b": 2}});
        merge(&mut target, &json!({"status": 500, "json": {"a": null}, "body": "x"}));
        assert_eq!(target, json!({"status": 500, "json": {"b": 2}, "body": "x"}));
    }
}
