//! Kong's own migrations since 3.0, in their two parts.

use super::steps::record;
use super::{MigrationError, Migrations, State};
use crate::postgres::error::DatabaseError;
use crate::postgres::layout::{Known, Making, Subsystem, Upgrade, upgrade};
use crate::postgres::pool::Lease;
use crate::postgres::value::Param;

impl Migrations {
    /// Runs the first part of these migrations of a subsystem, and records them; how many of them
    /// are pending then. What is `whole` is new, and may have migrations of any age.
    pub(super) async fn upgrade(
        &self,
        lease: &mut Lease,
        subsystem: &Subsystem,
        known: &Known,
        new: &[String],
        whole: bool,
    ) -> Result<usize, MigrationError> {
        let of = &subsystem.name;
        (self.say)(&format!("migrating {of} on database '{}'...", self.server.database));
        let mut upgrades: Vec<&Upgrade> = Vec::new();
        for name in new {
            match upgrade(of, name) {
                None if !whole => return Err(MigrationError::Older(format!("{of} {name}"))),
                found => upgrades.extend(found),
            }
        }
        for upgrade in &upgrades {
            lease.batch(upgrade.up).await?;
        }
        lease.batch(known.tables).await?;
        // What nobody uses needs no second part.
        let waits = !whole || is_used(lease, of).await?;
        let mut pending = 0;
        for name in new {
            let rest = upgrades.iter().any(|u| u.of.1 == name && !u.finish.is_empty());
            let ends = !(waits && rest);
            record(lease, of, name, ends).await?;
            let word = if ends { "executed" } else { "pending" };
            (self.say)(&format!("{of} migrated up to: {name} ({word})"));
            pending += usize::from(!ends);
        }
        Ok(pending)
    }

    /// Runs the second part of what is pending: all of it or nothing. Says of how many.
    pub(super) async fn finish_known(
        &self,
        lease: &mut Lease,
        state: &State,
    ) -> Result<usize, MigrationError> {
        let mut count = 0;
        lease.batch("BEGIN").await?;
        for subsystem in self.subsystems.iter().filter(|s| matches!(s.making, Making::Whole(_))) {
            let of = &subsystem.name;
            for name in State::of_subsystem(&state.pending, of) {
                let upgrade = upgrade(of, name);
                let upgrade =
                    upgrade.ok_or_else(|| MigrationError::Unfinished(format!("{of} {name}")))?;
                lease.batch(upgrade.finish).await?;
                record(lease, of, name, true).await?;
                (self.say)(&format!("{of} migrated up to: {name} (executed)"));
                count += 1;
            }
        }
        lease.batch("COMMIT").await?;
        Ok(count)
    }
}

/// Whether a plugin is configured anywhere.
async fn is_used(lease: &mut Lease, plugin: &str) -> Result<bool, DatabaseError> {
    let sql = "SELECT 1 FROM plugins WHERE name = $1 LIMIT 1";
    Ok(!lease.query(sql, &[Param::text(plugin)]).await?.is_empty())
}
