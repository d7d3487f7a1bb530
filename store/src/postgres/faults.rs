//! What the database says no to, in Kong's words (kong/db/strategies/postgres/init.lua,
//! `toerror`).

use serde_json::{Value, json};
use silverback_model::Record;
use silverback_model::errors::{Errors, Fault};
use silverback_model::set::Kind;
use tokio_postgres::error::SqlState;

use super::error::DatabaseError;
use super::tables::Tables;

/// What is wrong with writing an entity.
pub(super) fn of(error: &DatabaseError, kind: &Kind, record: &Record, tables: &Tables) -> Fault {
    let DatabaseError::Refused { code, detail, constraint, table, .. } = error else {
        return of_database(error);
    };
    let is = |state: &SqlState| state.code() == code;
    if is(&SqlState::UNIQUE_VIOLATION) {
        return unique(constraint, detail, kind, record, tables);
    }
    if is(&SqlState::FOREIGN_KEY_VIOLATION) {
        return foreign(detail, table, kind, record, tables);
    }
    of_database(error)
}

fn unique(constraint: &str, detail: &str, kind: &Kind, record: &Record, tables: &Tables) -> Fault {
    if constraint.ends_with("_pkey") {
        return Fault::primary_key_violation(kind.schema.primary_key_of(record));
    }
    let columns = columns(detail);
    let fields: Vec<String> = if columns.contains(&"cache_key") {
        kind.schema.cache_key.clone()
    } else {
        let table = tables.of(kind);
        let field = |column: &&str| table.and_then(|table| table.field_of(column));
        columns.iter().filter_map(field).map(str::to_owned).collect()
    };
    let values = fields.into_iter().map(|name| {
        let value = record.get(&name).cloned().unwrap_or_default();
        (name, value)
    });
    Fault::unique_violation(values.collect())
}

/// Either what it refers to is missing, or others refer to it.
fn foreign(detail: &str, table: &str, kind: &Kind, record: &Record, tables: &Tables) -> Fault {
    let name_of = |table: &str| {
        tables.kind_of(table).map_or_else(|| table.to_owned(), |kind| kind.schema.name.clone())
    };
    let other = detail.rsplit('"').nth(1).unwrap_or(table);
    if detail.contains("is still referenced from table") {
        return Fault::foreign_key_restricted(&kind.schema.name, &name_of(other));
    }
    let columns = columns(detail);
    let own = tables.of(kind);
    let field = columns.iter().find_map(|column| own.and_then(|own| own.field_of(column)));
    let field = field.unwrap_or_default();
    let id = record.get(field).and_then(|reference| reference.get("id")).cloned();
    let key = Record::from_iter([("id".to_owned(), id.unwrap_or(Value::Null))]);
    Fault::foreign_key_missing(field, key, &name_of(other))
}

/// The columns that a detail is about: `Key (ws_id, name)=(…) already exists.`
fn columns(detail: &str) -> Vec<&str> {
    let list = detail.split_once('(').and_then(|(_, rest)| rest.split_once(")=(")).map(|(l, _)| l);
    list.into_iter().flat_map(|list| list.split(", ")).map(|name| name.trim_matches('"')).collect()
}

/// What is wrong with the database itself, or with a value that it can't hold.
pub(super) fn of_database(error: &DatabaseError) -> Fault {
    if error.is_unreachable() {
        return Fault::database_unreachable(format!("the database can't be reached: {error}"));
    }
    if error.is_lost_race() {
        let text = "another change of the same came first, several times: try again";
        return Fault::database_unreachable(text);
    }
    if let DatabaseError::Refused { code, message, .. } = error
        && code.starts_with("22")
    {
        // Data exceptions: NUL in a text, a number out of range.
        let errors = Errors::of("@entity", json!([message]));
        return Fault::schema_violation(errors);
    }
    Fault::database_error(error.to_string())
}

/// A plugin's entities can only be kept once its tables are made.
pub(super) fn no_table(kind: &Kind) -> Fault {
    Fault::database_error(format!(
        "the database has no table for '{}': run 'silverback migrations up'",
        kind.schema.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_name_columns() {
        let check = |detail, expect: &[&str]| assert_eq!(columns(detail), expect);
        check("Key (ws_id, name)=(1, a) already exists.", &["ws_id", "name"]);
        check("Key (\"group\")=(x (y)) already exists.", &["group"]);
        check("nothing of the kind", &[]);
    }
}
