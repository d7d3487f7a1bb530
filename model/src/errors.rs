//! What goes wrong with configuration, said in Kong's words: a tree of errors by field, and the
//! numbered faults that the Admin API answers (kong/db/errors.lua).

mod flatten;
mod pretty;

use std::fmt;

use serde_json::{Map, Value, json};

use crate::Record;

pub use flatten::flatten;
pub use pretty::{pretty, pretty_line};

/// The name under which errors stand that concern more than one field.
pub const ENTITY: &str = "@entity";

/// Errors by field: a text, a list with `null` for the elements that are right, or such a tree
/// again. `@entity` holds a list of texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Errors(Record);

impl Errors {
    /// No errors.
    pub fn new() -> Errors {
        Errors::default()
    }

    /// One error of one field.
    pub fn of(field: &str, error: impl Into<Value>) -> Errors {
        let mut errors = Errors::new();
        errors.set(field, error);
        errors
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets what is wrong with a field, in place of what was said before.
    pub fn set(&mut self, field: &str, error: impl Into<Value>) {
        self.0.insert(field.to_owned(), error.into());
    }

    /// Sets what is wrong with a field of nested records, named with dots: `config.redis.host`.
    pub fn set_path(&mut self, path: &str, error: impl Into<Value>) {
        set_path(&mut self.0, path, error.into());
    }

    /// Adds an error that concerns more than one field.
    pub fn add_entity(&mut self, error: impl Into<Value>) {
        let list = self.0.entry(ENTITY).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(error.into());
        }
    }

    /// The error of a field.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    /// Takes the error of a field away.
    pub fn remove(&mut self, field: &str) -> Option<Value> {
        self.0.shift_remove(field)
    }

    /// The tree, as `fields` of a fault shows it.
    pub fn fields(&self) -> &Record {
        &self.0
    }

    /// `Ok` if nothing is wrong.
    ///
    /// # Errors
    /// These errors, if there are any.
    pub fn into_result(self) -> Result<(), Errors> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// One line for each error, two levels deep, in the order in which Kong's messages have them.
    fn lines(&self) -> Vec<String> {
        let entity = match self.0.get(ENTITY) {
            Some(Value::Array(list)) => list.as_slice(),
            _ => &[],
        };
        let mut lines: Vec<String> = entity.iter().map(shown).collect();
        for (field, error) in sorted(&self.0) {
            match error {
                _ if field == ENTITY => {}
                Value::Object(nested) => {
                    for (name, error) in sorted(nested) {
                        lines.push(format!("{field}.{name}: {}", shown(error)));
                    }
                }
                Value::Array(list) => {
                    let wrong = list.iter().enumerate().filter(|(_, error)| !error.is_null());
                    lines.extend(
                        wrong.map(|(i, error)| format!("{field}.{}: {}", i + 1, shown(error))),
                    );
                }
                error => lines.push(format!("{field}: {}", shown(error))),
            }
        }
        lines
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("; "))
    }
}

impl std::error::Error for Errors {}

impl From<Errors> for Value {
    fn from(errors: Errors) -> Value {
        Value::Object(errors.0)
    }
}

impl From<Record> for Errors {
    fn from(fields: Record) -> Errors {
        Errors(fields)
    }
}

fn sorted(fields: &Record) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    fields
}

fn shown(error: &Value) -> String {
    match error {
        Value::String(text) => text.clone(),
        error => pretty(error),
    }
}

fn set_path(record: &mut Record, path: &str, value: Value) {
    let Some((head, tail)) = path.split_once('.') else {
        record.insert(path.to_owned(), value);
        return;
    };
    let nested = record.entry(head).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(nested) = nested {
        set_path(nested, tail, value);
    }
}

