//! A change in the database, by the rules of `dao`. Keys and references are the database's to
//! check.

mod many;

use std::sync::Arc;

use serde_json::{Value, json};
use silverback_model::errors::Fault;
use silverback_model::set::{Kind, Page, PageQuery, TagFilter};
use tokio_postgres::types::Type;

use super::error::DatabaseError;
use super::events;
use super::faults;
use super::pool::Lease;
use super::tables::{Table, Tables};
use super::value::Param;
use crate::draft::Change;
use crate::transaction::{Kept, Transaction};

/// A connection that is asked for entities, and may be in the middle of a change.
#[derive(Debug)]
pub(crate) struct PgTransaction {
    lease: Lease,
    tables: Arc<Tables>,
    /// What was done, and to what.
    pub(crate) changes: Vec<Done>,
    /// Whether it lost against another change and can be tried again.
    pub(crate) lost: bool,
}

/// A change with what was there before.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) change: Change,
    pub(crate) old: Option<Kept>,
}

impl PgTransaction {
    /// To read only.
    pub(crate) fn to_read(lease: Lease, tables: Arc<Tables>) -> PgTransaction {
        PgTransaction { lease, tables, changes: Vec::new(), lost: false }
    }

    /// To change something. Whatever it reads stays as it is until it is over, or it is over with
    /// a lost race.
    pub(crate) async fn to_change(
        lease: Lease,
        tables: Arc<Tables>,
    ) -> Result<PgTransaction, DatabaseError> {
        let mut transaction = PgTransaction::to_read(lease, tables);
        transaction.lease.begin("ISOLATION LEVEL REPEATABLE READ").await?;
        Ok(transaction)
    }

    /// Makes it last, and tells other nodes of it in the same breath.
    pub(crate) async fn commit_with_events(
        mut self,
        author: &events::Author,
    ) -> Result<Vec<Done>, (Fault, bool)> {
        let mut statements = events::of(&self.changes, &self.tables, author);
        let last = statements.pop().unwrap_or_default();
        let told = async {
            for sql in statements {
                self.lease.batch(&sql).await?;
            }
            self.lease.commit(&last).await
        };
        match told.await {
            Ok(()) => Ok(std::mem::take(&mut self.changes)),
            Err(error) => Err((faults::of_database(&error), error.is_lost_race())),
        }
    }

    async fn rows(
        &mut self,
        kind: &Kind,
        condition: &str,
        mut parameters: Vec<Param>,
    ) -> Result<Vec<Kept>, Fault> {
        let tables = Arc::clone(&self.tables);
        let Some(table) = tables.of(kind) else { return Ok(Vec::new()) };
        let own = workspace(table, &tables, &mut parameters).map_err(|e| self.failed(&e))?;
        let and = if condition.is_empty() || condition.starts_with(' ') { "" } else { " AND " };
        let sql = format!("{} WHERE {own}{and}{condition}", table.select);
        let rows = self.lease.query(&sql, &parameters).await.map_err(|e| self.failed(&e))?;
        let records = rows.iter().map(|row| table.record(row).map(Arc::new));
        records.collect::<Result<_, _>>().map_err(|e| self.failed(&e))
    }

    /// What is said of an error, of which it is kept whether another try may go well.
    fn failed(&mut self, error: &DatabaseError) -> Fault {
        self.lost |= error.is_lost_race();
        faults::of_database(error)
    }

