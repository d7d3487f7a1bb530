//! Deleting: what refers to the deleted entity goes with it, forgets it, or keeps it.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use silverback_model::Record;
use silverback_model::errors::Fault;
use silverback_model::schema;
use silverback_model::set::Kind;

use super::{Dao, Key};
use crate::transaction::{Kept, Transaction};

/// What becomes of an entity when the one that it refers to is deleted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnDelete {
    Cascade,
    Null,
    Restrict,
}

impl<T: Transaction> Dao<'_, T> {
    /// Deletes the entity that a key names, and says whether there was one.
    pub(crate) async fn delete(&mut self, kind: &Kind, key: Key<'_>) -> Result<bool, Fault> {
        let Some(record) = self.find(kind, key).await? else { return Ok(false) };
        match kind.schema.name.as_str() {
            "certificates" => self.remove_names(&record).await?,
            "ca_certificates" => self.check_unused(&record).await?,
            _ => {}
        }
        self.delete_with_children(kind, record).await?;
        Ok(true)
    }

    /// Deletes an entity and what goes with it, the deepest first.
    pub(super) async fn delete_with_children(
        &mut self,
        kind: &Kind,
        record: Kept,
    ) -> Result<(), Fault> {
        let kinds = self.kinds;
        let mut seen = HashSet::from([(kind.schema.name.clone(), kind.key(&record))]);
        let mut gone: Vec<(&Kind, Kept)> = vec![(kind, record)];
        let mut freed: Vec<(&Kind, String, Kept)> = Vec::new();
        let mut restricting: Vec<(String, &Kind, Kept)> = Vec::new();
        let mut at = 0;
        while let Some((parent, record)) = gone.get(at) {
            let (parent, key) = (*parent, parent.key(record));
            at += 1;
            for child in &parent.children {
                let Some(of_child) = kinds.get(&child.kind) else { continue };
                let found = self.transaction.children(of_child, &child.field, &key).await?;
                for entity in found {
                    match on_delete(of_child, &child.field) {
                        OnDelete::Cascade => {
                            let name = of_child.schema.name.clone();
                            if seen.insert((name, of_child.key(&entity))) {
                                gone.push((of_child, entity));
                            }
                        }
                        OnDelete::Null => freed.push((of_child, child.field.clone(), entity)),
                        OnDelete::Restrict => {
                            restricting.push((parent.schema.name.clone(), of_child, entity));
                        }
                    }
                }
            }
        }
        if self.transaction.checked_here() {
            for (parent, child, entity) in &restricting {
                // What goes as well keeps nothing.
                if !seen.contains(&(child.schema.name.clone(), child.key(entity))) {
                    return Err(Fault::foreign_key_restricted(parent, &child.schema.name));
                }
            }
        }
        for (kind, field, entity) in freed {
            if !seen.contains(&(kind.schema.name.clone(), kind.key(&entity))) {
                let mut changed = Record::clone(&entity);
                changed.insert(field, Value::Null);
                self.transaction.update(kind, &entity, Arc::new(changed)).await?;
            }
        }
        for (kind, entity) in gone.iter().rev() {
            self.transaction.remove(kind, entity).await?;
        }
        Ok(())
    }
}

fn on_delete(kind: &Kind, field: &str) -> OnDelete {
    let field = kind.schema.fields.get(field);
    match field.map(|field| &field.kind) {
        Some(schema::Kind::Foreign { on_delete, .. }) => match on_delete.as_deref() {
            Some("cascade") => OnDelete::Cascade,
            Some("null") => OnDelete::Null,
            _ => OnDelete::Restrict,
        },
        _ => OnDelete::Restrict,
    }
}
