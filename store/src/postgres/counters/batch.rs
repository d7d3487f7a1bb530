//! One transaction that counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use silverback_model::counters::{Count, CountWindow, Tally};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::postgres::error::DatabaseError;
use crate::postgres::pool::{Lease, Pool};
use crate::postgres::value::Param;

/// How much longer than its window a counter is kept, in seconds: clocks of nodes differ.
const GRACE: u64 = 2;
/// The most that a counter can hold: the column is of four bytes.
const MOST: u64 = 2_147_483_647;

/// What is lost when the server itself falls over is a moment's counts, not worth waiting for its
/// disk.
const MODE: &str = "ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = off";

/// A row: of whom, from when, of which period, of which service and route. In this order rows are
/// locked. Kong locks those of one identifier by their periods, the shortest first, which begin
/// the latest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    identifier: String,
    start: std::cmp::Reverse<u64>,
    rank: usize,
    period: String,
    service: Uuid,
    route: Uuid,
}

/// What is known of a row.
#[derive(Debug, Default)]
struct Cell {
    /// When its window ends.
    end: u64,
    /// Whether any request is to be counted there.
    counted: bool,
    /// Whether there is a row.
    found: bool,
    /// What it holds.
    value: u64,
    /// What is to be added.
    more: u64,
}

/// What is counted together.
pub(super) struct Batch<'a> {
    tally: Tally,
    counts: &'a [&'a Count],
    cells: BTreeMap<Key, Cell>,
}

const PERIODS: [&str; 6] = ["second", "minute", "hour", "day", "month", "year"];

fn key(count: &Count, window: &CountWindow) -> Key {
    Key {
        identifier: count.identifier.clone(),
        start: std::cmp::Reverse(window.start),
        rank: PERIODS.iter().position(|p| window.period.ends_with(p)).unwrap_or(PERIODS.len()),
        period: window.period.clone(),
        service: count.service,
        route: count.route,
    }
}

