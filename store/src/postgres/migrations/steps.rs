//! Migrations of plugins that are not Kong's own: run one by one, as their files say
//! (kong/db/init.lua, `run_migrations`).

use std::sync::{Arc, mpsc};
use std::thread;

use silverback_model::Record;
use silverback_model::migration::{Migration, Work};

use super::{MigrationError, Migrations, Names, State};
use crate::postgres::error::DatabaseError;
use crate::postgres::layout::{Making, Subsystem};
use crate::postgres::pool::Lease;
use crate::postgres::value::{Cell, Param};

/// A query of a teardown, and where its answer goes.
type Asked = (String, mpsc::Sender<Result<Vec<Record>, String>>);

impl Migrations {
    /// Runs a migration: the first part, and with `whole` the last. Says whether it has ended.
    pub(super) async fn run_step(
        &self,
        lease: &mut Lease,
        subsystem: &Subsystem,
        step: &Migration,
        whole: bool,
    ) -> Result<bool, MigrationError> {
        let name = &subsystem.name;
        (self.say)(&format!("migrating {name} on database '{}'...", self.server.database));
        run_up(lease, step).await.map_err(|fault| wrong(subsystem, step, fault))?;
        let ends = whole || step.teardown.is_none();
        if ends {
            work(lease, step.teardown.as_ref())
                .await
                .map_err(|fault| wrong(subsystem, step, fault))?;
        }
        record(lease, name, &step.name, ends).await?;
        let word = if ends { "executed" } else { "pending" };
        (self.say)(&format!("{name} migrated up to: {} ({word})", step.name));
        Ok(ends)
    }

    /// Runs all migrations of a plugin again, recorded or not.
    pub(super) async fn run_again(
        &self,
        lease: &mut Lease,
        subsystem: &Subsystem,
        steps: &[Migration],
    ) -> Result<(), MigrationError> {
        for step in steps {
            run_up(lease, step).await.map_err(|fault| wrong(subsystem, step, fault))?;
        }
        Ok(())
    }

    /// Ends the migrations that have begun; how many.
    pub(super) async fn finish_steps(
        &self,
        lease: &mut Lease,
        pending: &Names,
    ) -> Result<usize, MigrationError> {
        let mut count = 0;
        for subsystem in &self.subsystems {
            let Making::Steps(steps) = &subsystem.making else { continue };
            let names = State::names_of(pending, &subsystem.name);
            for step in steps.iter().filter(|step| names.contains(&step.name)) {
                work(lease, step.teardown.as_ref())
                    .await
                    .map_err(|fault| wrong(subsystem, step, fault))?;
                record(lease, &subsystem.name, &step.name, true).await?;
                let name = &subsystem.name;
                (self.say)(&format!("{name} migrated up to: {} (executed)", step.name));
                count += 1;
            }
        }
        Ok(count)
    }
}

fn wrong(subsystem: &Subsystem, step: &Migration, fault: String) -> MigrationError {
    MigrationError::Step { plugin: subsystem.name.clone(), migration: step.name.clone(), fault }
}

/// Notes that a migration has run, or has begun.
pub(super) async fn record(
    lease: &mut Lease,
    plugin: &str,
    migration: &str,
    ends: bool,
) -> Result<(), DatabaseError> {
    let sql = if ends {
        "INSERT INTO schema_meta (key, subsystem, last_executed, executed) \
         VALUES ('schema_meta', $1, $2, ARRAY[$2]) ON CONFLICT (key, subsystem) DO UPDATE SET \
         last_executed = EXCLUDED.last_executed, \
         executed = array_append(COALESCE(schema_meta.executed, ARRAY[]::TEXT[]), $2), \
         pending = array_remove(COALESCE(schema_meta.pending, ARRAY[]::TEXT[]), $2)"
    } else {
        "INSERT INTO schema_meta (key, subsystem, pending) \
         VALUES ('schema_meta', $1, ARRAY[$2]) ON CONFLICT (key, subsystem) DO UPDATE SET \
         pending = array_append(COALESCE(schema_meta.pending, ARRAY[]::TEXT[]), $2)"
    };
    lease.query(sql, &[Param::text(plugin), Param::text(migration)]).await.map(drop)
}

async fn run_up(lease: &mut Lease, step: &Migration) -> Result<(), String> {
    lease.batch(&step.up).await.map_err(|error| error.to_string())?;
    work(lease, step.up_work.as_ref()).await
}

/// Does a part of a migration that is no mere SQL. It blocks, so it has a thread of its own, which
/// asks here for its queries.
async fn work(lease: &mut Lease, part: Option<&Arc<Work>>) -> Result<(), String> {
    let Some(part) = part.cloned() else { return Ok(()) };
    let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel::<Asked>();
    let thread = thread::Builder::new().name("migration".to_owned()).spawn(move || {
        let gone = || "the migration was given up".to_owned();
        part(&mut |sql: &str| {
            let (tell, told) = mpsc::channel();
            ask.send((sql.to_owned(), tell)).map_err(|_| gone())?;
            told.recv().map_err(|_| gone())?
        })
    });
    let thread = thread.map_err(|error| error.to_string())?;
    while let Some((sql, tell)) = asked.recv().await {
        let answer = query(lease, &sql).await.map_err(|error| error.to_string());
        // If it does not wait any more, it has failed.
        let _ = tell.send(answer);
    }
    thread.join().unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// The rows of a query; of several statements in one text, nothing.
async fn query(lease: &mut Lease, sql: &str) -> Result<Vec<Record>, DatabaseError> {
    let rows = match lease.query(sql, &[]).await {
        Ok(rows) => rows,
        // Several statements can't be prepared together.
        Err(DatabaseError::Refused { code, .. }) if code == "42601" => {
            return lease.batch(sql).await.map(|()| Vec::new());
        }
        Err(error) => return Err(error),
    };
    rows.iter()
        .map(|row| {
            let columns = row.columns().iter().enumerate();
            columns.map(|(i, column)| Ok((column.name().to_owned(), Cell::of(row, i)?))).collect()
        })
        .collect()
}
