//! Reading what may have changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use silverback_model::Record;
use silverback_model::set::{Entities, Kind, Kinds};
use tokio_postgres::types::Type;

use super::{Shared, is_held};
use crate::postgres::error::DatabaseError;
use crate::postgres::hint::Hint;
use crate::postgres::pool::Lease;
use crate::postgres::tables::Tables;
use crate::postgres::value::Param;
use crate::transaction::Kept;

/// How many rows are read at a time.
const ROWS: usize = 5_000;

/// What is to be read: whole kinds, and entities of others.
#[derive(Debug, Default)]
struct Wanted {
    kinds: BTreeSet<String>,
    keys: BTreeMap<String, BTreeSet<String>>,
}

/// The entities that are held, read as they are now as far as hints say that they may have changed;
/// nothing if they have not.
pub(super) async fn load(
    shared: &Shared,
    tip: &Entities,
    hints: &HashSet<Hint>,
) -> Result<Option<Entities>, DatabaseError> {
    let kinds = tip.kinds();
    let wanted = Wanted::of(hints, kinds);
    if wanted.kinds.is_empty() && wanted.keys.is_empty() {
        return Ok(None);
    }
    let mut lease = shared.primary.get().await?;
    let tables = match shared.known_tables() {
        Some(tables) if Arc::ptr_eq(&tables.kinds, kinds) => tables,
        _ => {
            let tables = Arc::new(Tables::read(&mut lease, kinds).await?);
            shared.set_tables(Some(Arc::clone(&tables)));
            tables
        }
    };
    // One moment of the database, however many questions.
    lease.begin("ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let loaded = read(&mut lease, &tables, tip, wanted).await?;
    lease.commit("").await?;
    Ok(loaded)
}

/// All entities that are held.
pub(crate) async fn all(
    lease: &mut Lease,
    tables: &Tables,
    kinds: &Arc<Kinds>,
) -> Result<Entities, DatabaseError> {
    lease.begin("ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let mut wanted = Wanted::default();
    wanted.kinds.extend(held(kinds).map(|kind| kind.schema.name.clone()));
    let tip = Entities::empty(Arc::clone(kinds));
    let loaded = read(lease, tables, &tip, wanted).await?.unwrap_or(tip);
    lease.commit("").await?;
    Ok(loaded)
}

fn held(kinds: &Kinds) -> impl Iterator<Item = &Kind> {
    kinds.iter().filter(|kind| is_held(&kind.schema.name))
}

impl Wanted {
    fn of(hints: &HashSet<Hint>, kinds: &Kinds) -> Wanted {
        let mut wanted = Wanted::default();
        let is_held = |name: &str| kinds.get(name).is_some() && is_held(name);
        for hint in hints {
            match hint {
                Hint::All => {
                    wanted.kinds.extend(held(kinds).map(|kind| kind.schema.name.clone()));
                }
                Hint::Kind(kind) if is_held(kind) => {
                    wanted.kinds.insert(kind.clone());
                }
                Hint::Entity { kind, key, .. } if is_held(kind) => {
                    wanted.keys.entry(kind.clone()).or_default().insert(key.clone());
                }
                Hint::Kind(_) | Hint::Entity { .. } | Hint::Plugin { .. } => {}
            }
        }
        wanted.keys.retain(|kind, _| !wanted.kinds.contains(kind));
        wanted
    }
}

async fn read(
    lease: &mut Lease,
    tables: &Tables,
    tip: &Entities,
    mut wanted: Wanted,
) -> Result<Option<Entities>, DatabaseError> {
    let mut entities = tip.clone();
    let mut changed = false;
    for name in &wanted.kinds {
        let Some(kind) = tip.kinds().get(name) else { continue };
        let records = rows(lease, tables, kind, None).await?;
        let before = entities.of(name);
        let same = before.len() == records.len()
            && records.iter().all(|r| before.get(&kind.key(r)).is_some_and(|b| **b == **r));
        if !same {
            entities = entities.with(name, records);
            changed = true;
        }
    }
    // What an entity refers to may be as new as it is, and not heard of yet.
    while let Some((name, keys)) = wanted.keys.pop_first() {
        let Some(kind) = tip.kinds().get(&name) else { continue };
        let mut missing: BTreeSet<&String> = keys.iter().collect();
        for record in rows(lease, tables, kind, Some(&keys)).await? {
            let key = kind.key(&record);
            missing.remove(&key);
            if entities.of(&name).get(&key).is_some_and(|before| **before == *record) {
                continue;
            }
            changed = true;
            for (other, id) in references(kind, &record) {
                if tip.kinds().get(other).is_some()
                    && is_held(other)
                    && entities.of(other).get(id).is_none()
                    && other != name
                {
                    wanted.keys.entry(other.to_owned()).or_default().insert(id.to_owned());
                }
            }
            entities.put(&name, record);
        }
        for key in missing {
            changed |= entities.remove(&name, key).is_some();
        }
    }
    Ok(changed.then_some(entities))
}

/// What an entity refers to: kinds and ids.
fn references<'a>(kind: &'a Kind, record: &'a Record) -> impl Iterator<Item = (&'a str, &'a str)> {
    kind.schema
        .foreign_fields()
        .filter_map(|(field, other, _)| Some((other, record.get(field)?.get("id")?.as_str()?)))
}

/// The rows of a kind, all of them or those of some keys.
async fn rows(
    lease: &mut Lease,
    tables: &Tables,
    kind: &Kind,
    keys: Option<&BTreeSet<String>>,
) -> Result<Vec<Kept>, DatabaseError> {
    let Some(table) = tables.of(kind) else { return Ok(Vec::new()) };
    let Some(key) = kind.schema.primary_key.first() else { return Ok(Vec::new()) };
    let Some((column, typ)) = table.column(key) else { return Ok(Vec::new()) };
    let mut conditions = String::from("WHERE true");
    let mut own = Vec::new();
    if table.in_workspace {
        own.push(Param::new(&tables.workspace.as_str().into(), &Type::UUID)?);
        conditions += " AND ws_id = $1";
    }
    let read = |rows: &[tokio_postgres::Row]| {
        rows.iter().map(|row| table.record(row).map(Arc::new)).collect::<Result<Vec<_>, _>>()
    };
    let mut records = Vec::new();
    if let Some(keys) = keys {
        let list = if *typ == Type::UUID { Type::UUID_ARRAY } else { Type::TEXT_ARRAY };
        let keys: Vec<&String> = keys.iter().collect();
        // What is no key names nothing.
        let Ok(keys) = Param::new(&serde_json::json!(keys), &list) else { return Ok(records) };
        own.push(keys);
        let sql = format!("{} {conditions} AND {column} = ANY(${})", table.select, own.len());
        return read(&lease.query(&sql, &own).await?);
    }
    // By a cursor: a page at a time, without looking for its place anew.
    let select = format!("{} {conditions}", table.select);
    let mark = match own.as_slice() {
        [] => select,
        _ => select.replace("$1", &super::super::events::literal(&tables.workspace)),
    };
    lease.batch(&format!("DECLARE held NO SCROLL CURSOR FOR {mark}")).await?;
    loop {
        let rows = lease.query(&format!("FETCH {ROWS} FROM held"), &[]).await?;
        records.extend(read(&rows)?);
        if rows.len() < ROWS {
            lease.batch("CLOSE held").await?;
            return Ok(records);
        }
    }
}
