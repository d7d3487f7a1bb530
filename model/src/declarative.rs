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

use std::fmt::Write;
use std::sync::Arc;

use md5::{Digest, Md5};
use serde_json::{Value, json};

use crate::Record;
use crate::errors::Errors;
use crate::schema::Schema;
use crate::set::{Entities, Kinds};

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

impl Loaded {
    /// The answer of `POST /config`: entities by kind and key, secrets as they were sent.
    pub fn answer(&self) -> Value {
        let mut answer = Record::new();
        for (kind, collection) in self.entities.iter() {
            if kind.schema.name == "workspaces" {
                continue;
            }
            let of_kind: Record = collection
                .iter()
                .map(|record| (kind.key(record), Value::Object(Record::clone(record))))
                .collect();
            answer.insert(kind.schema.name.clone(), Value::Object(of_kind));
        }
        for (kind, key, record) in &self.untransformed {
            if let Some(Value::Object(of_kind)) = answer.get_mut(kind) {
                of_kind.insert(key.clone(), Value::Object(record.clone()));
            }
        }
        Value::Object(answer)
    }
}

/// Loads a text. `kinds` says which entities and plugins there are.
///
/// # Errors
/// If it is no YAML or JSON object, or anything in it is wrong.
pub fn load(text: &str, format: Format, kinds: &Arc<Kinds>) -> Result<Loaded, DeclarativeErrors> {
    let file = parse(text, format)?;
    load_file(file, hash(text), kinds).map_err(|refused| {
        let (errors, file) = *refused;
        let text = (format != Format::Json).then_some(text);
        DeclarativeErrors::of(errors, file, text)
    })
}

/// Loads what has been read already: the JSON body of `POST /config`.
///
/// # Errors
/// If anything in it is wrong.
pub fn load_value(file: Record, kinds: &Arc<Kinds>) -> Result<Loaded, DeclarativeErrors> {
    let hash = hash(&Value::Object(file.clone()).to_string());
    load_file(file, hash, kinds).map_err(|refused| {
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

/// What is wrong with a file, and the file.
type Refused = Box<(Errors, Record)>;

fn load_file(mut file: Record, hash: String, kinds: &Arc<Kinds>) -> Result<Loaded, Refused> {
    paths::migrate(&mut file);
    let mut lists = tree::lists(kinds, &file);
    let checked = check::check(kinds, &file, &mut lists).and_then(|()| resolve::resolve(lists));
    let flat = match checked {
        Ok(flat) => flat,
        Err(errors) => return Err(Box::new((errors, file))),
    };
    let transform = file.get("_transform") != Some(&Value::Bool(false));
    let hash = if flat.is_empty() { EMPTY_HASH.to_owned() } else { hash };
    let mut untransformed = Vec::new();
    let mut sets: Vec<(String, Vec<Arc<Record>>)> = Vec::new();
    let mut errors = Errors::new();
    for (name, (kind, records)) in flat {
        let mut set = Vec::with_capacity(records.len());
        for (key, record) in records {
            if transform && has_transformations(&kind.schema, &record) {
                match kind.schema.transform(record.clone(), &record) {
                    Ok(changed) => {
                        untransformed.push((name.to_owned(), key, record));
                        set.push(Arc::new(changed));
                    }
                    Err(error) => errors.set(name, Value::from(error)),
                }
            } else {
                set.push(Arc::new(record));
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
    let workspace = json!({"id": DEFAULT_WORKSPACE_ID, "name": "default"});
    if let (Some(kind), Value::Object(workspace)) = (kinds.get("workspaces"), workspace)
        && let Ok(workspace) = kind.schema.defaults(workspace)
    {
        sets.push(("workspaces".to_owned(), vec![Arc::new(workspace)]));
    }
}

/// A reference to the entity of this id.
fn reference(id: &str) -> Value {
    json!({"id": id})
}
