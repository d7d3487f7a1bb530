//! Where entities live: in memory only, filled from a declarative file, or in a database.
//!
//! Whatever keeps them, what they are at a moment is a [`State`], and whoever depends on them
//! follows the [`Changes`]. What is asked of a change is the same for every database, and stands
//! in `dao`; a database is a [`Transaction`].

mod cluster;
mod dao;
mod draft;
mod feed;
pub mod last_good;
pub mod memory;
pub mod postgres;
pub mod sqlite;
mod transaction;
pub mod ttl;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use silverback_model::Record;
use silverback_model::declarative::{DEFAULT_WORKSPACE_ID, EMPTY_HASH};
use silverback_model::errors::{Errors, Fault};
use silverback_model::set::{Entities, Kind, Kinds, Page, PageQuery};

pub use cluster::{PROXY_CACHE_PURGE, Told};
pub use dao::{Key, Options};
pub use feed::{Changes, State};
pub use transaction::{Answer, Kept, Transaction};

use dao::Dao;
use draft::Draft;
use feed::Feed;
use memory::{Write, refuse};
use postgres::Postgres;
use sqlite::{OpenError, Sqlite};

/// Where the entities of a node live. It is shared by all that read or write them.
#[derive(Debug)]
pub struct Store {
    feed: Arc<Feed>,
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    /// In memory, replaced as a whole.
    Memory,
    /// In a file, and all of them in memory.
    Sqlite(Sqlite),
    /// In a server's database, and some of them in memory.
    Postgres(Box<Postgres>),
}

/// The result of reading or writing: entities as clients see them, or what is wrong in Kong's
/// words.
pub type Outcome<T> = Result<T, Fault>;

impl Store {
    /// A store in memory, without entities.
    pub fn memory(kinds: Arc<Kinds>) -> Store {
        Store { feed: Arc::new(memory::feed(kinds)), backend: Backend::Memory }
    }

    /// A store in a file, which is made where there is none.
    ///
    /// # Errors
    /// If the file can't be used: it is another's, of a newer version, damaged, or in use.
    pub fn sqlite(file: &std::path::Path, kinds: &Arc<Kinds>) -> Result<Store, OpenError> {
        let (feed, sqlite) = Sqlite::open(file, kinds)?;
        Ok(Store { feed, backend: Backend::Sqlite(sqlite) })
    }

    /// A store in a PostgreSQL database. Where that can't be reached, it begins with what it held
    /// `before`, if that is given, and goes on as soon as it can.
    ///
    /// # Errors
    /// If the database's tables are not ready, or it can't be reached.
    pub async fn postgres(
        settings: postgres::Settings,
        keeping: postgres::Keeping,
        kinds: Arc<Kinds>,
        before: Option<Entities>,
    ) -> Result<Store, postgres::OpenError> {
        let (feed, postgres) = Postgres::open(settings, keeping, kinds, before).await?;
        Ok(Store { feed, backend: Backend::Postgres(Box::new(postgres)) })
    }

    /// What the entities are now, and the hash of what they were loaded from.
    pub fn state(&self) -> Arc<State> {
        self.feed.state()
    }

    /// What the entities are now, as far as they are held in memory ([`Store::holds`]).
    pub fn entities(&self) -> Arc<Entities> {
        Arc::clone(&self.state().entities)
    }

    /// Whether all entities of a kind are held in memory, so that [`Store::entities`] has them.
    pub fn holds(&self, kind: &str) -> bool {
        !matches!(self.backend, Backend::Postgres(_)) || Postgres::holds(kind)
    }

    /// Why the database can't be asked; nothing if it can.
    pub fn trouble(&self) -> Option<String> {
        match &self.backend {
            Backend::Postgres(postgres) => postgres.trouble(),
            Backend::Memory | Backend::Sqlite(_) => None,
        }
    }

    /// Whether single entities can be written.
    pub fn is_writable(&self) -> bool {
        !matches!(self.backend, Backend::Memory)
    }

    /// The file that the entities are kept in, where they are.
    pub fn file(&self) -> Option<&std::path::Path> {
        match &self.backend {
            Backend::Memory | Backend::Postgres(_) => None,
            Backend::Sqlite(sqlite) => Some(sqlite.path()),
        }
    }

    /// What keeps the entities, as `database` in kong.conf says it.
    pub fn database(&self) -> &'static str {
        match self.backend {
            Backend::Memory => "off",
            Backend::Sqlite(_) => "sqlite",
            Backend::Postgres(_) => "postgres",
        }
    }

    /// The hash of what the entities were loaded from, as `/status` shows it.
    pub fn hash(&self) -> String {
        self.state().hash.clone()
    }

    /// Follows the changes: each is a whole state, of which only the newest waits to be seen.
    pub fn changes(&self) -> Changes {
        self.feed.changes()
    }

    /// Says whether a write returns only when requests are served by it
    /// (`worker_consistency = strict`). Somebody has to tell of that then, by
    /// [`Store::set_served`].
    pub fn set_strict(&self, strict: bool) {
        self.feed.set_strict(strict);
    }

    /// Tells that requests are served by the state of this version from now on.
    pub fn set_served(&self, version: u64) {
        self.feed.set_served(version);
    }
}

