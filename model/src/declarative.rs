//! Declarative files: YAML or JSON with all entities of a node, into a checked set of them
//! (kong/db/declarative/, kong/db/schema/others/declarative_config.lua).
//!
//! A file is read ([`yaml`]), converted if it is of an older format ([`paths`]), taken apart into
//! entities with ids ([`tree`]), checked ([`check`]), made flat ([`resolve`]), and transformed as
//! new entities are. Every error of a step is found before it is refused.

mod check;
mod errors;
mod export;
mod paths;
mod resolve;
mod tree;
mod yaml;

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

use md5::{Digest, Md5};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::errors::Errors;
use crate::schema::Schema;
use crate::set::{Collection, Entities, Kind, Kinds};
use crate::{Record, WORKSPACE};

pub use errors::DeclarativeErrors;
pub use export::{export, to_yaml};

/// The hash of a configuration without entities (kong/constants.lua).
pub const EMPTY_HASH: &str = "00000000000000000000000000000000";

/// The id of the workspace that every node has (kong/constants.lua).
pub const DEFAULT_WORKSPACE_ID: &str = "0dc6f45b-8f8d-40d2-a504-473544ee190b";

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As JSON.
    Json,
    /// As YAML.
    Yaml,
    /// JSON is tried first, then YAML.
    Any,
}

impl Format {
    /// The format of a file by its name: `.json`, `.yml`, `.yaml`.
    pub fn of_file(name: &str) -> Option<Format> {
        match name.rsplit_once('.')?.1 {
            "json" => Some(Format::Json),
            "yml" | "yaml" => Some(Format::Yaml),
            _ => None,
        }
    }
}

/// What a file has become.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The entities, and the default workspace.
    pub entities: Arc<Entities>,
    /// The MD5 of the text in hexadecimal, as `/status` shows it; zeroes if there are no entities.
    pub hash: String,
    /// Entities that were transformed, as they were before: their kind's name, key and fields.
    untransformed: Vec<(String, String, Record)>,
}

/// The answer of `POST /config`: entities by kind and key, secrets as they were sent.
impl Serialize for Loaded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kinds = self.entities.iter().filter(|(kind, _)| kind.schema.name != "workspaces");
        let of_kind = kinds.map(|(kind, collection)| {
            let sent = self.untransformed.iter().filter(|(name, ..)| *name == kind.schema.name);
            let sent = sent.map(|(_, key, record)| (key.as_str(), record)).collect();
            (&kind.schema.name, Shown { kind, collection, sent })
        });
        serializer.collect_map(of_kind)
    }
}

/// The entities of a kind as they are shown.
struct Shown<'a> {
    kind: &'a Kind,
    collection: &'a Collection,
    /// What they were before they were transformed.
    sent: HashMap<&'a str, &'a Record>,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.collection.iter().map(|record| {
            let key = self.kind.key(record);
            // Mostly there are none.
            let sent = if self.sent.is_empty() { None } else { self.sent.get(key.as_str()) };
            let shown = ShownRecord(sent.unwrap_or(&&**record));
            (key, shown)
        }))
    }
}

struct ShownRecord<'a>(&'a Record);

impl Serialize for ShownRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(crate::shown_fields(self.0))
    }
}

/// Loads a text. `kinds` says which entities and plugins there are.
///
/// # Errors
/// If it is no YAML or JSON object, or anything in it is wrong.
pub fn load(text: &str, format: Format, kinds: &Arc<Kinds>) -> Result<Loaded, DeclarativeErrors> {
    load_after(text, format, kinds, &Entities::empty(Arc::clone(kinds)))
}

/// The same in the place of what was loaded before. Entities that are the same in all but when they
/// were made stay those that they are.
///
/// # Errors
/// As [`load`].
pub fn load_after(
    text: &str,
    format: Format,
    kinds: &Arc<Kinds>,
    before: &Entities,
) -> Result<Loaded, DeclarativeErrors> {
    let file = parse(text, format)?;
    load_file(file, hash(text), kinds, before).map_err(|refused| {
        let (errors, file) = *refused;
        let text = (format != Format::Json).then_some(text);
        DeclarativeErrors::of(errors, file, text)
    })
}

