//! What nodes that share a database have together besides entities: counters, and words about what
//! plugins keep.

use futures_util::future::BoxFuture;
use silverback_model::counters::{Count, Tally};
use tokio::sync::broadcast;

use crate::{Backend, Outcome, Store};

/// What a node tells the others of what its plugins keep, in the words of Kong's cluster events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What it is about.
    pub channel: String,
    /// What is said.
    pub data: String,
}

/// The channel for what proxy-cache is to drop: `PLUGIN:KEY`, or `PLUGIN:nil` for all
/// (kong/plugins/proxy-cache/api.lua).
pub const PROXY_CACHE_PURGE: &str = "proxy-cache:purge";

/// The channel for keys of `kong.cache` that are stale (kong/global.lua).
pub const CACHE_INVALIDATIONS: &str = "invalidations";

/// The channel for log levels that hold for a time (kong/runloop/log_level.lua).
pub const LOG_LEVEL: &str = "log_level";

/// What nodes of a cluster tell each other.
impl Store {
    /// Tells the other nodes that drop what proxy-cache keeps; nobody where nodes share no
    /// database.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn tell_purge(&self, data: &str) -> Outcome<()> {
        match &self.backend {
            Backend::Postgres(postgres) => postgres.tell(PROXY_CACHE_PURGE, data).await,
            Backend::Memory | Backend::Sqlite(_) => Ok(()),
        }
    }

    /// Tells the other nodes that what they have cached under a key is stale, in the way of Kong's
    /// `kong.cache:invalidate`; nobody where nodes share no database.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn tell_stale(&self, key: &str) -> Outcome<()> {
        match &self.backend {
            Backend::Postgres(postgres) => postgres.tell(CACHE_INVALIDATIONS, key).await,
            Backend::Memory | Backend::Sqlite(_) => Ok(()),
        }
    }

    /// Tells the other nodes something, in the way of Kong's `kong.cluster_events`: they hear it
    /// once each, when they next look (`db_update_frequency`). Nobody where nodes share no
    /// database.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn broadcast(&self, channel: &str, data: &str) -> Outcome<()> {
        match &self.backend {
            Backend::Postgres(postgres) => postgres.broadcast(channel, data).await,
            Backend::Memory | Backend::Sqlite(_) => Ok(()),
        }
    }

    /// What other nodes tell from now on; none where there are no others.
    pub fn told(&self) -> Option<broadcast::Receiver<Told>> {
        match &self.backend {
            Backend::Postgres(postgres) => Some(postgres.told()),
            Backend::Memory | Backend::Sqlite(_) => None,
        }
    }
}

/// Counters of a cluster.
impl Store {
    /// Counts so much in each window, or in none if one of them has reached its limit, exactly,
    /// whoever else counts: what was used before, of each window in turn. Nothing where nodes
    /// share no database.
    ///
    /// # Errors
    /// Why the database can't say. Nothing was counted then, or the answer got lost.
    pub fn count(
        &self,
        tally: Tally,
        count: Count,
    ) -> Option<BoxFuture<'static, Result<Vec<u64>, String>>> {
        match &self.backend {
            Backend::Postgres(postgres) => Some(postgres.count(tally, count)),
            Backend::Memory | Backend::Sqlite(_) => None,
        }
    }
}