/// Reading.
impl Store {
    /// The entity that a key names.
    ///
    /// # Errors
    /// If the key does not fit the schema, or the database fails.
    pub async fn select(&self, kind: &str, key: Key<'_>) -> Outcome<Option<Arc<Record>>> {
        let entities = self.entities();
        let kind = kind_of(entities.kinds(), kind)?;
        if let Backend::Postgres(postgres) = &self.backend {
            return postgres.select(entities.kinds(), kind, key).await;
        }
        let mut draft = Draft::unchecked(&entities);
        let mut dao = Dao { kinds: entities.kinds(), transaction: &mut draft };
        let found = dao.find(kind, key).await?;
        found.map(|record| dao::shown(kind, &record)).transpose()
    }

    /// A page of the entities of a kind.
    ///
    /// # Errors
    /// If the offset is not one of ours, or the database fails.
    pub async fn page(&self, kind: &str, query: &PageQuery<'_>) -> Outcome<Page> {
        let entities = self.entities();
        let kind = kind_of(entities.kinds(), kind)?;
        if let Backend::Postgres(postgres) = &self.backend {
            return postgres.page(kind, query).await;
        }
        let page = entities.of(&kind.schema.name).page(query);
        let page = page.map_err(|error| Fault::invalid_offset(&error.0, "bad base64 encoding"))?;
        let now = ttl::now();
        let records = page.records.iter().filter(|record| !ttl::is_over(record, now));
        let records = records.map(|record| dao::shown(kind, record));
        Ok(Page { records: records.collect::<Result<_, _>>()?, next: page.next })
    }

    /// All entities of a kind, in pages: calls `each` for every one of them.
    ///
    /// # Errors
    /// If the database fails; some entities have been seen then.
    pub async fn each(&self, kind: &str, mut each: impl FnMut(Arc<Record>)) -> Outcome<()> {
        const PAGE_SIZE: usize = 1000;
        let mut offset: Option<String> = None;
        loop {
            let query =
                PageQuery { size: PAGE_SIZE, offset: offset.as_deref(), ..PageQuery::default() };
            let page = self.page(kind, &query).await?;
            page.records.into_iter().for_each(&mut each);
            offset = page.next;
            if offset.is_none() {
                return Ok(());
            }
        }
    }
}

impl Store {
    /// The id of the default workspace, which all entities belong to.
    pub fn workspace_id(&self) -> String {
        let entities = self.entities();
        let workspace = entities.of("workspaces").by("name", "default");
        let id = workspace.and_then(|workspace| workspace.get("id")?.as_str());
        id.unwrap_or(DEFAULT_WORKSPACE_ID).to_owned()
    }
}

/// Looking up for traffic, from any thread.
impl Store {
    /// The entity of a kind with this value in a unique field, or in `id`: one, or none.
    pub fn find(&self, kind: &str, field: &str, value: &str) -> Sought {
        if let (Backend::Postgres(postgres), false) = (&self.backend, self.holds(kind)) {
            return postgres.find(kind, field, value);
        }
        let entities = self.entities();
        let of = entities.of(kind);
        let found = if field == "id" { of.get(value) } else { of.by(field, value) };
        Sought::Now(found.cloned().into_iter().collect())
    }

    /// The entities of a kind whose field refers to the entity of this id.
    pub fn children(&self, kind: &str, field: &str, parent: &str) -> Sought {
        if let (Backend::Postgres(postgres), false) = (&self.backend, self.holds(kind)) {
            return postgres.children(kind, field, parent);
        }
        Sought::Now(self.entities().of(kind).children(field, parent).cloned().collect())
    }
}

/// What a look-up finds.
pub enum Sought {
    /// This, at once.
    Now(Arc<[Arc<Record>]>),
    /// The database is being asked.
    Later(BoxFuture<'static, Outcome<Arc<[Arc<Record>]>>>),
}

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

/// A change of one entity.
#[derive(Debug, Clone)]
enum Change<'a> {
    Insert(Record),
    Update(Key<'a>, Record),
    Upsert(Key<'a>, Record),
    Delete(Key<'a>),
}

impl Change<'_> {
    /// What is said of it where nothing can be written.
    fn refusal(&self, kind: &str) -> Fault {
        let (write, key) = match self {
            Change::Insert(_) => (Write::Create, None),
            Change::Update(key, _) => (Write::Update, Some(key)),
            Change::Upsert(key, _) => (Write::Upsert, Some(key)),
            Change::Delete(key) => (Write::Delete, Some(key)),
        };
        refuse(write, kind, key.and_then(Key::field))
    }

    /// Makes the change in a transaction, which is left to be committed. What comes back is the
    /// entity as clients see it; none if it was deleted.
    async fn apply<T: Transaction>(
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
enum Batch<'a> {
    /// These are put in.
    Import(&'a Entities),
    /// These, by kind and key, are deleted if they have ended by then.
    Expire(&'a [(String, String)], f64),
}

impl Batch<'_> {
    /// Makes the change in a transaction, which is left to be committed.
    async fn apply<T: Transaction>(self, kinds: &Kinds, transaction: &mut T) -> Outcome<()> {
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
fn ended(entities: &Entities, now: f64) -> Vec<(String, String)> {
    let mortal = entities.iter().filter(|(kind, _)| kind.schema.ttl);
    let ended = mortal.flat_map(|(kind, records)| {
        let ended = records.iter().filter(|record| ttl::is_over(record, now));
        ended.map(|record| (kind.schema.name.clone(), kind.key(record)))
    });
    ended.collect()
}

fn kind_of<'a>(kinds: &'a Kinds, name: &str) -> Outcome<&'a Kind> {
    let unknown = || Fault::schema_violation(Errors::of("kind", format!("unknown: '{name}'")));
    kinds.get(name).ok_or_else(unknown)
}

fn nothing() -> Fault {
    Fault::database_error("nothing was written")
}
