//! A store in PostgreSQL: its entities, changes and look-ups.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use silverback_model::Record;
use silverback_model::counters::{Count, Tally};
use silverback_model::declarative::EMPTY_HASH;
use silverback_model::errors::Fault;
use silverback_model::set::{Entities, Kind, Kinds, Page, PageQuery};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_postgres::Row;
use uuid::Uuid;

use super::cache::{Cache, Keeping};
use super::counters::Counters;
use super::error::DatabaseError;
use super::events::{self, Author};
use super::faults;
use super::hint::Hint;
use super::io::Io;
use super::migrations::{self, MigrationError};
use super::pool::Pool;
use super::replica::Replica;
use super::settings::Settings;
use super::sync::ear::Ear;
use super::sync::{Follower, Health, Order, Shared, is_held, load};
use super::tables::Tables;
use super::transaction::{Done, PgTransaction};
use super::value::Cell;
use crate::change::Change;
use crate::dao::Dao;
use crate::feed::Feed;
use crate::last_good::Answers;
use crate::transaction::Kept;
use crate::{Key, Options, Outcome, Queried, Told, dao};

/// How often a change is tried that loses against others.
const TRIES: usize = 20;

/// How often that is tried which others may have made first, so that it is to be changed now.
const TRIES_OF_VIOLATIONS: usize = 3;

/// How many entities of a change are read back by their keys: where they are more, their kinds are.
const ONE_BY_ONE: usize = 1_000;

/// How much may wait to be read of what other nodes tell.
const TOLD: usize = 1_000;

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The tables are not ready.
    #[error(transparent)]
    Migrations(#[from] MigrationError),
    /// No thread can be had.
    #[error("can't start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl OpenError {
    /// Whether the database could not be reached: it may come back.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, OpenError::Migrations(MigrationError::Database(error))
            if error.is_unreachable())
    }
}

/// What is known of a database from before, for a start without it.
#[derive(Debug)]
pub struct Before {
    /// What was held in memory.
    pub entities: Entities,
    /// What was looked up.
    pub answers: Answers,
}

/// A store in PostgreSQL.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(super) shared: Arc<Shared>,
    author: Author,
    orders: mpsc::UnboundedSender<Order>,
    counters: Counters,
    /// The last to go: connections need its thread.
    pub(super) io: Io,
}

impl Postgres {
    /// Opens it and reads what is held in memory. If the database can't be reached, it begins with
    /// what is known from before, and catches up as soon as it can.
    pub(crate) async fn open(
        settings: Settings,
        keeping: Keeping,
        kinds: Arc<Kinds>,
        before: Option<Before>,
    ) -> Result<(Arc<Feed>, Postgres), OpenError> {
        let io = Io::start()?;
        let settings = Arc::new(settings);
        let primary = Pool::new(settings.primary.clone(), io.handle());
        let instance = Uuid::new_v4().to_string();
        // It listens before it reads, so that it misses nothing.
        let mut ear = Ear::new(Arc::clone(&settings), Arc::clone(&primary), instance.clone());
        let read = match ear.open(&io.handle()).await {
            Ok(()) => read(&primary, &settings, &kinds).await,
            Err(error) => Err(error.into()),
        };
        let cache = Arc::new(Cache::new(keeping));
        let (tables, entities) = match (read.map_err(OpenError::from), before) {
            (Ok((tables, entities)), _) => (Some(Arc::new(tables)), entities),
            (Err(error), Some(before)) if error.is_unreachable() => {
                cache.recall(&before.answers);
                (None, before.entities)
            }
            (Err(error), _) => return Err(error),
        };
        let feed = Arc::new(Feed::new(Arc::new(entities.clone()), EMPTY_HASH.to_owned()));
        let replica = settings.replica.clone().map(|server| {
            Replica::new(Pool::new(server, io.handle()), settings.update_propagation)
        });
        let shared = Arc::new(Shared {
            primary,
            replica,
            feed: Arc::clone(&feed),
            cache,
            health: Health::new(tables.is_some()),
            told: broadcast::Sender::new(TOLD),
            tables: std::sync::Mutex::new(tables),
            settings: Arc::clone(&settings),
        });
        let (orders, inbox) = mpsc::unbounded_channel();
        let follower = Follower::new(Arc::clone(&shared), inbox, io.handle(), entities, ear);
        io.handle().spawn(follower.run());
        io.handle().spawn(super::expiry::run(Arc::downgrade(&shared)));
        let delay = settings.update_propagation.as_secs();
        let author = Author { node: settings.node_id.clone(), instance, delay };
        let counters = Counters::start(&shared.primary, &io.handle());
        Ok((feed, Postgres { shared, author, orders, counters, io }))
    }

    /// How often entities of a kind may have changed.
    pub(crate) fn version_of(&self, kind: &str) -> u64 {
        self.shared.cache.versions.of(kind)
    }

