//! The file: how it is made, upgraded, read and written.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use silverback_model::Record;
use thiserror::Error;

use crate::draft::Change;

/// What says whose file it is: "Slvb".
const APPLICATION: i32 = 0x536c_7662;

/// How the file comes from each version of its layout to the next. Only ever add to it.
const UPGRADES: [&str; 1] = ["
    CREATE TABLE entities (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
"];

/// How long another process may keep the file busy: a backup, `config db_export`.
const BUSY: Duration = Duration::from_secs(5);

/// Why a file can't be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// SQLite says no.
    #[error("can't use {path}: {error}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        error: rusqlite::Error,
    },
    /// The system says no.
    #[error("can't use {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// Another process writes to it.
    #[error("{path} is in use by another process: stop it first, or go by its Admin API")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Something else made it.
    #[error("{path} is not a database of Silverback's")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer Silverback made it.
    #[error("{path} has layout {found}, but this version knows {} at the most", UPGRADES.len())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its layout.
        found: usize,
    },
    /// What it holds is no entity.
    #[error("{path} is damaged: '{kind}' entity {key} is no JSON object: {error}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The entity's kind.
        kind: String,
        /// The entity's key.
        key: String,
        /// What is wrong.
        error: serde_json::Error,
    },
}

/// Entities, by the names of their kinds.
pub(super) type ByKind = Vec<(String, Vec<Arc<Record>>)>;

/// An open file.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    connection: Connection,
    /// Held as long as this process may write.
    _lock: Option<fs::File>,
}

impl File {
    /// Opens the file, makes it where there is none, and brings its layout up to date.
    pub(super) fn open(path: &Path) -> Result<File, OpenError> {
        let io = |error| OpenError::Io { path: path.to_owned(), error };
        // A command may come before a node: `config db_import`.
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
        }
        let lock = lock(path).map_err(io)?;
        let lock = Some(lock.ok_or_else(|| OpenError::InUse { path: path.to_owned() })?);
        // Made before SQLite does it: nobody else may read secrets, nor the files beside it.
        let private = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        private.map_err(io)?;
        let sqlite = |error| OpenError::Sqlite { path: path.to_owned(), error };
        let connection = Connection::open(path).map_err(sqlite)?;
        connection.busy_timeout(BUSY).map_err(sqlite)?;
        let mut file = File { path: path.to_owned(), connection, _lock: lock };
        file.check()?;
        file.set_up().map_err(sqlite)?;
        Ok(file)
    }

    /// Opens a file to read it, beside the process that writes it.
    pub(super) fn open_to_read(path: &Path) -> Result<File, OpenError> {
        let sqlite = |error| OpenError::Sqlite { path: path.to_owned(), error };
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
        connection.busy_timeout(BUSY).map_err(sqlite)?;
        let file = File { path: path.to_owned(), connection, _lock: None };
        file.check()?;
        Ok(file)
    }

    /// Whether the file is ours, and of a layout that is known.
    fn check(&self) -> Result<(), OpenError> {
        let sqlite = |error| OpenError::Sqlite { path: self.path.clone(), error };
        let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get(0));
        let (application, version): (i32, usize) =
            (pragma("application_id").map_err(sqlite)?, self.version().map_err(sqlite)?);
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 =
            self.connection.query_row(tables, [], |row| row.get(0)).map_err(sqlite)?;
        if application != APPLICATION && tables > 0 {
            return Err(OpenError::Foreign { path: self.path.clone() });
        }
        if version > UPGRADES.len() {
            return Err(OpenError::Newer { path: self.path.clone(), found: version });
        }
        Ok(())
    }

    fn version(&self) -> rusqlite::Result<usize> {
        self.connection.pragma_query_value(None, "user_version", |row| row.get(0))
    }

    fn set_up(&mut self) -> rusqlite::Result<()> {
        // What is acknowledged is on the disk, whatever becomes of process and machine.
        self.connection.pragma_update(None, "journal_mode", "wal")?;
        self.connection.pragma_update(None, "synchronous", "full")?;
        let version = self.version()?;
        // A file that is up to date is opened on a full disk too.
        if version == UPGRADES.len() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        for upgrade in UPGRADES.get(version..).unwrap_or_default() {
            transaction.execute_batch(upgrade)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", UPGRADES.len())?;
        transaction.commit()
    }

    /// All entities, by kind.
    pub(super) fn read(&mut self) -> Result<ByKind, OpenError> {
        let sqlite = |error| OpenError::Sqlite { path: self.path.clone(), error };
        let select = "SELECT kind, key, record FROM entities ORDER BY kind, key";
        let mut statement = self.connection.prepare(select).map_err(sqlite)?;
        let mut rows = statement.query([]).map_err(sqlite)?;
        let mut kinds = ByKind::new();
        while let Some(row) = rows.next().map_err(sqlite)? {
            let text = |at| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
            let (kind, key) = (text(0).map_err(sqlite)?, text(1).map_err(sqlite)?);
            let record = serde_json::from_str(text(2).map_err(sqlite)?);
            let record = Arc::new(record.map_err(|error| OpenError::Damaged {
                path: self.path.clone(),
                kind: kind.to_owned(),
                key: key.to_owned(),
                error,
            })?);
            match kinds.last_mut() {
                Some((last, records)) if last == kind => records.push(record),
                _ => kinds.push((kind.to_owned(), vec![record])),
            }
        }
        Ok(kinds)
    }

    /// Writes changes, all or none of them. When it returns, the disk has them.
    pub(super) fn write(&mut self, batches: &[&Vec<Change>]) -> Result<(), OpenError> {
        let path = &self.path;
        let sqlite = |error| OpenError::Sqlite { path: path.clone(), error };
        if batches.iter().all(|changes| changes.is_empty()) {
            return Ok(());
        }
        write(&mut self.connection, batches).map_err(sqlite)
    }
}

fn write(connection: &mut Connection, batches: &[&Vec<Change>]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let put = "INSERT OR REPLACE INTO entities (kind, key, record) VALUES (?, ?, ?)";
        let mut put = transaction.prepare_cached(put)?;
        let remove = "DELETE FROM entities WHERE kind = ? AND key = ?";
        let mut remove = transaction.prepare_cached(remove)?;
        for change in batches.iter().flat_map(|changes| changes.iter()) {
            match &change.record {
                Some(record) => {
                    let text = serde_json::to_string(&**record);
                    let text =
                        text.map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
                    put.execute(params![change.kind, change.key, text])?;
                }
                None => {
                    remove.execute(params![change.kind, change.key])?;
                }
            }
        }
    }
    transaction.commit()
}

/// Takes the lock that a writer holds; none if another has it.
fn lock(path: &Path) -> io::Result<Option<fs::File>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(name)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}