impl<'a> Batch<'a> {
    pub(super) fn of(tally: Tally, counts: &'a [&'a Count]) -> Batch<'a> {
        let mut cells: BTreeMap<Key, Cell> = BTreeMap::new();
        for count in counts {
            for window in &count.windows {
                let cell = cells.entry(key(count, window)).or_default();
                cell.end = window.end;
                cell.counted |= count.amount > 0;
            }
        }
        Batch { tally, counts, cells }
    }

    /// Counts: what was used before, for each that asked.
    pub(super) async fn count(mut self, pool: &Arc<Pool>) -> Result<Vec<Vec<u64>>, DatabaseError> {
        let mut lease = pool.get().await?;
        if !self.cells.values().any(|cell| cell.counted) {
            self.read(&mut lease, false).await?;
            return Ok(self.apply());
        }
        lease.begin(MODE).await?;
        self.read(&mut lease, true).await?;
        if self.cells.values().any(|cell| cell.counted && !cell.found) {
            // Not while others are locked: that would be out of order.
            lease.commit("").await?;
            self.make(&mut lease).await?;
            lease.begin(MODE).await?;
            self.read(&mut lease, true).await?;
        }
        let used = self.apply();
        self.write(&mut lease).await?;
        lease.commit("").await?;
        Ok(used)
    }

    fn table(&self) -> &'static str {
        match self.tally {
            Tally::Requests => "ratelimiting_metrics",
            Tally::Answers => "response_ratelimiting_metrics",
        }
    }

    /// Reads all rows, and locks those that are to be counted in.
    async fn read(&mut self, lease: &mut Lease, lock: bool) -> Result<(), DatabaseError> {
        for locked in [false, true] {
            let of: Vec<(&Key, &Cell)> =
                self.cells.iter().filter(|(_, cell)| (lock && cell.counted) == locked).collect();
            if of.is_empty() {
                continue;
            }
            let sql = format!(
                "SELECT x.n, m.value::int8 FROM {} m JOIN {KEYS} ON {SAME} ORDER BY x.n{}",
                self.table(),
                if locked { " FOR UPDATE OF m" } else { "" }
            );
            let rows = lease.query(&sql, &keys(&of)?).await?;
            let found: Vec<(usize, u64)> = rows.iter().map(row).collect::<Result<_, _>>()?;
            let mut cells: Vec<&mut Cell> =
                self.cells.values_mut().filter(|cell| (lock && cell.counted) == locked).collect();
            for (at, value) in found {
                if let Some(cell) = cells.get_mut(at - 1) {
                    cell.found = true;
                    cell.value = value;
                }
            }
        }
        Ok(())
    }

    /// Makes the rows that are not there yet.
    async fn make(&self, lease: &mut Lease) -> Result<(), DatabaseError> {
        let missing = |(_, cell): &(&Key, &Cell)| cell.counted && !cell.found;
        let missing: Vec<(&Key, &Cell)> = self.cells.iter().filter(missing).collect();
        let mut parameters = keys(&missing)?;
        let (mut column, mut value) = ("", "");
        if self.tally == Tally::Requests {
            let ends = missing.iter().map(|(_, cell)| Value::from(cell.end + GRACE));
            parameters.push(Param::new(&ends.collect(), &Type::INT8_ARRAY)?);
            (column, value) = (", ttl", ", to_timestamp(($6::int8[])[x.n])");
        }
        let sql = format!(
            "INSERT INTO {} (identifier, period, period_date, service_id, route_id, value{column}) \
             SELECT x.identifier, x.period, to_timestamp(x.start), x.service, x.route, 0{value} \
             FROM {KEYS} ORDER BY x.n ON CONFLICT DO NOTHING RETURNING 1",
            self.table()
        );
        lease.query(&sql, &parameters).await.map(drop)
    }

    /// Goes through the requests in the order in which they came.
    fn apply(&mut self) -> Vec<Vec<u64>> {
        let mut all = Vec::with_capacity(self.counts.len());
        for count in self.counts {
            let keys: Vec<Key> = count.windows.iter().map(|window| key(count, window)).collect();
            let now = |key: &Key| self.cells.get(key).map_or(0, |cell| cell.value + cell.more);
            let used: Vec<u64> = keys.iter().map(now).collect();
            #[expect(clippy::cast_precision_loss, reason = "limits are doubles, as in Kong")]
            let reached = |(window, used): (&CountWindow, &u64)| {
                window.limit.is_some_and(|limit| *used as f64 >= limit)
            };
            if count.amount > 0 && !count.windows.iter().zip(&used).any(reached) {
                for key in &keys {
                    if let Some(cell) = self.cells.get_mut(key) {
                        cell.more = cell.more.saturating_add(count.amount).min(MOST);
                    }
                }
            }
            all.push(used);
        }
        all
    }

    async fn write(&self, lease: &mut Lease) -> Result<(), DatabaseError> {
        let more: Vec<(&Key, &Cell)> =
            self.cells.iter().filter(|(_, cell)| cell.more > 0).collect();
        if more.is_empty() {
            return Ok(());
        }
        let values = more.iter().map(|(_, cell)| Value::from((cell.value + cell.more).min(MOST)));
        let mut parameters = keys(&more)?;
        parameters.push(Param::new(&values.collect(), &Type::INT8_ARRAY)?);
        let sql = format!(
            "UPDATE {} m SET value = ($6::int8[])[x.n]::int4 FROM {KEYS} WHERE {SAME} RETURNING 1",
            self.table()
        );
        lease.query(&sql, &parameters).await.map(drop)
    }
}

/// The keys that the first five parameters hold, counted from 1.
const KEYS: &str = "unnest($1::text[], $2::text[], $3::int8[], $4::uuid[], $5::uuid[]) \
                    WITH ORDINALITY AS x (identifier, period, start, service, route, n)";
/// Whether a row is that of a key.
const SAME: &str = "m.identifier = x.identifier AND m.period = x.period \
                    AND m.period_date = to_timestamp(x.start) \
                    AND m.service_id = x.service AND m.route_id = x.route";

fn keys(of: &[(&Key, &Cell)]) -> Result<Vec<Param>, DatabaseError> {
    let column = |value: fn(&Key) -> Value, kind: &Type| {
        let values: Value = of.iter().map(|(key, _)| value(key)).collect();
        Param::new(&values, kind)
    };
    Ok(vec![
        // What PostgreSQL takes for no text, a header may hold.
        column(|key| key.identifier.replace('\0', "").into(), &Type::TEXT_ARRAY)?,
        column(|key| key.period.clone().into(), &Type::TEXT_ARRAY)?,
        column(|key| key.start.0.into(), &Type::INT8_ARRAY)?,
        column(|key| key.service.to_string().into(), &Type::UUID_ARRAY)?,
        column(|key| key.route.to_string().into(), &Type::UUID_ARRAY)?,
    ])
}

fn row(row: &Row) -> Result<(usize, u64), DatabaseError> {
    let strange = |error: tokio_postgres::Error| DatabaseError::Strange(error.to_string());
    let number: i64 = row.try_get(0).map_err(strange)?;
    let value: Option<i64> = row.try_get(1).map_err(strange)?;
    let at = usize::try_from(number).ok().filter(|at| *at > 0);
    let at = at.ok_or_else(|| DatabaseError::Strange(format!("a row {number}")))?;
    Ok((at, u64::try_from(value.unwrap_or_default()).unwrap_or_default()))
}