    /// Whether all entities of a kind are held in memory.
    pub(crate) fn holds(kind: &str) -> bool {
        is_held(kind)
    }

    /// What is wrong with the database; nothing if it can be asked.
    pub(crate) fn trouble(&self) -> Option<String> {
        let health = &self.shared.health;
        if health.reachable.load(Ordering::Relaxed) {
            return None;
        }
        Some(health.error.lock().map(|error| error.clone()).unwrap_or_default())
    }

    /// Whether others' changes are looked for from time to time, as no NOTIFY comes through.
    pub(crate) fn polls(&self) -> bool {
        self.shared.health.polls.load(Ordering::Relaxed)
    }

    /// Where the database is.
    pub(crate) fn address(&self) -> String {
        self.shared.settings.primary.address()
    }

    /// The kept answers to look-ups.
    pub(crate) fn cache(&self) -> &Cache {
        &self.shared.cache
    }

    async fn tables(&self) -> Result<Arc<Tables>, DatabaseError> {
        if let Some(tables) = self.shared.known_tables() {
            return Ok(tables);
        }
        let kinds = Arc::clone(self.shared.feed.state().entities.kinds());
        let tables = Tables::read(&mut self.shared.primary.get().await?, &kinds).await?;
        let tables = Arc::new(tables);
        self.shared.set_tables(Some(Arc::clone(&tables)));
        Ok(tables)
    }

    async fn reader(&self) -> Result<PgTransaction, DatabaseError> {
        let tables = self.tables().await?;
        Ok(PgTransaction::to_read(self.shared.primary.get().await?, tables))
    }

    /// The entity that a key names, as clients see it.
    pub(crate) async fn select(
        &self,
        kinds: &Kinds,
        kind: &Kind,
        key: Key<'_>,
    ) -> Outcome<Option<Kept>> {
        let mut reader = self.reader().await.map_err(|error| faults::of_database(&error))?;
        let found = Dao { kinds, transaction: &mut reader }.find(kind, key).await?;
        found.map(|record| dao::shown(kind, &record)).transpose()
    }

    /// A page of a kind, as clients see it.
    pub(crate) async fn page(&self, kind: &Kind, query: &PageQuery<'_>) -> Outcome<Page> {
        let mut reader = self.reader().await.map_err(|error| faults::of_database(&error))?;
        let page = reader.page(kind, query).await?;
        let records = page.records.iter().map(|record| dao::shown(kind, record));
        Ok(Page { records: records.collect::<Result<_, _>>()?, next: page.next })
    }

    /// Makes a change, and says by which version it is published; none if there was nothing to do,
    /// or it could not be read again at once.
    pub(crate) async fn write(
        &self,
        name: &str,
        change: Change<'_>,
        options: &Options,
    ) -> Outcome<(Option<Kept>, Option<u64>)> {
        let kinds = Arc::clone(self.shared.feed.state().entities.kinds());
        for attempt in 1.. {
            let mut transaction = self.begin().await?;
            let applied = change.clone().apply(&kinds, &mut transaction, name, options).await;
            let lost = transaction.lost && attempt < TRIES
                || change.may_have_raced(&applied) && attempt < TRIES_OF_VIOLATIONS;
            let record = match applied {
                Err(_) if lost => {
                    drop(transaction);
                    pause(attempt).await;
                    continue;
                }
                applied => applied?,
            };
            if transaction.changes.is_empty() {
                return Ok((record, None));
            }
            match transaction.commit_with_events(&self.author).await {
                Ok(done) => return Ok((record, self.publish(&kinds, &done).await)),
                Err((_, true)) if attempt < TRIES => pause(attempt).await,
                Err((fault, _)) => return Err(fault),
            }
        }
        unreachable!("the last try has returned")
    }

    async fn begin(&self) -> Outcome<PgTransaction> {
        let begun = async {
            let tables = self.tables().await?;
            // A connection that was closed while it was idle is found out here, and only here.
            match PgTransaction::to_change(self.shared.primary.get().await?, tables.clone()).await {
                Err(error) if error.is_unreachable() => {
                    PgTransaction::to_change(self.shared.primary.get().await?, tables).await
                }
                begun => begun,
            }
        };
        begun.await.map_err(|error: DatabaseError| faults::of_database(&error))
    }

    /// Has a change read back, and says by which version it is published.
    async fn publish(&self, kinds: &Kinds, done: &[Done]) -> Option<u64> {
        let kind = |done: &Done| Hint::Kind(done.change.kind.clone());
        if done.len() > ONE_BY_ONE {
            let kinds: HashSet<Hint> = done.iter().map(kind).collect();
            return self.follow(kinds.into_iter().collect()).await;
        }
        let hints =
            done.iter().filter_map(|done| Some(Hint::of(kinds.get(&done.change.kind)?, done)));
        self.follow(hints.collect()).await
    }

