//! Which table and columns hold a kind, and its entities as rows.
//!
//! The types of columns are the database's to say: it may be an older one's, brought up to date.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use silverback_model::declarative::WITH_WORKSPACE;
use silverback_model::schema::{Field, Flag, Kind as FieldKind, Schema};
use silverback_model::set::{Kind, Kinds};
use silverback_model::{Record, WORKSPACE};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connection::identifier;
use super::error::DatabaseError;
use super::pool::Lease;
use super::value::{Cell, Param};
use crate::ttl::TTL;

/// The column of kinds whose cache key has several fields.
const CACHE_KEY: &str = "cache_key";
/// How many values a cache key has room for.
const CACHE_KEY_VALUES: usize = 5;

/// The tables of all kinds.
#[derive(Debug)]
pub(crate) struct Tables {
    /// The kinds.
    pub(crate) kinds: Arc<Kinds>,
    /// The id of the default workspace, the only one.
    pub(crate) workspace: String,
    tables: HashMap<String, Table>,
}

/// The table of a kind.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its name as SQL writes it.
    pub(crate) name: String,
    /// `SELECT … FROM …`, columns in their order.
    pub(crate) select: String,
    schema: Arc<Schema>,
    columns: Vec<Column>,
    /// Whether its rows are a workspace's.
    pub(crate) in_workspace: bool,
    /// Whether clients see the workspace.
    shows_workspace: bool,
}

#[derive(Debug)]
struct Column {
    name: String,
    kind: Type,
    source: Source,
}

/// What a column holds.
#[derive(Debug, PartialEq)]
enum Source {
    /// A field.
    Field(String),
    /// The field of that name of what a field refers to.
    Reference(String, String),
    CacheKey,
    Workspace,
    Ttl,
}

impl Tables {
    /// Asks the database for its columns.
    pub(crate) async fn read(
        lease: &mut Lease,
        kinds: &Arc<Kinds>,
    ) -> Result<Tables, DatabaseError> {
        let sql = "SELECT c.relname::text, a.attname::text, a.atttypid::int8 FROM pg_attribute a \
                   JOIN pg_class c ON c.oid = a.attrelid \
                   JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND a.attnum > 0 \
                   AND NOT a.attisdropped";
        let schema = Param::new(&json!(lease.schema()), &Type::NAME)?;
        let mut columns: HashMap<String, HashMap<String, Type>> = HashMap::new();
        for row in lease.query(sql, &[schema]).await? {
            let (table, column): (String, String) = (row.get(0), row.get(1));
            let oid: i64 = row.get(2);
            if let Some(kind) = u32::try_from(oid).ok().and_then(Type::from_oid) {
                columns.entry(table).or_default().insert(column, kind);
            }
        }
        let sql = "SELECT id::text FROM workspaces WHERE name = 'default'";
        let row = lease.query(sql, &[]).await?.into_iter().next();
        let workspace = row.map(|row| row.get(0)).ok_or_else(|| {
            DatabaseError::Strange("the database has no workspace 'default'".to_owned())
        })?;
        let mut tables = HashMap::new();
        for kind in kinds.iter() {
            let schema = &kind.schema;
            let name = schema.table_name.as_deref().unwrap_or(&schema.name);
            // Without a table, its plugin was never used: there is nothing of it.
            if let Some(columns) = columns.get(name) {
                tables.insert(schema.name.clone(), Table::new(kind, name, columns));
            }
        }
        Ok(Tables { kinds: Arc::clone(kinds), workspace, tables })
    }

    /// The table of a kind, if there is one.
    pub(crate) fn of(&self, kind: &Kind) -> Option<&Table> {
        self.tables.get(&kind.schema.name)
    }

    /// The kind that a table holds.
    pub(crate) fn kind_of(&self, table: &str) -> Option<&Kind> {
        self.kinds
            .iter()
            .find(|kind| kind.schema.table_name.as_deref().unwrap_or(&kind.schema.name) == table)
    }
}

