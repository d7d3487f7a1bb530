//! Making and checking the layout (kong/db/migrations/state.lua, kong/cmd/utils/migrations.lua).
//!
//! A database that Kong 3.10 has bootstrapped or brought up to date needs nothing. An empty one
//! gets the same tables and the same records, so that Kong takes it for its own. One of Kong 3.0 or
//! later is brought to 3.10 in the two parts of Kong's own: `up`, which nodes of the older version
//! survive, and `finish`, when they are gone.

mod known;
mod state;
mod steps;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use silverback_model::migration::Migration;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::connection::identifier;
use super::error::DatabaseError;
use super::io::Io;
use super::layout::{Known, META, Making, Subsystem};
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
    /// Tables are missing, as a plugin's that was not used so far, or those of an older Kong.
    #[error("New migrations available; run 'silverback migrations up' to proceed")]
    NeedsUp,
    /// The tables are those of a Kong before 3.0.
    #[error(
        "the database is that of a Kong before 3.0 ({0} was not run): bring it to Kong 3.0 or \
         later with Kong's own 'kong migrations up' and 'kong migrations finish'"
    )]
    Older(String),
    /// A Kong before 3.0 has begun to change the tables.
    #[error("{0} was begun by a Kong before 3.0: run its 'kong migrations finish'")]
    Unfinished(String),
    /// Migrations have begun and are to be finished first.
    #[error("Database has pending migrations ({0}): run 'silverback migrations finish' first")]
    NeedsFinish(String),
    /// A plugin's migration fails.
    #[error("migration '{migration}' of plugin '{plugin}': {fault}")]
    Step {
        /// The plugin.
        plugin: String,
        /// The migration.
        migration: String,
        /// What is wrong.
        fault: String,
    },
    /// Another node changes the tables right now.
    #[error("aborted: another node is performing database changes")]
    Locked,
    /// The database did not do as it was told.
    #[error("[PostgreSQL error] {0}")]
    Database(#[from] DatabaseError),
}

/// A plugin's name, and its own migrations.
pub type Own = (String, Vec<Migration>);

/// The layout of a database, for the command line and the start of a node.
pub struct Migrations {
    io: Io,
    server: Server,
    subsystems: Vec<Subsystem>,
    say: fn(&str),
}

