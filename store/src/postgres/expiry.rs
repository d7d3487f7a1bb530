//! Removing what has ended, from time to time (kong/db/strategies/postgres/connector.lua,
//! `init_worker`).

use std::sync::Weak;
use std::time::Duration;

use super::connection::identifier;
use super::error::DatabaseError;
use super::pool::Lease;
use super::sync::Shared;

/// How many rows go at a time: so few that nobody waits for them long.
const ROWS: usize = 1000;

/// Removes expired rows as long as there is a store.
pub(super) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(interval) = shared.upgrade().map(|s| s.settings.ttl_cleanup_interval) else {
            return;
        };
        // In pieces, so that the store's end is not waited for.
        let mut left = interval.max(Duration::from_millis(100));
        while !left.is_zero() {
            let piece = left.min(Duration::from_secs(1));
            tokio::time::sleep(piece).await;
            left -= piece;
            if shared.strong_count() == 0 {
                return;
            }
        }
        let Some(shared) = shared.upgrade() else { return };
        // Another time, if not now.
        let _ = remove(&shared).await;
    }
}

async fn remove(shared: &Shared) -> Result<(), DatabaseError> {
    let Some(tables) = shared.known_tables() else { return Ok(()) };
    let with_ttl = tables.kinds.iter().filter(|kind| kind.schema.ttl);
    let names = with_ttl.filter_map(|kind| tables.of(kind)).map(|table| table.name.clone());
    let rest = ["cluster_events", "clustering_rpc_requests"].map(identifier);
    let mut lease = shared.primary.get().await?;
    for table in names.chain(rest) {
        let column = if table.contains("cluster_events") { "expire_at" } else { "ttl" };
        while remove_some(&mut lease, &table, column).await? == ROWS {}
    }
    Ok(())
}

async fn remove_some(lease: &mut Lease, table: &str, column: &str) -> Result<usize, DatabaseError> {
    let sql = format!(
        "DELETE FROM {table} WHERE ctid IN (SELECT ctid FROM {table} \
         WHERE {column} < CURRENT_TIMESTAMP ORDER BY {column} LIMIT {ROWS} \
         FOR UPDATE SKIP LOCKED) RETURNING 1"
    );
    Ok(lease.query(&sql, &[]).await?.len())
}
