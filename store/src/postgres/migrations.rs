//! Making and checking the layout (kong/db/migrations/state.lua, kong/cmd/utils/migrations.lua).
//!
//! A database that Kong 3.10 has bootstrapped or brought up to date needs nothing. An empty one
//! gets the same tables and the same records, so that Kong takes it for its own.

mod state;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::connection::identifier;
use super::error::DatabaseError;
use super::io::Io;
use super::layout::{META, SUBSYSTEMS, Subsystem};
use super::pool::{Lease, Pool};
use super::settings::Server;
use super::value::Param;

pub use state::{Names, State};

/// Who holds the lock on the layout.
const LOCK: &str = "migrations";

/// Why the layout is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The database has no tables of Kong's yet.
    #[error(
        "Database needs bootstrapping or is older than Kong 1.0.\n\n\
         To start a new installation from scratch, run 'silverback migrations bootstrap'."
    )]
    NeedsBootstrap,
    /// Tables are missing, as a plugin's that was not used so far.
    #[error("New migrations available; run 'silverback migrations up' to proceed")]
    NeedsUp,
    /// The tables are those of an older Kong.
    #[error(
        "the database is that of an older Kong ({0} was not run): bring it to Kong 3.10 with \
         Kong's own 'kong migrations up' and 'kong migrations finish'"
    )]
    Older(String),
    /// An older Kong has begun to change the tables.
    #[error(
        "Database has pending migrations ({0}): finish them with 'kong migrations finish' of the \
         Kong that began them"
    )]
    Pending(String),
    /// Another node changes the tables right now.
    #[error("aborted: another node is performing database changes")]
    Locked,
    /// The database did not do as it was told.
    #[error("[PostgreSQL error] {0}")]
    Database(#[from] DatabaseError),
}

/// The layout of a database, for the command line and the start of a node.
pub struct Migrations {
    io: Io,
    server: Server,
    subsystems: Vec<&'static Subsystem>,
    say: fn(&str),
}