/// What kind of fault: its number, name and HTTP status (kong/db/errors.lua,
/// kong/api/endpoints.lua).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// The key does not fit the schema.
    InvalidPrimaryKey = 1,
    /// Fields do not fit the schema.
    SchemaViolation = 2,
    /// An entity of this key exists already.
    PrimaryKeyViolation = 3,
    /// A reference to what does not exist, or of what is to be deleted.
    ForeignKeyViolation = 4,
    /// Another entity has the same value in a unique field.
    UniqueViolation = 5,
    /// There is no such entity.
    NotFound = 6,
    /// The offset of a page is not one of ours.
    InvalidOffset = 7,
    /// The database failed.
    DatabaseError = 8,
    /// The size of a page is out of range.
    InvalidSize = 9,
    /// The name in the path does not fit the schema.
    InvalidUnique = 10,
    /// Options such as `ttl` or `tags` are wrong.
    InvalidOptions = 11,
    /// The store cannot do this.
    OperationUnsupported = 12,
    /// References by name that lead nowhere.
    ForeignKeysUnresolved = 13,
    /// A declarative configuration is wrong.
    DeclarativeConfig = 14,
    /// A field's value could not be made from others.
    TransformationError = 15,
    /// A reference does not fit the schema.
    InvalidForeignKey = 16,
    /// There is no such workspace.
    InvalidWorkspace = 17,
    /// A field is not unique across workspaces.
    InvalidUniqueGlobal = 18,
    /// Other entities need this one.
    ReferencedByOthers = 19,
    /// A search that cannot be done.
    InvalidSearchQuery = 20,
    /// Changes from a control plane are wrong.
    SyncDeltas = 21,
}

impl Code {
    /// The name that stands beside the number.
    pub fn name(self) -> &'static str {
        match self {
            Code::InvalidPrimaryKey => "invalid primary key",
            Code::SchemaViolation => "schema violation",
            Code::PrimaryKeyViolation => "primary key violation",
            Code::ForeignKeyViolation => "foreign key violation",
            Code::UniqueViolation => "unique constraint violation",
            Code::NotFound => "not found",
            Code::InvalidOffset => "invalid offset",
            Code::DatabaseError => "database error",
            Code::InvalidSize => "invalid size",
            Code::InvalidUnique => "invalid unique",
            Code::InvalidOptions => "invalid options",
            Code::OperationUnsupported => "operation unsupported",
            Code::ForeignKeysUnresolved => "foreign keys unresolved",
            Code::DeclarativeConfig => "invalid declarative configuration",
            Code::TransformationError => "transformation error",
            Code::InvalidForeignKey => "invalid foreign key",
            Code::InvalidWorkspace => "invalid workspace",
            Code::InvalidUniqueGlobal => "invalid global query",
            Code::ReferencedByOthers => "referenced by others",
            Code::InvalidSearchQuery => "invalid search query",
            Code::SyncDeltas => "invalid sync deltas",
        }
    }

    /// The HTTP status of the Admin API's answer.
    pub fn status(self) -> u16 {
        match self {
            Code::InvalidPrimaryKey
            | Code::SchemaViolation
            | Code::PrimaryKeyViolation
            | Code::ForeignKeyViolation
            | Code::InvalidOffset
            | Code::InvalidSize
            | Code::InvalidUnique
            | Code::InvalidOptions
            | Code::ForeignKeysUnresolved
            | Code::DeclarativeConfig
            | Code::InvalidSearchQuery
            | Code::ReferencedByOthers => 400,
            Code::NotFound => 404,
            Code::OperationUnsupported => 405,
            Code::UniqueViolation => 409,
            Code::DatabaseError
            | Code::TransformationError
            | Code::InvalidForeignKey
            | Code::InvalidWorkspace
            | Code::InvalidUniqueGlobal
            | Code::SyncDeltas => 500,
        }
    }
}

/// A fault as the Admin API answers it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Whether the same may go well later: the database is not there.
    pub temporary: bool,
    /// What kind of fault.
    pub code: Code,
    /// The kind's name; that of [`Code::InvalidUnique`] says which field.
    pub name: Box<str>,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What is wrong by field, or the key that is meant.
    pub fields: Option<Record>,
}

impl Fault {
    fn new(code: Code, message: String, fields: Option<Record>) -> Fault {
        Fault { temporary: false, code, name: code.name().into(), message, fields }
    }

