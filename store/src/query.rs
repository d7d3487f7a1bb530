//! Statements of plugins, for a database that speaks SQL (`kong.db.connector:query`).

use silverback_model::Record;
use silverback_model::errors::Fault;

use crate::{Backend, Outcome, Store};

/// What a statement has given.
#[derive(Debug, Clone, PartialEq)]
pub struct Queried {
    /// The rows, each with its columns by name.
    pub rows: Vec<Record>,
    /// How many rows it has returned or changed.
    pub affected: u64,
}

impl Store {
    /// Runs one statement of SQL. Values are numbers, texts, booleans, JSON and lists of them;
    /// moments are seconds since 1970.
    ///
    /// # Errors
    /// If there is no PostgreSQL, or it refuses the statement, or can't be reached, or a column is
    /// of another type.
    pub async fn query(&self, sql: &str) -> Outcome<Queried> {
        match &self.backend {
            Backend::Postgres(postgres) => postgres.query(sql).await,
            Backend::Memory | Backend::Sqlite(_) => Err(Fault::operation_unsupported(
                "SQL needs database = postgres: use kong.db.NAME (select, insert, ...), which \
                 works with every database",
            )),
        }
    }
}