impl Migrations {
    /// The layout of a database for a node that uses these plugins, where `bundled` is all that
    /// Kong has. `say` is told of progress.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn new(server: Server, plugins: &[String], say: fn(&str)) -> std::io::Result<Migrations> {
        Ok(Migrations { io: Io::start()?, server, subsystems: subsystems(plugins), say })
    }

    /// What has been run and what not.
    ///
    /// # Errors
    /// If the database can't be asked.
    pub async fn state(&self) -> Result<State, MigrationError> {
        Ok(State::read(&mut self.connect().await?, &self.subsystems).await?)
    }

    /// Makes all tables of an empty database; says so if it is not.
    ///
    /// # Errors
    /// If it can't, or another node is at it.
    pub async fn bootstrap(&self, lock: Duration) -> Result<(), MigrationError> {
        let mut lease = self.connect().await?;
        if !State::read(&mut lease, &self.subsystems).await?.needs_bootstrap {
            (self.say)("Database already bootstrapped");
            return Ok(());
        }
        (self.say)("Bootstrapping database...");
        make_schema(&mut lease).await?;
        if !self.take_lock(&mut lease, lock).await? {
            return Err(MigrationError::Locked);
        }
        let made = self.make_missing(&mut lease).await;
        self.leave_lock(&mut lease).await;
        made?;
        (self.say)("Database is up-to-date");
        Ok(())
    }

    /// Makes what is missing, all of it in an empty database. Waits for another node that is at
    /// it. With `force`, what is there is made again as well.
    ///
    /// # Errors
    /// If it can't, or another node has done it or takes longer than `lock`.
    pub async fn up(&self, lock: Duration, force: bool) -> Result<(), MigrationError> {
        let mut lease = self.connect().await?;
        let state = State::read(&mut lease, &self.subsystems).await?;
        if state.needs_bootstrap {
            return self.bootstrap(lock).await;
        }
        if let Some(pending) = state.pending.filter(|_| !force) {
            return Err(MigrationError::Pending(pending.to_string()));
        }
        if !self.take_lock(&mut lease, lock).await? {
            self.await_lock(&mut lease, lock).await?;
            return Err(MigrationError::Locked);
        }
        let made = self.update(&mut lease, force).await;
        self.leave_lock(&mut lease).await;
        made
    }

    async fn update(&self, lease: &mut Lease, force: bool) -> Result<(), MigrationError> {
        if force {
            for subsystem in &self.subsystems {
                lease.batch(&format!("BEGIN; {} COMMIT;", subsystem.tables)).await?;
            }
        }
        if State::read(lease, &self.subsystems).await?.new.is_none() {
            if !force {
                (self.say)("Database is already up-to-date");
            }
            return Ok(());
        }
        self.make_missing(lease).await
    }

    /// Ends what `up` has begun. Nothing of ours takes two steps.
    ///
    /// # Errors
    /// If an older Kong has begun something, or the database is not ready for it.
    pub async fn finish(&self) -> Result<(), MigrationError> {
        let state = self.state().await?;
        if state.needs_bootstrap {
            return Err(MigrationError::NeedsBootstrap);
        }
        if let Some(pending) = state.pending {
            return Err(MigrationError::Pending(pending.to_string()));
        }
        (self.say)(match state.new {
            Some(_) => "\nNew migrations available; run 'silverback migrations up' to proceed",
            None => "No pending migrations to finish",
        });
        Ok(())
    }

    /// Removes everything. False if there is nothing.
    ///
    /// # Errors
    /// If it can't, or another node changes the tables.
    pub async fn reset(&self, lock: Duration) -> Result<bool, MigrationError> {
        let mut lease = self.connect().await?;
        if State::read(&mut lease, &self.subsystems).await?.needs_bootstrap {
            (self.say)("Database not bootstrapped, nothing to reset");
            return Ok(false);
        }
        if !self.take_lock(&mut lease, lock).await? {
            return Err(MigrationError::Locked);
        }
        (self.say)("Resetting database...");
        drop_schema(&mut lease).await?;
        (self.say)("Database successfully reset");
        Ok(true)
    }

    async fn connect(&self) -> Result<Lease, DatabaseError> {
        Pool::new(self.server.clone(), self.io.handle()).get().await
    }

    /// Makes the tables of what has not run at all, and records it: all of it or nothing.
    async fn make_missing(&self, lease: &mut Lease) -> Result<(), MigrationError> {
        let state = State::read(lease, &self.subsystems).await?;
        let mut count = 0;
        lease.batch("BEGIN").await?;
        for subsystem in &self.subsystems {
            if !state.has_run(subsystem.name) {
                self.make(lease, subsystem).await?;
                count += subsystem.migrations.len();
            } else if let Some(name) = state.first_new(subsystem.name) {
                lease.batch("ROLLBACK").await?;
                return Err(MigrationError::Older(name));
            }
        }
        lease.batch("COMMIT").await?;
        let plural = if count == 1 { "" } else { "s" };
        (self.say)(&format!("{count} migration{plural} processed\n{count} executed"));
        Ok(())
    }

    async fn make(&self, lease: &mut Lease, subsystem: &Subsystem) -> Result<(), MigrationError> {
        let name = subsystem.name;
        (self.say)(&format!("migrating {name} on database '{}'...", self.server.database));
        lease.batch(subsystem.tables).await?;
        if name == "core" {
            make_first_rows(lease).await?;
        }
        let pending = if subsystem.finished { json!([]) } else { Value::Null };
        let parameters = [
            Param::text(name),
            Param::text(subsystem.migrations.last().copied().unwrap_or_default()),
            Param::new(&json!(subsystem.migrations), &Type::TEXT_ARRAY)?,
            Param::new(&pending, &Type::TEXT_ARRAY)?,
        ];
        let record = "INSERT INTO schema_meta (key, subsystem, last_executed, executed, pending) \
                      VALUES ('schema_meta', $1, $2, $3, $4)";
        lease.query(record, &parameters).await?;
        for migration in subsystem.migrations {
            (self.say)(&format!("{name} migrated up to: {migration} (executed)"));
        }
        Ok(())
    }

    /// Whether nobody else changes the tables, and nobody will within this time.
    async fn take_lock(&self, lease: &mut Lease, ttl: Duration) -> Result<bool, DatabaseError> {
        lease.batch("DELETE FROM locks WHERE ttl < CURRENT_TIMESTAMP").await?;
        let sql = "INSERT INTO locks (key, owner, ttl) \
                   VALUES ($1, $2, CURRENT_TIMESTAMP + $3 * INTERVAL '1 second') \
                   ON CONFLICT DO NOTHING RETURNING key";
        let parameters = [
            Param::text(LOCK),
            Param::text(&Uuid::new_v4().to_string()),
            Param::new(&json!(ttl.as_secs_f64()), &Type::FLOAT8)?,
        ];
        Ok(!lease.query(sql, &parameters).await?.is_empty())
    }

    /// Waits until whoever changes the tables is done.
    async fn await_lock(&self, lease: &mut Lease, limit: Duration) -> Result<(), DatabaseError> {
        let deadline = Instant::now() + limit;
        let sql = "SELECT 1 FROM locks WHERE key = $1 AND ttl >= CURRENT_TIMESTAMP";
        while !lease.query(sql, &[Param::text(LOCK)]).await?.is_empty() {
            if Instant::now() >= deadline {
                return Err(DatabaseError::Strange("timeout".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// If it can't be given back, it ends by itself.
    async fn leave_lock(&self, lease: &mut Lease) {
        let _ = lease.batch("ROLLBACK").await;
        let _ = lease.query("DELETE FROM locks WHERE key = $1", &[Param::text(LOCK)]).await;
    }
}

/// The parts of the layout that a node with these plugins needs.
fn subsystems(plugins: &[String]) -> Vec<&'static Subsystem> {
    let used = |name: &str| plugins.iter().any(|used| used == "bundled" || used == name);
    SUBSYSTEMS.iter().filter(|s| s.name == "core" || used(s.name)).collect()
}

/// That a node with these plugins can work with the database.
///
/// # Errors
/// What has to be done first.
pub(super) async fn check(lease: &mut Lease, plugins: &[String]) -> Result<(), MigrationError> {
    let state = State::read(lease, &subsystems(plugins)).await?;
    if state.needs_bootstrap {
        return Err(MigrationError::NeedsBootstrap);
    }
    if state.new.is_some() { Err(MigrationError::NeedsUp) } else { Ok(()) }
}

/// The schema if it is missing, and the records of migrations. Nodes that start at once take turns.
async fn make_schema(lease: &mut Lease) -> Result<(), DatabaseError> {
    let schema = identifier(lease.schema());
    let make = format!("CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION CURRENT_USER");
    match lease.batch(&make).await {
        // Somebody with more rights may have made it.
        Err(DatabaseError::Refused { code, .. }) if code == "42501" || code == "23505" => {}
        made => made?,
    }
    lease.batch(&format!("BEGIN; SELECT pg_advisory_xact_lock(8001); {META} COMMIT;")).await
}

/// What every database holds from the start: the default workspace and the cluster's id.
async fn make_first_rows(lease: &mut Lease) -> Result<(), DatabaseError> {
    let id = |kind| Param::new(&json!(Uuid::new_v4().to_string()), kind);
    let workspace = "INSERT INTO workspaces (id, name) VALUES ($1, 'default') \
                     ON CONFLICT DO NOTHING";
    lease.query(workspace, &[id(&Type::UUID)?]).await?;
    let cluster = "INSERT INTO parameters (key, value) VALUES ('cluster_id', $1) \
                   ON CONFLICT DO NOTHING";
    lease.query(cluster, &[id(&Type::TEXT)?]).await?;
    Ok(())
}

/// The schema with all that is in it; where that is not allowed, all tables.
async fn drop_schema(lease: &mut Lease) -> Result<(), DatabaseError> {
    let schema = identifier(lease.schema());
    let whole = format!(
        "BEGIN; DROP SCHEMA IF EXISTS {schema} CASCADE; \
         CREATE SCHEMA {schema} AUTHORIZATION CURRENT_USER; COMMIT;"
    );
    match lease.batch(&whole).await {
        Err(DatabaseError::Refused { code, .. }) if code == "42501" => {}
        dropped => return dropped,
    }
    lease.batch("ROLLBACK").await?;
    let sql = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = $1";
    let schema = [Param::text(lease.schema())];
    let tables = lease.query(sql, &schema).await?;
    let tables: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    if tables.is_empty() {
        return Ok(());
    }
    lease.batch(&format!("DROP TABLE IF EXISTS {} CASCADE", tables.join(", "))).await
}