    /// The answer's body.
    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "code": self.code as u8,
            "name": self.name,
            "message": self.message,
        });
        if let Some(fields) = &self.fields {
            let name = if self.code == Code::InvalidOptions { "options" } else { "fields" };
            body[name] = Value::Object(fields.clone());
        }
        body
    }

    /// The answer's HTTP status.
    pub fn status(&self) -> u16 {
        if self.temporary { 503 } else { self.code.status() }
    }

    /// Fields do not fit the schema.
    pub fn schema_violation(errors: Errors) -> Fault {
        let message = counted(&errors.lines(), "schema violation", "schema violations");
        Fault::new(Code::SchemaViolation, message, Some(errors.0))
    }

    /// The key does not fit the schema; `key` holds what is wrong by field.
    pub fn invalid_primary_key(key: Record) -> Fault {
        let message = format!("invalid primary key: '{}'", line(&key));
        Fault::new(Code::InvalidPrimaryKey, message, Some(key))
    }

    /// A reference does not fit the schema.
    pub fn invalid_foreign_key(key: Record) -> Fault {
        let message = format!("invalid foreign key: '{}'", line(&key));
        Fault::new(Code::InvalidForeignKey, message, Some(key))
    }

    /// An entity of this key exists already.
    pub fn primary_key_violation(key: Record) -> Fault {
        let message = format!("primary key violation on key '{}'", line(&key));
        Fault::new(Code::PrimaryKeyViolation, message, Some(key))
    }

    /// `field` refers by `key` to an entity of `parent` that does not exist.
    pub fn foreign_key_missing(field: &str, key: Record, parent: &str) -> Fault {
        let message = format!(
            "the foreign key '{}' does not reference an existing '{parent}' entity.",
            line(&key)
        );
        let fields = Record::from_iter([(field.to_owned(), Value::Object(key))]);
        Fault::new(Code::ForeignKeyViolation, message, Some(fields))
    }

    /// An entity of `parent` is to be deleted, but one of `child` refers to it.
    pub fn foreign_key_restricted(parent: &str, child: &str) -> Fault {
        let message = format!("an existing '{child}' entity references this '{parent}' entity");
        let fields = Record::from_iter([("@referenced_by".to_owned(), child.into())]);
        Fault::new(Code::ForeignKeyViolation, message, Some(fields))
    }

    /// References by name that lead nowhere.
    pub fn foreign_keys_unresolved(errors: Errors) -> Fault {
        let message = counted(&errors.lines(), "foreign key unresolved", "foreign keys unresolved");
        Fault::new(Code::ForeignKeysUnresolved, message, Some(errors.0))
    }

    /// Another entity has these values in unique fields.
    pub fn unique_violation(key: Record) -> Fault {
        let key_text = line(&key).replace("\"userdata: NULL\"", "null");
        let message = format!("UNIQUE violation detected on '{key_text}'");
        Fault::new(Code::UniqueViolation, message, Some(key))
    }

    /// There is no entity of this primary key.
    pub fn not_found(key: Record) -> Fault {
        let message = format!("could not find the entity with primary key '{}'", line(&key));
        Fault::new(Code::NotFound, message, Some(key))
    }

    /// There is no entity with these values.
    pub fn not_found_by_field(filter: Record) -> Fault {
        let message = format!("could not find the entity with '{}'", line(&filter));
        Fault::new(Code::NotFound, message, Some(filter))
    }

    /// The offset of a page is not one of ours.
    pub fn invalid_offset(offset: &str, why: &str) -> Fault {
        let message = format!("'{offset}' is not a valid offset: {why}");
        Fault::new(Code::InvalidOffset, message, None)
    }

    /// The database failed.
    pub fn database_error(why: impl Into<String>) -> Fault {
        Fault::new(Code::DatabaseError, why.into(), None)
    }

    /// The database is not there, or not now.
    pub fn database_unreachable(why: impl Into<String>) -> Fault {
        Fault { temporary: true, ..Fault::database_error(why) }
    }

    /// A field's value could not be made from others.
    pub fn transformation_error(why: impl Into<String>) -> Fault {
        Fault::new(Code::TransformationError, why.into(), None)
    }

    /// The size of a page is out of range.
    pub fn invalid_size(why: impl Into<String>) -> Fault {
        Fault::new(Code::InvalidSize, why.into(), None)
    }

    /// The value of the unique `field` in a path does not fit the schema.
    pub fn invalid_unique(field: &str, why: impl Into<String>) -> Fault {
        let mut fault = Fault::new(Code::InvalidUnique, why.into(), None);
        fault.name = format!("invalid unique {field}").into();
        fault
    }

    /// Options such as `ttl` or `tags` are wrong.
    pub fn invalid_options(errors: Errors) -> Fault {
        let message = counted(&errors.lines(), "invalid option", "option violations");
        Fault::new(Code::InvalidOptions, message, Some(errors.0))
    }

    /// The store cannot do this.
    pub fn operation_unsupported(why: impl Into<String>) -> Fault {
        Fault::new(Code::OperationUnsupported, why.into(), None)
    }

    /// A declarative configuration is wrong.
    pub fn declarative_config(errors: Errors) -> Fault {
        let message = format!("declarative config is invalid: {}", line(&errors.0));
        Fault::new(Code::DeclarativeConfig, message, Some(errors.0))
    }

    /// Changes from a control plane are wrong.
    pub fn sync_deltas(errors: Errors) -> Fault {
        let message = format!("sync deltas is invalid: {}", line(&errors.0));
        Fault::new(Code::SyncDeltas, message, Some(errors.0))
    }

    /// There is no such workspace.
    pub fn invalid_workspace(id: &str) -> Fault {
        Fault::new(Code::InvalidWorkspace, format!("invalid workspace '{id}'"), None)
    }

    /// A field is not unique across workspaces.
    pub fn invalid_unique_global(field: &str) -> Fault {
        let message = format!("unique key {field} is invalid for global query");
        Fault::new(Code::InvalidUniqueGlobal, message, None)
    }

    /// Other entities need this one.
    pub fn referenced_by_others(why: impl Into<String>) -> Fault {
        Fault::new(Code::ReferencedByOthers, why.into(), None)
    }

    /// A search that cannot be done.
    pub fn invalid_search_query(why: impl Into<String>) -> Fault {
        Fault::new(Code::InvalidSearchQuery, why.into(), None)
    }
}