impl Table {
    fn new(kind: &Kind, name: &str, types: &HashMap<String, Type>) -> Table {
        let schema = Arc::clone(&kind.schema);
        let mut columns = Vec::new();
        let mut add = |name: String, source| {
            if let Some(kind) = types.get(&name) {
                columns.push(Column { name, kind: kind.clone(), source });
            }
        };
        for (field, described) in &schema.fields {
            match &described.kind {
                _ if described.is(Flag::Transient) => {}
                // Every kind that others refer to has one field as its key.
                FieldKind::Foreign { .. } => {
                    let source = Source::Reference(field.clone(), "id".to_owned());
                    add(format!("{field}_id"), source);
                }
                _ => add(field.clone(), Source::Field(field.clone())),
            }
        }
        if schema.cache_key.len() > 1 {
            add(CACHE_KEY.to_owned(), Source::CacheKey);
        }
        if schema.workspaceable {
            add(WORKSPACE.to_owned(), Source::Workspace);
        }
        if schema.ttl {
            add(TTL.to_owned(), Source::Ttl);
        }
        let names: Vec<String> = columns.iter().map(|column| identifier(&column.name)).collect();
        let table = identifier(name);
        Table {
            select: format!("SELECT {} FROM {table}", names.join(", ")),
            name: table,
            in_workspace: columns.iter().any(|column| column.source == Source::Workspace),
            shows_workspace: WITH_WORKSPACE.contains(&schema.name.as_str()),
            columns,
            schema,
        }
    }

    /// The name as SQL writes it and the type of the column that a field stands in.
    pub(crate) fn column(&self, field: &str) -> Option<(String, &Type)> {
        let found = self.columns.iter().find(|column| match &column.source {
            Source::Field(name) | Source::Reference(name, _) => name == field,
            Source::CacheKey => field == CACHE_KEY,
            Source::Workspace => field == WORKSPACE,
            Source::Ttl => field == TTL,
        });
        found.map(|column| (identifier(&column.name), &column.kind))
    }

    /// The field that a column holds.
    pub(crate) fn field_of(&self, column: &str) -> Option<&str> {
        let column = self.columns.iter().find(|other| other.name == column)?;
        match &column.source {
            Source::Field(name) | Source::Reference(name, _) => Some(name),
            _ => None,
        }
    }

    /// The columns' names as SQL writes them, each with whether it is of the primary key.
    pub(crate) fn names(&self) -> impl Iterator<Item = (String, bool)> {
        self.columns.iter().map(|column| {
            let key = match &column.source {
                Source::Field(name) | Source::Reference(name, _) => {
                    self.schema.primary_key.contains(name)
                }
                _ => false,
            };
            (identifier(&column.name), key)
        })
    }

    /// The columns' values of an entity, in their order.
    pub(crate) fn values(
        &self,
        record: &Record,
        workspace: &str,
    ) -> Result<Vec<Param>, DatabaseError> {
        let value = |column: &Column| match &column.source {
            Source::Field(name) => Param::new(record.get(name).unwrap_or(&NULL), &column.kind),
            Source::Reference(name, key) => {
                let id = record.get(name).and_then(|reference| reference.get(key));
                Param::new(id.unwrap_or(&NULL), &column.kind)
            }
            Source::CacheKey => Param::new(&self.cache_key_of(record, workspace), &column.kind),
            Source::Workspace => Param::new(&workspace.into(), &column.kind),
            Source::Ttl => Param::new(record.get(TTL).unwrap_or(&NULL), &column.kind),
        };
        self.columns.iter().map(value).collect()
    }

    /// The entity of a row of [`Table::select`].
    pub(crate) fn record(&self, row: &Row) -> Result<Record, DatabaseError> {
        let mut record = Record::new();
        for (i, column) in self.columns.iter().enumerate() {
            let value = Cell::of(row, i)?;
            match &column.source {
                Source::Field(name) => record.insert(name.clone(), value),
                Source::Reference(name, key) => {
                    let reference = if value.is_null() { value } else { json!({ key: value }) };
                    record.insert(name.clone(), reference)
                }
                Source::Ttl => record.insert(TTL.to_owned(), value),
                Source::Workspace if self.shows_workspace => {
                    record.insert(WORKSPACE.to_owned(), value)
                }
                Source::CacheKey | Source::Workspace => None,
            };
        }
        let mut mended = Vec::new();
        for (name, field) in self.schema.each_field(&record) {
            if let Some(value) = record.get(name).filter(|value| needs_mending(field, value)) {
                let mut value = value.clone();
                mend(field, &mut value);
                // An older version may have written it.
                if matches!(field.kind, FieldKind::Record(_)) {
                    value = field.completed(value);
                }
                mended.push((name.clone(), value));
            }
        }
        record.extend(mended);
        Ok(record)
    }

