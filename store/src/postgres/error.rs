//! What can go wrong with a database.

use std::error::Error;

use tokio_postgres::error::SqlState;

/// Why a database did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// There is no connection to it, or none that is free in time. Another try may go well.
    #[error("{0}")]
    Unreachable(String),
    /// It refused the statement.
    #[error("{message}")]
    Refused {
        /// Its SQLSTATE.
        code: String,
        /// What it said.
        message: String,
        /// The rest of what it said: the key, the other table.
        detail: String,
        /// The constraint that was violated, or nothing.
        constraint: String,
        /// The table that this is about, or nothing.
        table: String,
    },
    /// Its answer can't be read, or its layout is not Kong's.
    #[error("{0}")]
    Strange(String),
}

impl DatabaseError {
    /// Whether the same transaction may go well when it is tried again: it lost against another.
    pub fn is_lost_race(&self) -> bool {
        let codes = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
        matches!(self, DatabaseError::Refused { code, .. }
            if codes.iter().any(|known| known.code() == code))
    }

    /// Whether the server did not take the password.
    pub(crate) fn is_wrong_password(&self) -> bool {
        matches!(self, DatabaseError::Refused { code, .. }
            if code == SqlState::INVALID_PASSWORD.code())
    }

    /// Whether the database is not there, or about to go: everything else can be asked again later.
    pub fn is_unreachable(&self) -> bool {
        match self {
            DatabaseError::Unreachable(_) => true,
            // Connection exceptions, nobody let in, too many connections and the like, and an
            // operator's stop.
            DatabaseError::Refused { code, .. } => {
                ["08", "28", "53", "57"].iter().any(|class| code.starts_with(class))
                    || code == "25006"
            }
            DatabaseError::Strange(_) => false,
        }
    }
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> DatabaseError {
        let Some(refusal) = error.as_db_error() else {
            // The cause says more than "db error" or "error connecting to server" do.
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                let inner_text = inner.to_string();
                if !text.contains(&inner_text) {
                    text = format!("{text}: {inner_text}");
                }
                cause = inner.source();
            }
            return DatabaseError::Unreachable(text);
        };
        let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
        DatabaseError::Refused {
            code: refusal.code().code().to_owned(),
            message: refusal.message().to_owned(),
            detail: owned(refusal.detail()),
            constraint: owned(refusal.constraint()),
            table: owned(refusal.table()),
        }
    }
}