impl From<Errors> for Fault {
    fn from(errors: Errors) -> Fault {
        Fault::schema_violation(errors)
    }
}

fn line(fields: &Record) -> String {
    pretty_line(&Value::Object(fields.clone()))
}

fn counted(lines: &[String], one: &str, many: &str) -> String {
    match lines {
        [single] => format!("{one} ({single})"),
        lines => format!("{} {many} ({})", lines.len(), lines.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: Value) -> Record {
        match value {
            Value::Object(record) => record,
            other => unreachable!("not an object: {other}"),
        }
    }

    fn check(fields: Value, expect: &str) {
        let fault = Fault::from(Errors::from(record(fields)));
        assert_eq!(fault.message, expect);
    }

    #[test]
    fn messages_count_and_sort() {
        check(
            json!({"name": "required field missing"}),
            "schema violation (name: required field missing)",
        );
        check(
            json!({"b": "x", "a": {"z": "y"}, "@entity": ["first"]}),
            "3 schema violations (first; a.z: y; b: x)",
        );
        check(
            json!({"protocols": ["expected one of: http"]}),
            "schema violation (protocols.1: expected one of: http)",
        );
        check(
            json!({"config": {"list": [null, "must not be one of: bad", "expected a string"]}}),
            "schema violation (config.list: {\n  [2] = \"must not be one of: bad\",\n  \
             [3] = \"expected a string\"\n})",
        );
    }

    #[test]
    fn faults_have_code_name_fields() {
        let key = record(json!({"service": null, "name": "key-auth"}));
        let fault = Fault::unique_violation(key.clone());
        assert_eq!(fault.status(), 409);
        assert_eq!(
            fault.to_json(),
            json!({
                "code": 5,
                "name": "unique constraint violation",
                "message": "UNIQUE violation detected on '{name=\"key-auth\",service=null}'",
                "fields": key,
            })
        );
    }

    #[test]
    fn paths_nest() {
        let mut errors = Errors::new();
        errors.set_path("config.redis.host", "required field missing");
        assert_eq!(
            Value::from(errors),
            json!({"config": {"redis": {"host": "required field missing"}}})
        );
    }
}