    /// A page of a kind, in the order of ids (kong/db/strategies/postgres/init.lua).
    pub(crate) async fn page(&mut self, kind: &Kind, query: &PageQuery<'_>) -> Result<Page, Fault> {
        let tables = Arc::clone(&self.tables);
        let Some(table) = tables.of(kind) else { return Ok(Page::default()) };
        let keys = kind.schema.primary_key.iter().filter_map(|key| table.column(key));
        let keys: Vec<(String, &Type)> = keys.collect();
        let mut conditions = vec!["true".to_owned()];
        let mut parameters = Vec::new();
        let mut bind = |value: &Value, kind: &Type| {
            parameters.push(Param::new(value, kind)?);
            Ok::<_, DatabaseError>(format!("${}", parameters.len()))
        };
        if let Some((field, parent)) = query.parent
            && let Some((column, kind)) = table.column(field)
        {
            let mark = bind(&parent.into(), kind).map_err(|e| faults::of_database(&e))?;
            conditions.push(format!("{column} = {mark}"));
        }
        if let Some(filter) = query.tags {
            let (operator, tags) = match filter {
                TagFilter::All(tags) => ("@>", tags),
                TagFilter::Any(tags) => ("&&", tags),
            };
            let mark = bind(&json!(tags), &Type::TEXT_ARRAY);
            let mark = mark.map_err(|e| faults::of_database(&e))?;
            conditions.push(format!("tags {operator} {mark}"));
        }
        let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(offset) = query.offset {
            let last = super::offset::decode(offset, keys.len())?;
            let marks = last.iter().zip(&keys).map(|(value, (_, kind))| bind(value, kind));
            let marks: Vec<String> = marks
                .collect::<Result<_, _>>()
                .map_err(|_| Fault::invalid_offset(offset, "bad json encoding"))?;
            conditions.push(format!("({}) > ({})", names.join(", "), marks.join(", ")));
        }
        if kind.schema.ttl {
            conditions.push("(ttl IS NULL OR ttl >= CURRENT_TIMESTAMP)".to_owned());
        }
        let order = format!(
            "{} ORDER BY {} LIMIT {}",
            conditions.join(" AND "),
            names.join(", "),
            query.size + 1
        );
        let mut records = self.rows(kind, &order, parameters).await?;
        let more = records.len() > query.size;
        records.truncate(query.size);
        let next = records.last().filter(|_| more);
        let next = next.map(|last| super::offset::encode(&kind.schema.primary_key, last));
        Ok(Page { records, next })
    }

    async fn execute(
        &mut self,
        kind: &Kind,
        sql: &str,
        parameters: &[Param],
        record: &Kept,
    ) -> Result<usize, Fault> {
        match self.lease.query(sql, parameters).await {
            Ok(rows) => Ok(rows.len()),
            Err(error) => {
                self.lost |= error.is_lost_race();
                Err(faults::of(&error, kind, record, &self.tables))
            }
        }
    }

    fn note(&mut self, kind: &Kind, old: Option<&Kept>, new: Option<Kept>) {
        let either = old.or(new.as_ref());
        let key = either.map(|record| kind.key(record)).unwrap_or_default();
        let change = Change { kind: kind.schema.name.clone(), key, record: new };
        self.changes.push(Done { change, old: old.cloned() });
    }
}

/// What keeps other workspaces' rows out, with its parameter.
fn workspace(
    table: &Table,
    tables: &Tables,
    parameters: &mut Vec<Param>,
) -> Result<String, DatabaseError> {
    if !table.in_workspace {
        return Ok("true".to_owned());
    }
    parameters.push(Param::new(&tables.workspace.as_str().into(), &Type::UUID)?);
    Ok(format!("ws_id = ${}", parameters.len()))
}

impl Transaction for PgTransaction {
    fn checked_here(&self) -> bool {
        false
    }

    async fn get(&mut self, kind: &Kind, key: &str) -> Result<Option<Kept>, Fault> {
        let tables = Arc::clone(&self.tables);
        let Some(table) = tables.of(kind) else { return Ok(None) };
        let (mut conditions, mut parameters) = (Vec::new(), Vec::new());
        for (field, value) in kind.schema.primary_key.iter().zip(key.split(':')) {
            let Some((column, kind)) = table.column(field) else { return Ok(None) };
            // What is no UUID is nobody's id.
            let Ok(value) = Param::new(&value.into(), kind) else { return Ok(None) };
            parameters.push(value);
            conditions.push(format!("{column} = ${}", parameters.len()));
        }
        Ok(self.rows(kind, &conditions.join(" AND "), parameters).await?.pop())
    }

    async fn by(&mut self, kind: &Kind, field: &str, value: &str) -> Result<Option<Kept>, Fault> {
        let tables = Arc::clone(&self.tables);
        let column = tables.of(kind).and_then(|table| table.column(field));
        let Some((column, typ)) = column else { return Ok(None) };
        let value = match *typ {
            Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT8 => serde_json::from_str(value),
            _ => Ok(value.into()),
        };
        let value = value.ok().and_then(|value: Value| Param::new(&value, typ).ok());
        let Some(value) = value else { return Ok(None) };
        Ok(self.rows(kind, &format!("{column} = $1"), vec![value]).await?.pop())
    }

