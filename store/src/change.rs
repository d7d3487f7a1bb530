//! A change, made by the rules of `dao` on a transaction of any database.

use std::sync::Arc;

use silverback_model::Record;
use silverback_model::errors::{Code, Fault};
use silverback_model::set::{Entities, Kinds};

use crate::dao::{self, Dao};
use crate::memory::{Write, refuse};
use crate::transaction::Transaction;
use crate::{Key, Options, Outcome, kind_of, ttl};

/// A change of one entity.
#[derive(Debug, Clone)]
pub(crate) enum Change<'a> {
    Insert(Record),
    Update(Key<'a>, Record),
    Upsert(Key<'a>, Record),
    Delete(Key<'a>),
}

impl Change<'_> {
    /// What names the entity, if there may be one already.
    pub(crate) fn key(&self) -> Option<Key<'_>> {
        match self {
            Change::Insert(_) => None,
            Change::Update(key, _) | Change::Upsert(key, _) | Change::Delete(key) => Some(*key),
        }
    }

    /// What is said of it where nothing can be written.
    pub(crate) fn refusal(&self, kind: &str) -> Fault {
        let write = match self {
            Change::Insert(_) => Write::Create,
            Change::Update(..) => Write::Update,
            Change::Upsert(..) => Write::Upsert,
            Change::Delete(_) => Write::Delete,
        };
        refuse(write, kind, self.key().as_ref().and_then(Key::field))
    }

    /// Whether it failed as an entity was made by somebody else since it was looked for: tried
    /// again, it finds that.
    pub(crate) fn may_have_raced<T>(&self, outcome: &Outcome<T>) -> bool {
        let code = outcome.as_ref().err().map(|fault| fault.code);
        matches!(
            (self, code),
            (Change::Upsert(..), Some(Code::PrimaryKeyViolation | Code::UniqueViolation))
        )
    }

    /// Makes the change in a transaction, which is left to be committed. What comes back is the
    /// entity as clients see it; none if it was deleted.
    pub(crate) async fn apply<T: Transaction>(
        self,
        kinds: &Kinds,
        transaction: &mut T,
        name: &str,
        options: &Options,
    ) -> Outcome<Option<Arc<Record>>> {
        let kind = kind_of(kinds, name)?;
        let mut dao = Dao { kinds, transaction };
        let record = match self {
            Change::Insert(input) => dao.insert(kind, input, options).await?,
            Change::Update(key, input) => dao.update(kind, key, input, options).await?,
            Change::Upsert(key, input) => dao.upsert(kind, key, input, options).await?,
            Change::Delete(key) => {
                dao.delete(kind, key).await?;
                return Ok(None);
            }
        };
        dao::shown(kind, &record).map(Some)
    }
}

/// A change of many entities.
pub(crate) enum Batch<'a> {
    /// These are put in.
    Import(&'a Entities),
    /// These, by kind and key, are deleted if they have ended by then.
    Expire(&'a [(String, String)], f64),
}

impl Batch<'_> {
    /// Makes the change in a transaction, which is left to be committed.
    pub(crate) async fn apply<T: Transaction>(
        self,
        kinds: &Kinds,
        transaction: &mut T,
    ) -> Outcome<()> {
        let mut dao = Dao { kinds, transaction };
        match self {
            Batch::Import(entities) => {
                for (kind, records) in entities.iter() {
                    // There is one already, and what is imported belongs to it.
                    if kind.schema.name == "workspaces" {
                        continue;
                    }
                    for record in records.iter() {
                        dao.put(kind, record).await?;
                    }
                }
            }
            Batch::Expire(ended, now) => {
                for (kind, key) in ended {
                    dao.expire(kind_of(kinds, kind)?, key, now).await?;
                }
            }
        }
        Ok(())
    }
}

/// The entities that have ended at a time: their kinds and keys.
pub(crate) fn ended(entities: &Entities, now: f64) -> Vec<(String, String)> {
    let mortal = entities.iter().filter(|(kind, _)| kind.schema.ttl);
    let ended = mortal.flat_map(|(kind, records)| {
        let ended = records.iter().filter(|record| ttl::is_over(record, now));
        ended.map(|record| (kind.schema.name.clone(), kind.key(record)))
    });
    ended.collect()
}
