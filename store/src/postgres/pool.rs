//! A bounded pool of connections to one server.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::TryStreamExt;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::connection::Connection;
use super::error::DatabaseError;
use super::settings::Server;
use super::value::Param;

/// Connections to one server. Whoever asks has one to itself until it gives it back.
#[derive(Debug)]
pub(crate) struct Pool {
    server: Server,
    io: Handle,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Held only to push or pop.
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl Pool {
    pub(crate) fn new(server: Server, io: Handle) -> Arc<Pool> {
        let turns = Arc::new(Semaphore::new(server.pool.connections.max(1)));
        let (waiting, idle) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        Arc::new(Pool { server, io, turns, waiting, idle })
    }

    /// A connection, a new one if none is idle.
    ///
    /// # Errors
    /// If none is free in time, or the server can't be reached.
    pub(crate) async fn get(self: &Arc<Pool>) -> Result<Lease, DatabaseError> {
        let turn = self.turn().await?;
        let connection = match self.pop() {
            Some(connection) => connection,
            None => Connection::open(&self.server, &self.io).await?,
        };
        Ok(Lease {
            connection: Some(connection),
            in_transaction: false,
            pool: Arc::clone(self),
            _turn: turn,
        })
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, DatabaseError> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(turn);
        }
        let bounds = &self.server.pool;
        let full = |why: String| DatabaseError::Unreachable(why);
        let _waiting = Waiting::join(&self.waiting, bounds.waiters).ok_or_else(|| {
            full(format!("{} wait for a connection to the database already", bounds.waiters))
        })?;
        let turn = Arc::clone(&self.turns).acquire_owned();
        match tokio::time::timeout(bounds.wait, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(full(format!(
                "no connection to the database became free in {} ms",
                bounds.wait.as_millis()
            ))),
        }
    }

    fn pop(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().ok()?;
        let limit = self.server.pool.idle_timeout;
        idle.retain(|(connection, since)| {
            !connection.client.is_closed() && since.elapsed() < limit
        });
        idle.pop().map(|(connection, _)| connection)
    }

    fn push(&self, mut connection: Connection) {
        // Behind a pooler, it may be told what another connection listens to.
        while connection.notifications.try_recv().is_ok() {}
        let Ok(mut idle) = self.idle.lock() else { return };
        if !connection.client.is_closed() && idle.len() < self.server.pool.idle {
            idle.push((connection, Instant::now()));
        }
    }
}

/// One of those that wait, as long as this lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn join(waiting: &AtomicUsize, most: usize) -> Option<Waiting<'_>> {
        let joined = Waiting(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(joined)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection on loan. It goes back to the pool when this is dropped, unless something is in
/// doubt about it.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Option<Connection>,
    in_transaction: bool,
    pool: Arc<Pool>,
    _turn: OwnedSemaphorePermit,
}

impl Lease {
    /// The schema that its tables are in.
    pub(crate) fn schema(&self) -> &str {
        self.connection.as_ref().map_or("", |connection| connection.schema.as_str())
    }

    /// Asks for rows.
    pub(crate) async fn query(
        &mut self,
        sql: &str,
        parameters: &[Param],
    ) -> Result<Vec<Row>, DatabaseError> {
        let typed: Vec<(&(dyn ToSql + Sync), Type)> =
            parameters.iter().map(|value| (value as _, value.kind.clone())).collect();
        self.within(|connection| async move {
            let answer = connection.client.query_typed(sql, &typed).await;
            (connection, answer)
        })
        .await
    }

    /// Runs one statement of a plugin: its rows, and how many it has returned or changed.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(Vec<Row>, u64), DatabaseError> {
        let none: [(&(dyn ToSql + Sync), Type); 0] = [];
        self.within(|connection| async move {
            let answer = async {
                let rows = connection.client.query_typed_raw(sql, none).await?;
                let mut rows = std::pin::pin!(rows);
                let mut all = Vec::new();
                while let Some(row) = rows.as_mut().try_next().await? {
                    all.push(row);
                }
                Ok((all, rows.rows_affected().unwrap_or_default()))
            };
            let answer = answer.await;
            (connection, answer)
        })
        .await
    }

    /// Runs statements without parameters and without an answer.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<(), DatabaseError> {
        self.within(|connection| async move {
            let answer = connection.client.batch_execute(sql).await;
            (connection, answer)
        })
        .await
    }

    /// Runs a statement within a transaction. If it is refused, it has not happened, and the
    /// transaction goes on: false.
    pub(crate) async fn query_or_undo(
        &mut self,
        sql: &str,
        parameters: &[Param],
    ) -> Result<bool, DatabaseError> {
        self.batch("SAVEPOINT before").await?;
        match self.query(sql, parameters).await {
            Ok(_) => self.batch("RELEASE SAVEPOINT before").await.map(|()| true),
            Err(DatabaseError::Refused { .. }) => {
                self.batch("ROLLBACK TO SAVEPOINT before").await.map(|()| false)
            }
            Err(error) => Err(error),
        }
    }

    /// Begins a transaction. Without [`Lease::commit`], the connection goes with it.
    pub(crate) async fn begin(&mut self, mode: &str) -> Result<(), DatabaseError> {
        self.in_transaction = true;
        self.batch(&format!("BEGIN {mode}")).await
    }

    /// Runs statements and ends the transaction; all of it lasts then.
    pub(crate) async fn commit(&mut self, statements: &str) -> Result<(), DatabaseError> {
        self.batch(&format!("{statements} COMMIT")).await?;
        self.in_transaction = false;
        Ok(())
    }

    /// The connection leaves while it is asked something: if the question is dropped or takes too
    /// long, the connection is gone with it.
    async fn within<T, F>(&mut self, ask: impl FnOnce(Connection) -> F) -> Result<T, DatabaseError>
    where
        F: Future<Output = (Connection, Result<T, tokio_postgres::Error>)>,
    {
        let connection = self.connection.take();
        let connection = connection
            .ok_or_else(|| DatabaseError::Unreachable("the connection is closed".to_owned()))?;
        let limit = self.pool.server.timeout;
        match tokio::time::timeout(limit, ask(connection)).await {
            Ok((connection, answer)) => {
                let answer = answer.map_err(DatabaseError::from);
                if !matches!(answer, Err(DatabaseError::Unreachable(_))) {
                    self.connection = Some(connection);
                }
                answer
            }
            Err(_) => Err(DatabaseError::Unreachable(format!(
                "the database did not answer in {} ms",
                limit.as_millis()
            ))),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| !self.in_transaction) {
            self.pool.push(connection);
        }
    }
}