    async fn by_cache_key(&mut self, kind: &Kind, key: &str) -> Result<Option<Kept>, Fault> {
        if let [field] = kind.schema.cache_key.as_slice() {
            return self.by(kind, &field.clone(), key).await;
        }
        let tables = Arc::clone(&self.tables);
        let Some(table) = tables.of(kind) else { return Ok(None) };
        self.by(kind, "cache_key", &table.cache_key(key, &tables.workspace)).await
    }

    async fn children(
        &mut self,
        kind: &Kind,
        field: &str,
        parent: &str,
    ) -> Result<Vec<Kept>, Fault> {
        let tables = Arc::clone(&self.tables);
        let column = tables.of(kind).and_then(|table| table.column(field));
        let Some((column, typ)) = column else { return Ok(Vec::new()) };
        let Ok(parent) = Param::new(&parent.into(), typ) else { return Ok(Vec::new()) };
        self.rows(kind, &format!("{column} = $1"), vec![parent]).await
    }

    async fn all(&mut self, kind: &Kind) -> Result<Vec<Kept>, Fault> {
        let mut all = Vec::new();
        let mut offset: Option<String> = None;
        loop {
            let query = PageQuery { size: 5000, offset: offset.as_deref(), ..PageQuery::default() };
            let page = self.page(kind, &query).await?;
            all.extend(page.records);
            offset = page.next;
            if offset.is_none() {
                return Ok(all);
            }
        }
    }

    async fn insert(&mut self, kind: &Kind, record: Kept) -> Result<(), Fault> {
        let tables = Arc::clone(&self.tables);
        let table = tables.of(kind).ok_or_else(|| faults::no_table(kind))?;
        let names: Vec<String> = table.names().map(|(name, _)| name).collect();
        let marks: Vec<String> = (1..=names.len()).map(|i| format!("${i}")).collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({}) RETURNING 1",
            table.name,
            names.join(", "),
            marks.join(", ")
        );
        let values = table.values(&record, &tables.workspace).map_err(|e| self.failed(&e))?;
        self.execute(kind, &sql, &values, &record).await?;
        self.note(kind, None, Some(record));
        Ok(())
    }

    async fn update(&mut self, kind: &Kind, old: &Kept, record: Kept) -> Result<(), Fault> {
        let tables = Arc::clone(&self.tables);
        let table = tables.of(kind).ok_or_else(|| faults::no_table(kind))?;
        let (mut sets, mut keys) = (Vec::new(), Vec::new());
        for (i, (name, is_key)) in table.names().enumerate() {
            let list = if is_key { &mut keys } else { &mut sets };
            list.push(format!("{name} = ${}", i + 1));
        }
        let sql = format!(
            "UPDATE {} SET {} WHERE {} RETURNING 1",
            table.name,
            sets.join(", "),
            keys.join(" AND ")
        );
        let values = table.values(&record, &tables.workspace).map_err(|e| self.failed(&e))?;
        if self.execute(kind, &sql, &values, &record).await? == 0 {
            return Err(Fault::not_found(kind.schema.primary_key_of(old)));
        }
        self.note(kind, Some(old), Some(record));
        Ok(())
    }

    async fn remove(&mut self, kind: &Kind, record: &Kept) -> Result<(), Fault> {
        let tables = Arc::clone(&self.tables);
        let table = tables.of(kind).ok_or_else(|| faults::no_table(kind))?;
        let (mut conditions, mut parameters) = (Vec::new(), Vec::new());
        for field in &kind.schema.primary_key {
            let Some((column, kind)) = table.column(field) else { continue };
            let value = record.get(field).unwrap_or(&Value::Null);
            let value = value.get("id").unwrap_or(value);
            parameters.push(Param::new(value, kind).map_err(|e| self.failed(&e))?);
            conditions.push(format!("{column} = ${}", parameters.len()));
        }
        let condition = conditions.join(" AND ");
        let sql = format!("DELETE FROM {} WHERE {condition} RETURNING 1", table.name);
        self.execute(kind, &sql, &parameters, record).await?;
        self.note(kind, Some(record), None);
        Ok(())
    }

    async fn commit(mut self) -> Result<(), Fault> {
        self.lease.commit("").await.map_err(|error| faults::of_database(&error))
    }
}