    async fn follow(&self, hints: Vec<Hint>) -> Option<u64> {
        // Before the answer, whatever the task has to do first.
        hints.iter().for_each(|hint| self.shared.forget(hint));
        let (done, version) = oneshot::channel();
        self.orders.send(Order { hints, kinds: None, done: Some(done) }).ok()?;
        version.await.ok()
    }

    /// Puts entities in, and says by which version they are published.
    pub(crate) async fn import(&self, entities: &Entities) -> Outcome<Option<u64>> {
        for attempt in 1.. {
            match self.put(entities).await {
                Ok(done) => return Ok(self.publish(entities.kinds(), &done).await),
                Err((_, true)) if attempt < TRIES => pause(attempt).await,
                Err((fault, _)) => return Err(fault),
            }
        }
        unreachable!("the last try has returned")
    }

    /// Tries it. Beside what is wrong stands whether another try may go well.
    async fn put(&self, entities: &Entities) -> Result<Vec<Done>, (Fault, bool)> {
        let mut transaction = self.begin().await.map_err(|fault| (fault, false))?;
        // There is a workspace already, and what is put in belongs to it.
        let all = entities.iter().filter(|(kind, _)| kind.schema.name != "workspaces");
        for (kind, records) in all {
            let records: Vec<Kept> = records.iter().cloned().collect();
            let put = transaction.put_all(kind, &records).await;
            put.map_err(|fault| (fault, transaction.lost))?;
        }
        transaction.commit_with_events(&self.author).await
    }

    /// Reads a kind, or all, again.
    pub(crate) async fn forget(&self, kind: Option<&str>) -> Outcome<()> {
        let hint = kind.map_or(Hint::All, |kind| Hint::Kind(kind.to_owned()));
        let read = self.follow(vec![hint]).await;
        let gone = || Fault::database_unreachable("the database can't be reached");
        read.map(drop).ok_or_else(gone)
    }

    /// Goes on with other kinds.
    pub(crate) async fn renew(&self, kinds: Arc<Kinds>) -> Outcome<()> {
        let (done, renewed) = oneshot::channel();
        let order = Order { hints: vec![Hint::All], kinds: Some(kinds), done: Some(done) };
        let gone = || Fault::database_unreachable("the database can't be reached");
        self.orders.send(order).map_err(|_| gone())?;
        renewed.await.map(drop).map_err(|_| gone())
    }

    /// Tells other nodes of what a plugin keeps.
    pub(crate) async fn tell(&self, channel: &'static str, data: &str) -> Outcome<()> {
        self.say(&events::of_plugin(channel, data, &self.author)).await
    }

    /// Tells other nodes what a plugin wants them to know.
    pub(crate) async fn broadcast(&self, channel: &str, data: &str) -> Outcome<()> {
        self.say(&events::row(channel, data, &self.author)).await
    }

    /// Runs a statement of a plugin.
    pub(crate) async fn query(&self, sql: &str) -> Outcome<Queried> {
        let asked = async {
            let (rows, affected) = self.shared.primary.get().await?.run(sql).await?;
            let row = |row: &Row| {
                let columns = row.columns().iter().enumerate();
                columns.map(|(at, one)| Ok((one.name().to_owned(), Cell::of(row, at)?))).collect()
            };
            let rows: Result<Vec<Record>, DatabaseError> = rows.iter().map(row).collect();
            Ok(Queried { rows: rows?, affected })
        };
        asked.await.map_err(|error: DatabaseError| faults::of_database(&error))
    }

    async fn say(&self, sql: &str) -> Outcome<()> {
        let told = async { self.shared.primary.get().await?.batch(sql).await };
        told.await.map_err(|error: DatabaseError| faults::of_database(&error))
    }

    /// What other nodes tell from now on.
    pub(crate) fn told(&self) -> broadcast::Receiver<Told> {
        self.shared.told.subscribe()
    }

    /// Counts, whether or not the answer is waited for.
    pub(crate) fn count(
        &self,
        tally: Tally,
        count: Count,
    ) -> BoxFuture<'static, Result<Vec<u64>, String>> {
        self.counters.count(tally, count)
    }
}

/// Waits a little longer with each try, and not as long as another that lost as well.
async fn pause(attempt: usize) {
    let spread = (Uuid::new_v4().as_u128() % 8) as u64;
    let millis = (attempt as u64).min(10) * 2 + spread;
    tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
}

/// What is held, by a database whose tables are ready.
async fn read(
    primary: &Arc<Pool>,
    settings: &Settings,
    kinds: &Arc<Kinds>,
) -> Result<(Tables, Entities), MigrationError> {
    let mut lease = primary.get().await?;
    migrations::check(&mut lease, &settings.plugins, &settings.own_migrations).await?;
    let tables = Tables::read(&mut lease, kinds).await?;
    let entities = load::all(&mut lease, &tables, kinds).await?;
    Ok((tables, entities))
}
