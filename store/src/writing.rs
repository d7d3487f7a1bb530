//! Writing to a store, whatever keeps the entities.

use std::sync::Arc;

use silverback_model::Record;
use silverback_model::declarative::EMPTY_HASH;
use silverback_model::errors::Fault;
use silverback_model::set::{Entities, Kinds};

use crate::change::{Batch, Change, ended};
use crate::draft::Draft;
use crate::{Backend, Key, Options, Outcome, Store, ttl};

/// Writing. What comes back is the entity as it is from now on.
impl Store {
    /// Makes an entity.
    ///
    /// # Errors
    /// Everything that is wrong with it, or if the database fails; nothing has changed then.
    pub async fn insert(
        &self,
        kind: &str,
        input: Record,
        options: &Options,
    ) -> Outcome<Arc<Record>> {
        self.write(kind, Change::Insert(input), options).await?.ok_or_else(nothing)
    }

    /// Changes fields of an entity; records are merged, lists are replaced.
    ///
    /// # Errors
    /// As [`Store::insert`], and if there is no such entity.
    pub async fn update(
        &self,
        kind: &str,
        key: Key<'_>,
        input: Record,
        options: &Options,
    ) -> Outcome<Arc<Record>> {
        self.write(kind, Change::Update(key, input), options).await?.ok_or_else(nothing)
    }

    /// Makes an entity, or replaces it as a whole.
    ///
    /// # Errors
    /// As [`Store::insert`].
    pub async fn upsert(
        &self,
        kind: &str,
        key: Key<'_>,
        input: Record,
        options: &Options,
    ) -> Outcome<Arc<Record>> {
        self.write(kind, Change::Upsert(key, input), options).await?.ok_or_else(nothing)
    }

    /// Deletes an entity and what goes with it. It is no error if there is none.
    ///
    /// # Errors
    /// If others need it, or the database fails.
    pub async fn delete(&self, kind: &str, key: Key<'_>) -> Outcome<()> {
        self.write(kind, Change::Delete(key), &Options::default()).await.map(drop)
    }

    /// Goes on with other kinds of entities: other plugins are enabled.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn renew(&self, kinds: Arc<Kinds>) -> Outcome<()> {
        match &self.backend {
            Backend::Memory => {
                self.feed.publish(Arc::new(Entities::empty(kinds)), EMPTY_HASH.to_owned());
                Ok(())
            }
            Backend::Sqlite(sqlite) => sqlite.renew(kinds).await,
            Backend::Postgres(postgres) => postgres.renew(kinds).await,
        }
    }

    /// Replaces all entities in memory (`database = off`).
    pub fn replace(&self, entities: Arc<Entities>, hash: impl Into<String>) {
        self.feed.publish(entities, hash.into());
    }

    /// Puts entities in, in the place of those with their keys; the rest stays
    /// (`config db_import`). Against their schemas they are checked already, as a declarative file
    /// is.
    ///
    /// # Errors
    /// If the store is not writable, if they do not fit what there is, or if the database fails;
    /// nothing has changed then.
    pub async fn import(&self, entities: &Entities) -> Outcome<()> {
        match &self.backend {
            Backend::Memory => {
                let text = "entities cannot be imported when not using a database";
                Err(Fault::operation_unsupported(text))
            }
            Backend::Sqlite(sqlite) => {
                if let Some(version) = sqlite.change(Batch::Import(entities)).await? {
                    self.feed.until_served(version).await;
                }
                Ok(())
            }
            Backend::Postgres(postgres) => {
                if let Some(version) = postgres.import(entities).await? {
                    self.feed.until_served(version).await;
                }
                Ok(())
            }
        }
    }

    /// Has entities of a kind, or all, read again from a database that others may have changed
    /// without a word; nothing to do where there can be none.
    ///
    /// # Errors
    /// If the database can't be asked.
    pub async fn forget(&self, kind: Option<&str>) -> Outcome<()> {
        match &self.backend {
            Backend::Memory | Backend::Sqlite(_) => Ok(()),
            Backend::Postgres(postgres) => postgres.forget(kind).await,
        }
    }

    /// Deletes entities that have ended. Until this is called, they are kept, but not shown.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn expire(&self) -> Outcome<()> {
        let Backend::Sqlite(sqlite) = &self.backend else { return Ok(()) };
        let entities = self.entities();
        let now = ttl::now();
        let ended = tokio::task::spawn_blocking(move || ended(&entities, now)).await;
        let ended = ended.map_err(|_| nothing())?;
        if !ended.is_empty() {
            sqlite.change(Batch::Expire(&ended, now)).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        name: &str,
        change: Change<'_>,
        options: &Options,
    ) -> Outcome<Option<Arc<Record>>> {
        let old = self.before(name, &change).await?;
        let record = self.write_silently(name, change, options).await?;
        self.tell(name, old, record.as_ref());
        Ok(record)
    }

    async fn write_silently(
        &self,
        name: &str,
        change: Change<'_>,
        options: &Options,
    ) -> Outcome<Option<Arc<Record>>> {
        match &self.backend {
            Backend::Memory => {
                let refusal = change.refusal(name);
                let entities = self.entities();
                let mut draft = Draft::unchecked(&entities);
                let record = change.apply(entities.kinds(), &mut draft, name, options).await?;
                if record.is_none() && draft.changes.is_empty() {
                    return Ok(None);
                }
                Err(refusal)
            }
            Backend::Sqlite(sqlite) => {
                let (record, version) = sqlite.write(name, change, options).await?;
                if let Some(version) = version {
                    self.feed.until_served(version).await;
                }
                Ok(record)
            }
            Backend::Postgres(postgres) => {
                let (record, version) = postgres.write(name, change, options).await?;
                if let Some(version) = version {
                    self.feed.until_served(version).await;
                }
                Ok(record)
            }
        }
    }
}

fn nothing() -> Fault {
    Fault::database_error("nothing was written")
}
