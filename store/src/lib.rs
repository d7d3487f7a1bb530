//! Where entities live: in memory only, filled from a declarative file, or in a database.
//!
//! Whatever keeps them, what they are at a moment is a [`State`], and whoever depends on them
//! follows the [`Changes`]. What is asked of a change is the same for every database, and stands
//! in `dao`; a database is a [`Transaction`].

mod change;
mod cluster;
mod dao;
mod draft;
mod feed;
pub mod last_good;
pub mod memory;
pub mod postgres;
mod query;
pub mod sqlite;
mod transaction;
pub mod ttl;
mod versions;
mod watching;
mod writing;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use silverback_model::Record;
use silverback_model::declarative::DEFAULT_WORKSPACE_ID;
use silverback_model::errors::{Errors, Fault};
use silverback_model::set::{Entities, Kind, Kinds, Page, PageQuery, TagFilter};

pub use cluster::{CACHE_INVALIDATIONS, LOG_LEVEL, PROXY_CACHE_PURGE, Told};
pub use dao::{Key, Options};
pub use feed::{Changes, State};
pub use query::Queried;
pub use transaction::{Answer, Kept, Transaction};
pub use watching::Changed;

use dao::Dao;
use draft::Draft;
use feed::Feed;
use last_good::Answers;
use postgres::{Cache, Postgres};
use sqlite::{OpenError, Sqlite};
use tokio::sync::broadcast;

/// Where the entities of a node live. It is shared by all that read or write them.
#[derive(Debug)]
pub struct Store {
    feed: Arc<Feed>,
    backend: Backend,
    /// Changes of this node, one by one.
    changed: broadcast::Sender<Changed>,
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
        Store::of(Arc::new(memory::feed(kinds)), Backend::Memory)
    }

    /// A store in a file, which is made where there is none.
    ///
    /// # Errors
    /// If the file can't be used: it is another's, of a newer version, damaged, or in use.
    pub fn sqlite(file: &std::path::Path, kinds: &Arc<Kinds>) -> Result<Store, OpenError> {
        let (feed, sqlite) = Sqlite::open(file, kinds)?;
        Ok(Store::of(feed, Backend::Sqlite(sqlite)))
    }

    /// A store in a PostgreSQL database. Where that can't be reached, it begins with what was known
    /// `before`, if that is given, and goes on as soon as it can.
    ///
    /// # Errors
    /// If the database's tables are not ready, or it can't be reached.
    pub async fn postgres(
        settings: postgres::Settings,
        keeping: postgres::Keeping,
        kinds: Arc<Kinds>,
        before: Option<postgres::Before>,
    ) -> Result<Store, postgres::OpenError> {
        let (feed, postgres) = Postgres::open(settings, keeping, kinds, before).await?;
        Ok(Store::of(feed, Backend::Postgres(Box::new(postgres))))
    }

    fn of(feed: Arc<Feed>, backend: Backend) -> Store {
        Store { feed, backend, changed: watching::channel() }
    }

    /// What the entities are now, and the hash of what they were loaded from.
    pub fn state(&self) -> Arc<State> {
        self.feed.state()
    }

    /// What the entities are now, as far as they are held in memory ([`Store::holds`]).
    pub fn entities(&self) -> Arc<Entities> {
        Arc::clone(&self.state().entities)
    }

    /// A number that is another as soon as entities of a kind may have changed, through whichever
    /// node: for those who keep what they have made of them. Read it before them.
    pub fn version_of(&self, kind: &str) -> u64 {
        let asked_for = match &self.backend {
            Backend::Postgres(postgres) => postgres.version_of(kind),
            Backend::Memory | Backend::Sqlite(_) => 0,
        };
        self.feed.versions.of(kind) + asked_for
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

    /// Whether changes of other nodes are looked for from time to time (`db_update_frequency`), as
    /// the database does not tell of them: behind a pooler that shares connections.
    pub fn polls(&self) -> bool {
        match &self.backend {
            Backend::Postgres(postgres) => postgres.polls(),
            Backend::Memory | Backend::Sqlite(_) => false,
        }
    }

    /// Where the database is, if it is a server's: what tells it from others.
    pub fn address(&self) -> Option<String> {
        match &self.backend {
            Backend::Postgres(postgres) => Some(postgres.address()),
            Backend::Memory | Backend::Sqlite(_) => None,
        }
    }

    /// The answers to look-ups that are kept, up to about so many bytes, for another store to go
    /// on from; none where all is held in memory.
    pub fn answers(&self, bytes: usize) -> Answers {
        self.cache().map(|cache| cache.answers(bytes)).unwrap_or_default()
    }

    /// How often an answer to a look-up came or went.
    pub fn answers_changed(&self) -> u64 {
        self.cache().map_or(0, Cache::news)
    }

    fn cache(&self) -> Option<&Cache> {
        match &self.backend {
            Backend::Postgres(postgres) => Some(postgres.cache()),
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
        let page = entities.of(&kind.schema.name).page_of(query, |record| {
            // What has ended may not be swept yet.
            !kind.schema.ttl || !ttl::is_over(record, ttl::now())
        });
        let page = page.map_err(|error| Fault::invalid_offset(&error.0, "bad base64 encoding"))?;
        let records = page.records.iter().map(|record| dao::shown(kind, record));
        Ok(Page { records: records.collect::<Result<_, _>>()?, next: page.next })
    }

    /// All entities of a kind, in pages: calls `each` for every one of them.
    ///
    /// # Errors
    /// If the database fails; some entities have been seen then.
    pub async fn each(&self, kind: &str, each: impl FnMut(Arc<Record>)) -> Outcome<()> {
        self.each_tagged(kind, None, each).await
    }

    /// Those of them that have these tags.
    ///
    /// # Errors
    /// As [`Store::each`].
    pub async fn each_tagged(
        &self,
        kind: &str,
        tags: Option<&TagFilter>,
        mut each: impl FnMut(Arc<Record>),
    ) -> Outcome<()> {
        const SIZE: usize = 1000;
        let mut offset: Option<String> = None;
        loop {
            let offset_now = offset.as_deref();
            let query = PageQuery { size: SIZE, offset: offset_now, tags, parent: None };
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

fn kind_of<'a>(kinds: &'a Kinds, name: &str) -> Outcome<&'a Kind> {
    let unknown = || Fault::schema_violation(Errors::of("kind", format!("unknown: '{name}'")));
    kinds.get(name).ok_or_else(unknown)
}
