//! Many entities of a kind at once: a few statements, where one for each would take as many round
//! trips.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json;
use silverback_model::errors::{Code, Fault};
use silverback_model::set::Kind;
use tokio_postgres::types::Type;

use super::PgTransaction;
use crate::postgres::faults;
use crate::postgres::value::Param;
use crate::transaction::{Kept, Transaction};

/// How many entities a statement is about at the most.
const AT_ONCE: usize = 500;
/// How many parameters a statement may have.
const PARAMETERS_MAX: usize = 65_535;

impl PgTransaction {
    /// Puts entities in, in the place of those with their keys.
    pub(crate) async fn put_all(&mut self, kind: &Kind, records: &[Kept]) -> Result<(), Fault> {
        for some in records.chunks(AT_ONCE) {
            let mut there = self.with_keys(kind, some).await?;
            let (mut new, mut changed) = (Vec::new(), Vec::new());
            for record in some {
                match there.remove(&kind.key(record)) {
                    Some(old) => changed.push((old, record)),
                    None => new.push(Arc::clone(record)),
                }
            }
            for (old, record) in changed {
                self.update(kind, &old, Arc::clone(record)).await?;
            }
            self.insert_all(kind, &new).await?;
        }
        Ok(())
    }

    /// Those that are there already, by their keys.
    async fn with_keys(
        &mut self,
        kind: &Kind,
        records: &[Kept],
    ) -> Result<HashMap<String, Kept>, Fault> {
        let tables = Arc::clone(&self.tables);
        let mut found = HashMap::new();
        let column = match kind.schema.primary_key.as_slice() {
            [key] => tables.of(kind).and_then(|table| table.column(key)),
            _ => None,
        };
        let Some((column, typ)) = column else {
            for key in records.iter().map(|record| kind.key(record)) {
                found.extend(self.get(kind, &key).await?.map(|record| (key, record)));
            }
            return Ok(found);
        };
        let keys: Vec<String> = records.iter().map(|record| kind.key(record)).collect();
        let list = if *typ == Type::UUID { Type::UUID_ARRAY } else { Type::TEXT_ARRAY };
        let keys = Param::new(&json!(keys), &list).map_err(|e| self.failed(&e))?;
        let there = self.rows(kind, &format!("{column} = ANY($1)"), vec![keys]).await?;
        found.extend(there.into_iter().map(|record| (kind.key(&record), record)));
        Ok(found)
    }

    /// Adds entities. Where one does not fit, it goes one by one, to tell which.
    async fn insert_all(&mut self, kind: &Kind, records: &[Kept]) -> Result<(), Fault> {
        let tables = Arc::clone(&self.tables);
        let table = tables.of(kind).ok_or_else(|| faults::no_table(kind))?;
        let names: Vec<String> = table.names().map(|(name, _)| name).collect();
        for some in records.chunks((PARAMETERS_MAX / names.len().max(1)).max(1)) {
            let (mut rows, mut parameters) = (Vec::new(), Vec::new());
            for record in some {
                let from = parameters.len();
                parameters.extend(
                    table.values(record, &tables.workspace).map_err(|error| self.failed(&error))?,
                );
                let marks: Vec<String> =
                    (from..parameters.len()).map(|i| format!("${}", i + 1)).collect();
                rows.push(format!("({})", marks.join(", ")));
            }
            let sql = format!(
                "INSERT INTO {} ({}) VALUES {}",
                table.name,
                names.join(", "),
                rows.join(", ")
            );
            let all = self.lease.query_or_undo(&sql, &parameters).await;
            match all.map_err(|error| self.failed(&error))? {
                true => some.iter().for_each(|r| self.note(kind, None, Some(Arc::clone(r)))),
                false => {
                    for record in some {
                        let inserted = self.insert(kind, Arc::clone(record)).await;
                        // It was not there a moment ago.
                        self.lost |= inserted
                            .as_ref()
                            .is_err_and(|fault| fault.code == Code::PrimaryKeyViolation);
                        inserted?;
                    }
                }
            }
        }
        Ok(())
    }
}
