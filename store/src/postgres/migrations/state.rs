//! Which migrations have run, by the records that they left.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Value, json};
use tokio_postgres::types::Type;

use crate::postgres::error::DatabaseError;
use crate::postgres::layout::Subsystem;
use crate::postgres::pool::Lease;
use crate::postgres::value::{Cell, Param};

/// Which migrations have run and which not; nothing where there are none.
#[derive(Debug, Default)]
pub struct State {
    /// Whether there are no records at all.
    pub needs_bootstrap: bool,
    /// Those that have run.
    pub executed: Option<Names>,
    /// Those that have begun and not ended.
    pub pending: Option<Names>,
    /// Those that were left out before others that have run.
    pub missing: Option<Names>,
    /// Those that are to be run.
    pub new: Option<Names>,
}

/// Names of migrations by subsystem.
#[derive(Debug, Default)]
pub struct Names(Vec<(String, Vec<String>)>);

/// One line for each subsystem, their names right-aligned.
impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (i, (name, migrations)) in self.0.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{name:>width$}: {}", migrations.join(", "))?;
        }
        Ok(())
    }
}

/// What the records say of a subsystem.
struct Record {
    last: String,
    executed: Vec<String>,
    pending: Vec<String>,
}

impl State {
    pub(super) async fn read(
        lease: &mut Lease,
        subsystems: &[Subsystem],
    ) -> Result<State, DatabaseError> {
        let exists = "SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'schema_meta'";
        let schema = Param::new(&json!(lease.schema()), &Type::NAME)?;
        if lease.query(exists, &[schema]).await?.is_empty() {
            return Ok(State::of(&HashMap::new(), subsystems, true));
        }
        let sql = "SELECT subsystem, last_executed, executed, pending FROM schema_meta \
                   WHERE key = 'schema_meta'";
        let mut records = HashMap::new();
        for row in lease.query(sql, &[]).await? {
            let text = |column| Ok::<_, DatabaseError>(text(&Cell::of(&row, column)?));
            let list = |column| Ok::<_, DatabaseError>(list(&Cell::of(&row, column)?));
            let record = Record { last: text(1)?, executed: list(2)?, pending: list(3)? };
            records.insert(text(0)?, record);
        }
        Ok(State::of(&records, subsystems, false))
    }

    fn of(
        records: &HashMap<String, Record>,
        subsystems: &[Subsystem],
        needs_bootstrap: bool,
    ) -> State {
        let mut state = State { needs_bootstrap, ..State::default() };
        for subsystem in subsystems {
            for name in &subsystem.migrations {
                let record = records.get(&subsystem.name);
                let has = |list: fn(&Record) -> &Vec<String>| {
                    record.is_some_and(|record| list(record).iter().any(|other| other == name))
                };
                let names = if has(|record| &record.executed) {
                    &mut state.executed
                } else if has(|record| &record.pending) {
                    &mut state.pending
                } else if record.is_some_and(|r| comes_before(subsystem, name, &r.last)) {
                    &mut state.missing
                } else {
                    &mut state.new
                };
                names.get_or_insert_default().add(&subsystem.name, name);
            }
        }
        state
    }

    /// Whether anything of a subsystem has run.
    pub(super) fn has_run(&self, subsystem: &str) -> bool {
        [&self.executed, &self.pending].into_iter().flatten().any(|names| names.has(subsystem))
    }

    /// The names of a subsystem's migrations that are in a list.
    pub(super) fn of_subsystem<'a>(names: &'a Option<Names>, subsystem: &str) -> &'a [String] {
        names.as_ref().map_or(&[], |names| State::names_of(names, subsystem))
    }

    /// The same of a list that is there.
    pub(super) fn names_of<'a>(names: &'a Names, subsystem: &str) -> &'a [String] {
        let found = names.0.iter().find(|(name, _)| name == subsystem);
        found.map_or(&[], |(_, migrations)| migrations)
    }

    /// As `migrations status` prints it.
    pub fn to_json(&self) -> Value {
        let mut state = json!({ "needs_bootstrap": self.needs_bootstrap });
        let lists = [
            ("executed_migrations", &self.executed),
            ("pending_migrations", &self.pending),
            ("missing_migrations", &self.missing),
            ("new_migrations", &self.new),
        ];
        for (name, names) in lists {
            if let Some(names) = names {
                state[name] = names.to_json();
            }
        }
        state
    }
}

impl Names {
    fn add(&mut self, subsystem: &str, name: &str) {
        match self.0.last_mut().filter(|(last, _)| *last == subsystem) {
            Some((_, names)) => names.push(name.to_owned()),
            None => self.0.push((subsystem.to_owned(), vec![name.to_owned()])),
        }
    }

    fn has(&self, subsystem: &str) -> bool {
        self.0.iter().any(|(name, _)| *name == subsystem)
    }

    fn to_json(&self) -> Value {
        let one = |(subsystem, migrations): &(String, Vec<String>)| {
            let namespace = match subsystem.as_str() {
                "core" => "kong.db.migrations.core".to_owned(),
                plugin => format!("kong.plugins.{plugin}.migrations"),
            };
            json!({ "subsystem": subsystem, "namespace": namespace, "migrations": migrations })
        };
        self.0.iter().map(one).collect()
    }
}

fn comes_before(subsystem: &Subsystem, name: &str, last: &str) -> bool {
    let at = |name: &str| subsystem.migrations.iter().position(|other| other == name);
    matches!((at(name), at(last)), (Some(this), Some(last)) if this < last)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(executed: &[&str], pending: &[&str], last: &str, expect: &Value) {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let record =
            Record { last: last.into(), executed: owned(executed), pending: owned(pending) };
        let jwt: Vec<_> = Subsystem::known().filter(|s| s.name == "jwt").collect();
        let state = State::of(&HashMap::from([("jwt".to_owned(), record)]), &jwt, false);
        let lists = [&state.executed, &state.pending, &state.missing, &state.new];
        let lists = lists.map(|names| names.as_ref().map(ToString::to_string));
        assert_eq!(&json!(lists), expect);
    }

    #[test]
    fn records_say_what_has_run() {
        let all = ["000_base_jwt", "002_130_to_140", "003_200_to_210"];
        let line = "jwt: 000_base_jwt, 002_130_to_140, 003_200_to_210";
        check(&all, &[], all[2], &json!([line, null, null, null]));
        check(&[], &[], "", &json!([null, null, null, line]));
        check(
            &all[..1],
            &all[1..2],
            all[0],
            &json!(["jwt: 000_base_jwt", "jwt: 002_130_to_140", null, "jwt: 003_200_to_210"]),
        );
        check(
            &all[2..],
            &[],
            all[2],
            &json!(["jwt: 003_200_to_210", null, "jwt: 000_base_jwt, 002_130_to_140", null]),
        );
    }
}