impl Migrations {
    /// The layout of a database for a node that uses these plugins, where `bundled` is all that
    /// Kong has; `own` are the migrations of others. `say` is told of progress.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn new(
        server: Server,
        plugins: &[String],
        own: &[Own],
        say: fn(&str),
    ) -> std::io::Result<Migrations> {
        Ok(Migrations { io: Io::start()?, server, subsystems: subsystems(plugins, own), say })
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
        let made = self.make_missing(&mut lease, true).await;
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
            return Err(MigrationError::NeedsFinish(pending.to_string()));
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
                match &subsystem.making {
                    Making::Whole(known) => {
                        lease.batch(&format!("BEGIN; {} COMMIT;", known.tables)).await?;
                    }
                    Making::Steps(steps) => self.run_again(lease, subsystem, steps).await?,
                }
            }
        }
        if State::read(lease, &self.subsystems).await?.new.is_none() {
            if !force {
                (self.say)("Database is already up-to-date");
            }
            return Ok(());
        }
        self.make_missing(lease, false).await
    }

    /// Ends what `up` has begun, which nodes of an older version do not survive.
    ///
    /// # Errors
    /// If a Kong before 3.0 has begun something, the database is not ready for it, a migration
    /// fails, or another node is at it.
    pub async fn finish(&self, lock: Duration) -> Result<(), MigrationError> {
        let mut lease = self.connect().await?;
        let state = State::read(&mut lease, &self.subsystems).await?;
        if state.needs_bootstrap {
            return Err(MigrationError::NeedsBootstrap);
        }
        match &state.pending {
            None => (self.say)("No pending migrations to finish"),
            Some(pending) => {
                if !self.take_lock(&mut lease, lock).await? {
                    return Err(MigrationError::Locked);
                }
                let finished = async {
                    let count = self.finish_known(&mut lease, &state).await?;
                    let more = self.finish_steps(&mut lease, pending).await?;
                    Ok::<_, MigrationError>(count + more)
                };
                let finished = finished.await;
                self.leave_lock(&mut lease).await;
                self.sum_up(finished?, 0);
            }
        }
        if state.new.is_some() {
            (self.say)("\nNew migrations available; run 'silverback migrations up' to proceed");
        }
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

    /// Makes the tables of what has not run at all, and records it: all of it or nothing. Plugins'
    /// own migrations follow, one by one; with `whole` to their end.
    async fn make_missing(&self, lease: &mut Lease, whole: bool) -> Result<(), MigrationError> {
        let state = State::read(lease, &self.subsystems).await?;
        let (mut count, mut pending) = (0, 0);
        lease.batch("BEGIN").await?;
        for subsystem in &self.subsystems {
            let Making::Whole(known) = &subsystem.making else { continue };
            let new = State::of_subsystem(&state.new, &subsystem.name);
            let is_new = !state.has_run(&subsystem.name);
            count += new.len();
            if whole && is_new {
                self.make(lease, subsystem, known).await?;
            } else if !new.is_empty() {
                pending += self.upgrade(lease, subsystem, known, new, is_new).await?;
            }
        }
        lease.batch("COMMIT").await?;
        for subsystem in &self.subsystems {
            let Making::Steps(steps) = &subsystem.making else { continue };
            let new = State::of_subsystem(&state.new, &subsystem.name);
            for step in steps.iter().filter(|step| new.contains(&step.name)) {
                count += 1;
                pending += usize::from(!self.run_step(lease, subsystem, step, whole).await?);
            }
        }
        self.sum_up(count, pending);
        Ok(())
    }

    fn sum_up(&self, count: usize, pending: usize) {
        let plural = if count == 1 { "" } else { "s" };
        (self.say)(&format!("{count} migration{plural} processed\n{} executed", count - pending));
        if pending > 0 {
            (self.say)(&format!(
                "{pending} pending\n\nDatabase has pending migrations; run 'silverback migrations \
                 finish' when ready"
            ));
        }
    }

    async fn make(
        &self,
        lease: &mut Lease,
        subsystem: &Subsystem,
        known: &Known,
    ) -> Result<(), MigrationError> {
        let name = &subsystem.name;
        (self.say)(&format!("migrating {name} on database '{}'...", self.server.database));
        lease.batch(known.tables).await?;
        if name == "core" {
            make_first_rows(lease).await?;
        }
        let pending = if known.finished { json!([]) } else { Value::Null };
        let parameters = [
            Param::text(name),
            Param::text(subsystem.migrations.last().map_or("", String::as_str)),
            Param::new(&json!(subsystem.migrations), &Type::TEXT_ARRAY)?,
            Param::new(&pending, &Type::TEXT_ARRAY)?,
        ];
        let record = "INSERT INTO schema_meta (key, subsystem, last_executed, executed, pending) \
                      VALUES ('schema_meta', $1, $2, $3, $4)";
        lease.query(record, &parameters).await?;
        for migration in &subsystem.migrations {
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
fn subsystems(plugins: &[String], own: &[Own]) -> Vec<Subsystem> {
    let used = |name: &str| plugins.iter().any(|used| used == "bundled" || used == name);
    let known = Subsystem::known().filter(|s| s.name == "core" || used(&s.name));
    let own = own.iter().filter(|(_, steps)| !steps.is_empty());
    known.chain(own.map(|(name, steps)| Subsystem::of(name, steps.clone()))).collect()
}

/// That a node with these plugins can work with the database.
///
/// # Errors
/// What has to be done first.
pub(super) async fn check(
    lease: &mut Lease,
    plugins: &[String],
    own: &[Own],
) -> Result<(), MigrationError> {
    let state = State::read(lease, &subsystems(plugins, own)).await?;
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