    /// The text of a cache key by which Kong knows an entity: the kind's name, up to five values,
    /// the workspace (kong/db/dao/init.lua, `cache_key`).
    pub(crate) fn cache_key(&self, values: &str, workspace: &str) -> String {
        let count = self.schema.cache_key.len().max(1);
        let room = ":".repeat(CACHE_KEY_VALUES.saturating_sub(count));
        let workspace = if self.schema.workspaceable { workspace } else { "" };
        format!("{}:{values}{room}:{workspace}", self.schema.name)
    }

    fn cache_key_of(&self, record: &Record, workspace: &str) -> Value {
        let text = |name: &String| match record.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => match value.get("id").and_then(Value::as_str) {
                Some(id) => id.to_owned(),
                None => value.to_string(),
            },
        };
        let values: Vec<String> = self.schema.cache_key.iter().map(text).collect();
        // Where all are null, the primary key takes their place.
        if values.iter().all(String::is_empty) {
            let ids: Vec<String> = self.schema.primary_key.iter().map(text).collect();
            let workspace = if self.schema.workspaceable { workspace } else { "" };
            let room = ":".repeat(CACHE_KEY_VALUES.saturating_sub(ids.len()));
            return format!("{}:{}{room}:{workspace}", self.schema.name, ids.join(":")).into();
        }
        self.cache_key(&values.join(":"), workspace).into()
    }

    /// The key under which Kong's caches hold an entity: that of the schema's `cache_key`, or of
    /// its primary key where it has none.
    pub(crate) fn kong_cache_key(&self, record: &Record, workspace: &str) -> String {
        let key = self.cache_key_of(record, workspace);
        key.as_str().unwrap_or_default().to_owned()
    }
}

static NULL: Value = Value::Null;

/// Whether a value may hold tables that were empty in Lua, which has no lists.
fn needs_mending(field: &Field, value: &Value) -> bool {
    (value.is_object() || value.is_array())
        && !matches!(field.kind, FieldKind::Foreign { .. } | FieldKind::Json | FieldKind::Any)
}

/// Makes empty tables what the schema says they are: Lua writes an empty list as `{}`.
fn mend(field: &Field, value: &mut Value) {
    match (&field.kind, value) {
        (FieldKind::Array(_) | FieldKind::Set(_), value @ Value::Object(_))
            if value.as_object().is_some_and(Record::is_empty) =>
        {
            *value = Value::Array(Vec::new());
        }
        (FieldKind::Array(elements) | FieldKind::Set(elements), Value::Array(values)) => {
            values.iter_mut().for_each(|value| mend(elements, value));
        }
        (FieldKind::Map { .. } | FieldKind::Record(_), value @ Value::Array(_))
            if value.as_array().is_some_and(Vec::is_empty) =>
        {
            *value = Value::Object(Record::new());
        }
        (FieldKind::Map { values, .. }, Value::Object(entries)) => {
            entries.values_mut().for_each(|value| mend(values, value));
        }
        (FieldKind::Record(schema), Value::Object(fields)) => {
            for (name, value) in fields.iter_mut() {
                if let Some(field) = schema.fields.get(name) {
                    mend(field, value);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_tables_become_what_they_are() {
        let list = || Field::array(Field::string());
        let record = Schema::default()
            .with_field("list", list())
            .with_field("map", Field::map(Field::string(), list()))
            .with_field("json", Field::new(FieldKind::Json));
        let mut value = json!({"list": {}, "map": {"a": {}, "b": ["c"]}, "json": {}});
        mend(&Field::record(record.clone()), &mut value);
        assert_eq!(value, json!({"list": [], "map": {"a": [], "b": ["c"]}, "json": {}}));
        let mut value = json!({"map": []});
        mend(&Field::record(record), &mut value);
        assert_eq!(value, json!({"map": {}}));
    }

    #[test]
    fn cache_keys_are_kongs() {
        let kinds = Kinds::bundled([]);
        let check = |kind: &str, record: Value, expect: &str| {
            let Value::Object(record) = record else { return };
            let table = Table::new(kinds.get(kind).expect("a kind"), kind, &HashMap::new());
            assert_eq!(table.kong_cache_key(&record, "ws"), expect);
        };
        let plugin = json!({"name": "cors", "route": {"id": "r"}, "service": null});
        check("plugins", plugin, "plugins:cors:r::::ws");
        check("services", json!({"id": "s"}), "services:s:::::ws");
        check("consumers", json!({"id": "c", "username": "u"}), "consumers:c:::::ws");
        check("keyauth_credentials", json!({"key": "k"}), "keyauth_credentials:k:::::ws");
        check("ca_certificates", json!({"id": "a"}), "ca_certificates:a:::::");
    }
}
