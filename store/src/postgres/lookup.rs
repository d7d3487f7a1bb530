//! Looking up for traffic: in what is kept, at a replica, at the primary.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use silverback_model::set::{Kind, Kinds};

use super::cache::Known;
use super::database::Postgres;
use super::error::DatabaseError;
use super::faults;
use super::hint;
use super::pool::Pool;
use super::sync::Shared;
use super::tables::Tables;
use super::transaction::PgTransaction;
use crate::transaction::{Kept, Transaction};
use crate::{Outcome, Sought};

impl Postgres {
    /// The entity of a kind with this value in a unique field, or in `id`.
    pub(crate) fn find(&self, kind: &str, field: &str, value: &str) -> Sought {
        let by_id = field == "id";
        let (name, value) = (field.to_owned(), value.to_owned());
        let lookup = hint::lookup(kind, field, &value);
        self.seek(kind, lookup, move |mut reader, kind| {
            let (name, value) = (name.clone(), value.clone());
            async move {
                let found = match by_id {
                    true => reader.get(&kind, &value).await?,
                    false => reader.by(&kind, &name, &value).await?,
                };
                Ok(found.into_iter().collect())
            }
            .boxed()
        })
    }

    /// The entities of a kind whose field refers to the entity of this id.
    pub(crate) fn children(&self, kind: &str, field: &str, parent: &str) -> Sought {
        let (name, parent) = (field.to_owned(), parent.to_owned());
        let lookup = hint::lookup(kind, field, &parent);
        self.seek(kind, lookup, move |mut reader, kind| {
            let (name, parent) = (name.clone(), parent.clone());
            async move { Ok(reader.children(&kind, &name, &parent).await?.into()) }.boxed()
        })
    }

    fn seek(
        &self,
        name: &str,
        lookup: hint::Lookup,
        ask: impl Fn(PgTransaction, Kind) -> Asking + Send + Sync + 'static,
    ) -> Sought {
        let (seen, stale) = match self.shared.cache.get(lookup) {
            Known::Answer(answer) => return Sought::Now(answer),
            Known::Coming(coming) => return Sought::Later(coming.boxed()),
            Known::Unknown { seen, stale } => (seen, stale),
        };
        let kinds = Arc::clone(self.shared.feed.state().entities.kinds());
        let Some(kind) = kinds.get(name).cloned() else { return Sought::Now([].into()) };
        let shared = Arc::clone(&self.shared);
        let asking = async move {
            if let Some(replica) = &shared.replica
                && let Some(pool) = replica.pool(&kind.schema.name, lookup)
            {
                let found = look_up(&shared, pool, &kinds, &kind, &ask).await;
                if !matches!(&found, Err(fault) if fault.temporary) {
                    return found;
                }
                replica.failed();
            }
            look_up(&shared, &shared.primary, &kinds, &kind, &ask).await
        };
        let coming = self.shared.cache.ask(name, lookup, (seen, stale), asking.boxed());
        // It comes whether or not the one that asked is still there: others may wait for it.
        self.io.handle().spawn(coming.clone().map(drop));
        Sought::Later(coming.boxed())
    }
}

/// An answer of the database to come.
type Asking = BoxFuture<'static, Outcome<Arc<[Kept]>>>;

/// Asks one server.
async fn look_up(
    shared: &Shared,
    pool: &Arc<Pool>,
    kinds: &Arc<Kinds>,
    kind: &Kind,
    ask: &(impl Fn(PgTransaction, Kind) -> Asking + Sync),
) -> Outcome<Arc<[Kept]>> {
    let reader = async {
        let mut lease = pool.get().await?;
        let tables = match shared.known_tables() {
            Some(tables) => tables,
            None => Arc::new(Tables::read(&mut lease, kinds).await?),
        };
        Ok(PgTransaction::to_read(lease, tables))
    };
    let reader = reader.await.map_err(|error: DatabaseError| faults::of_database(&error))?;
    ask(reader, kind.clone()).await
}