/// Loads what has been read already: the JSON body of `POST /config`; as [`load_after`].
///
/// # Errors
/// If anything in it is wrong.
pub fn load_value(
    file: Record,
    kinds: &Arc<Kinds>,
    before: &Entities,
) -> Result<Loaded, DeclarativeErrors> {
    let hash = hash(&Value::Object(file.clone()).to_string());
    load_file(file, hash, kinds, before).map_err(|refused| {
        let (errors, file) = *refused;
        DeclarativeErrors::of(errors, file, None)
    })
}

/// The hash of a text, to tell without loading it whether it is loaded already.
pub fn hash(text: &str) -> String {
    let mut hex = String::with_capacity(32);
    for byte in Md5::digest(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Reads a text as an object, without looking at what it says.
///
/// # Errors
/// If it is no YAML or JSON object.
pub fn parse(text: &str, format: Format) -> Result<Record, DeclarativeErrors> {
    if format != Format::Yaml {
        match serde_json::from_str(text) {
            Ok(Value::Object(file)) => return Ok(file),
            Ok(_) => {}
            Err(error) if format == Format::Json => {
                return Err(DeclarativeErrors::unreadable(&error.to_string()));
            }
            Err(_) => {}
        }
    }
    if format != Format::Json {
        match yaml::parse(text) {
            Ok(Some(Value::Object(file))) => return Ok(file),
            Ok(_) => {}
            Err(error) => return Err(DeclarativeErrors::unreadable(&error.to_string())),
        }
    }
    Err(DeclarativeErrors::unreadable("expected an object"))
}

/// The kinds of which plugins see the workspace: those that Kong's runloop reads with it. Others
/// come to plugins through look-ups, which leave it out.
pub const WITH_WORKSPACE: [&str; 3] = ["routes", "services", "plugins"];

/// What is wrong with a file, and the file.
type Refused = Box<(Errors, Record)>;

fn load_file(
    mut file: Record,
    hash: String,
    kinds: &Arc<Kinds>,
    before: &Entities,
) -> Result<Loaded, Refused> {
    paths::migrate(&mut file);
    let mut lists = tree::lists(kinds, &file);
    if let Err(errors) = check::check(kinds, &file, &mut lists) {
        return Err(Box::new((errors, file)));
    }
    let flat = match resolve::resolve(lists) {
        Ok(flat) => flat,
        // What is told of an entity from here on has its id.
        Err(errors) => return Err(Box::new((errors, tree::with_ids(kinds, &file)))),
    };
    let transform = file.get("_transform") != Some(&Value::Bool(false));
    let hash = if flat.is_empty() { EMPTY_HASH.to_owned() } else { hash };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0.0, |now| now.as_secs_f64());
    let mut untransformed = Vec::new();
    let mut sets: Vec<(String, Vec<Arc<Record>>)> = Vec::new();
    let mut errors = Errors::new();
    for (name, (kind, records)) in flat {
        let mut set = Vec::with_capacity(records.len());
        let transform = transform && may_transform(&kind.schema);
        let before = before.of(name);
        for (key, mut record) in records {
            if WITH_WORKSPACE.contains(&name) {
                record.insert(WORKSPACE.to_owned(), DEFAULT_WORKSPACE_ID.into());
            }
            if transform && has_transformations(&kind.schema, &record) {
                match kind.schema.transform(record.clone(), &record) {
                    Ok(changed) => {
                        untransformed.push((name.to_owned(), key, record));
                        set.push(Arc::new(changed));
                    }
                    Err(error) => errors.set(name, Value::from(error)),
                }
            } else {
                let known = before.get(&key).filter(|known| is_still(known, &record, now));
                set.push(known.cloned().unwrap_or_else(|| Arc::new(record)));
            }
        }
        sets.push((name.to_owned(), set));
    }
    if !errors.is_empty() {
        return Err(Box::new((errors, file)));
    }
    add_default_workspace(kinds, &mut sets);
    let entities = Arc::new(Entities::new(Arc::clone(kinds), sets));
    Ok(Loaded { entities, hash, untransformed })
}

/// Whether an entity of a file is one that was loaded before. When that was does not count where
/// the file says nothing of it.
fn is_still(known: &Record, record: &Record, now: f64) -> bool {
    const TIMES: [&str; 2] = ["created_at", "updated_at"];
    /// How long loading a file may take.
    const JUST_NOW: f64 = 600.0;
    let is_new = |time: &Value| time.as_f64().is_some_and(|time| now - time < JUST_NOW);
    // Both have the order of their schema.
    let mut pairs = known.iter().zip(record);
    let same = |(known, (name, value)): ((&String, &Value), (&String, &Value))| {
        known == (name, value) || known.0 == name && TIMES.contains(&name.as_str()) && is_new(value)
    };
    known.len() == record.len() && pairs.all(same)
}

fn may_transform(schema: &Schema) -> bool {
    let mut schemas = schema.subschemas.values().map(Arc::as_ref).chain([schema]);
    schemas.any(|schema| !schema.transformations.is_empty())
}

fn has_transformations(schema: &Schema, record: &Record) -> bool {
    let special = || schema.subschema(record).is_some_and(|sub| !sub.transformations.is_empty());
    !schema.transformations.is_empty() || special()
}

fn add_default_workspace(kinds: &Kinds, sets: &mut Vec<(String, Vec<Arc<Record>>)>) {
    let is_default =
        |record: &Arc<Record>| record.get("name").is_some_and(|name| name == "default");
    let mut workspaces = sets.iter().filter(|(name, _)| name == "workspaces");
    if workspaces.any(|(_, records)| records.iter().any(is_default)) {
        return;
    }
    if let Some(workspace) = default_workspace(kinds) {
        sets.push(("workspaces".to_owned(), vec![Arc::new(workspace)]));
    }
}

/// The workspace that every node has.
pub fn default_workspace(kinds: &Kinds) -> Option<Record> {
    let Value::Object(workspace) = json!({"id": DEFAULT_WORKSPACE_ID, "name": "default"}) else {
        return None;
    };
    kinds.get("workspaces")?.schema.defaults(workspace).ok()
}

/// A reference to the entity of this id.
fn reference(id: &str) -> Value {
    json!({"id": id})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Field;

    fn kinds() -> Arc<Kinds> {
        let config = Schema::default().with_field("key", Field::string());
        let plain = Schema::plugin("plain", Field::record(config.clone()));
        let alone = Schema::plugin("alone", Field::record(config)).no_consumer();
        let plugins = [("plain", plain), ("alone", alone)];
        Arc::new(Kinds::bundled(plugins.map(|(name, schema)| (name.to_owned(), Arc::new(schema)))))
    }

    fn refused(text: &str) -> DeclarativeErrors {
        load(text, Format::Any, &kinds()).expect_err(text)
    }

    fn check(text: &str, errors: &Value) {
        assert_eq!(&Value::from(refused(text).errors().clone()), errors, "{text}");
    }

    const PASSWORD_NEEDS_CONSUMER: &str =
        "all or none of these fields must be set: 'password', 'consumer.id'";

    #[test]
    fn references_inside_of_entities_must_not_be_there() {
        check(
            "{_format_version: '3.0', consumers: [{username: a, basicauth_credentials: \
             [{username: b, password: c, consumer: none}]}]}",
            &json!({"consumers": [{"basicauth_credentials": [{
                "@entity": [PASSWORD_NEEDS_CONSUMER],
                "consumer": "value must be null",
            }]}]}),
        );
        check(
            "{_format_version: '3.0', basicauth_credentials: \
             [{username: b, password: c, consumer: 00000000-0000-4000-8000-000000000000}]}",
            &json!({"basicauth_credentials": [{
                "@entity": [PASSWORD_NEEDS_CONSUMER],
                "consumer": {"id": "missing primary key"},
            }]}),
        );
    }

    /// A reference that is there, and leads to what is there, is found in the second pass.
    #[test]
    fn references_are_filled_in() {
        let loads = |text: &str| load(text, Format::Any, &kinds()).expect(text);
        for consumer in ["consumer: a", "consumer: {id: 00000000-0000-4000-8000-000000000001}"] {
            let loaded = loads(&format!(
                "{{_format_version: '3.0', consumers: [{{username: a, id: \
                 00000000-0000-4000-8000-000000000001, basicauth_credentials: \
                 [{{username: b, password: c, {consumer}}}]}}]}}"
            ));
            let credential = loaded.entities.of("basicauth_credentials").by("username", "b");
            let credential = credential.expect("credential");
            assert_eq!(
                credential.get("consumer"),
                Some(&reference("00000000-0000-4000-8000-000000000001"))
            );
            // The stored password is hashed, the answer shows it as it was sent.
            assert_ne!(credential.get("password"), Some(&json!("c")));
            let answer = json!(loaded);
            let shown = answer["basicauth_credentials"].as_object().expect("credentials");
            assert!(shown.values().all(|credential| credential["password"] == "c"));
        }
    }

    /// What a plugin cannot be for is told of a reference, not of the place in the file.
    #[test]
    fn plugins_narrow_references() {
        let consumer =
            "{_format_version: '3.0', consumers: [{username: a, plugins: [{name: alone}]}]}";
        assert!(load(consumer, Format::Any, &kinds()).is_ok());
        check(
            "{_format_version: '3.0', consumers: [{username: a}], \
             plugins: [{name: alone, consumer: a}]}",
            &json!({"plugins": [{"consumer": "value must be null"}]}),
        );
    }

    #[test]
    fn references_must_lead_somewhere() {
        check(
            "{_format_version: '3.0', services: [{name: s, host: h, routes: [{name: r, paths: [/], \
             service: {id: 769bdf51-16df-5476-9830-ef26800b5448}}]}]}",
            &json!({"routes": {"r": ["invalid reference 'service: \
                {\"id\":\"769bdf51-16df-5476-9830-ef26800b5448\"}' \
                (no such entry in 'services')"]}}),
        );
    }

    #[test]
    fn remarks_are_texts_and_lists() {
        check(
            "{_format_version: '3.0', _comment: 1, services: [{host: h, _ignore: x, _comment: c}]}",
            &json!({
                "_comment": "expected a string",
                "services": [{"_ignore": "expected an array"}],
            }),
        );
        check(
            "{_format_version: '3.0', services: [text, ~, {host: h}], routes: {a: 1}}",
            &json!({
                "services": ["expected a record", "required field missing"],
                "routes": "expected an array",
            }),
        );
    }

    #[test]
    fn empty_configurations_have_a_hash_of_zeroes() {
        let loaded = load("_format_version: '3.0'\nservices:\n", Format::Yaml, &kinds());
        let loaded = loaded.expect("valid");
        assert_eq!(loaded.hash, EMPTY_HASH);
        assert_eq!(json!(loaded), json!({}));
        let workspace = loaded.entities.of("workspaces").by("name", "default");
        assert_eq!(
            workspace.and_then(|record| record.get("id")),
            Some(&json!(DEFAULT_WORKSPACE_ID))
        );
    }

    /// The hash that is recorded of Kong for this text.
    #[test]
    fn hashes_are_of_the_text() {
        let text = "_format_version: \"3.0\"\nservices:\n- name: echo\n  \
                    url: http://127.0.0.1:9800\n  routes:\n  - name: r1\n    paths: [\"/one\"]\n";
        let loaded = load(text, Format::Any, &kinds()).expect("valid");
        assert_eq!(loaded.hash, "9b436ccef4bb33fdca46d693371d0a9c");
    }

    #[test]
    fn errors_say_where_they_are() {
        let text = "_format_version: '3.0'\nservices:\n- name: one\n  host: h\n  routes:\n  \
                    - name: r\n    paths:\n    - /a\n    - b\n- name: two\n";
        assert_eq!(
            refused(text).describe("kong.yml"),
            [
                "kong.yml:9: services[1] 'one'.routes[1] 'r'.paths[2]: should start with: / (fixed \
                 path) or ~/ (regex path)",
                "kong.yml:10: services[2] 'two'.host: required field missing",
            ]
        );
        assert_eq!(
            refused("a: [").describe("kong.yml"),
            ["kong.yml: failed parsing declarative configuration: 1:4: did not find expected \
              node content"]
        );
        assert_eq!(
            refused("{_format_version: '3.0', plugins: [{name: none}]}").describe("kong.yml"),
            ["kong.yml:1: plugins[1] 'none'.name: plugin 'none' not enabled; add it to the \
              'plugins' configuration property"]
        );
    }

    #[test]
    fn exports_load_again() {
        let kinds = kinds();
        let text = "{_format_version: '3.0', services: [{name: s, host: h, retries: ~, \
                    routes: [{name: r, paths: ['~/a$'], plugins: [{name: plain}]}]}], \
                    consumers: [{username: a, \
                    basicauth_credentials: [{username: b, password: c}]}]}";
        let first = load(text, Format::Any, &kinds).expect("valid");
        let yaml = to_yaml(&export(&first.entities));
        let second = load(&yaml, Format::Yaml, &kinds).expect("valid");
        // Times of change are those of the load.
        let times = regex::Regex::new("\"updated_at\":[0-9.]+").expect("regex");
        let shown = |loaded: &Loaded| {
            times.replace_all(&export(&loaded.entities).to_string(), "").into_owned()
        };
        assert_eq!(shown(&second), shown(&first));
    }

    /// Bytes of every kind, and damaged files, are refused or loaded, but never break the loader.
    #[test]
    fn nothing_breaks_the_loader() {
        let kinds = kinds();
        let file = "_format_version: \"3.0\"\nservices:\n- &s {name: s, url: http://h:1/p, \
                    routes: [{paths: [\"/a\"], hosts: [h.test], plugins: [{name: plain}]}]}\n\
                    upstreams:\n- name: u\n  targets: [{target: 1.2.3.4}]\ncertificates:\n\
                    - {cert: |-\n    x\n  , snis: [{name: a}]}\n\
                    consumers: [<<: *s, custom_id: ~]\n";
        let parts = [
            "- ", "\n", "  ", "{", "}", "[", "]", ": ", "&a", "*a", "<<: *a", "'", "\"", "|", ">",
            "#", "!!int", "%", "---", "...", "?", ",", "~", "0x", "1:2", "\t", "\u{0}", "\u{feff}",
            "é", "services", "routes", "id", "name", "_ignore", "snis", "-1e999", "\\",
        ];
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..3000 {
            let mut text: Vec<char> = file.chars().collect();
            if random(4) == 0 {
                text.clear();
            }
            for _ in 0..=random(8) {
                let part = parts[random(parts.len())];
                let from = random(text.len() + 1);
                let to = (from + random(6)).min(text.len());
                text.splice(from..to, part.chars());
            }
            let text: String = text.into_iter().collect();
            match load(&text, Format::Any, &kinds) {
                Ok(loaded) => {
                    let yaml = to_yaml(&export(&loaded.entities));
                    assert!(yaml::parse(&yaml).is_ok(), "{yaml}");
                }
                Err(errors) => {
                    errors.describe("file");
                    errors.flattened(&kinds);
                }
            }
        }
    }
}
