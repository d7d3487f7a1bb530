//! Hearing of changes: one connection that listens, and reads `cluster_events` from time to time.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Handle;
use tokio_postgres::Notification;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::postgres::connection::Connection;
use crate::postgres::error::DatabaseError;
use crate::postgres::events::{CHANNEL, OF_CHANGES};
use crate::postgres::hint::Hint;
use crate::postgres::pool::Pool;
use crate::postgres::settings::Settings;
use crate::postgres::value::Param;

/// How many events are read at a time (kong/cluster_events/init.lua, `PAGE_SIZE`).
const EVENTS: usize = 1000;
/// How far back events are read beyond the last time, for those of transactions that took long.
const GRACE: Duration = Duration::from_secs(2);
/// How long the connection may take to hear itself.
const ECHO: Duration = Duration::from_secs(2);

/// Hears of other nodes' changes.
pub(crate) struct Ear {
    settings: Arc<Settings>,
    primary: Arc<Pool>,
    /// The id of this store, so that it does not hear itself.
    instance: String,
    connection: Option<Connection>,
    /// Whether NOTIFY does not come through, as behind poolers that share connections.
    deaf: bool,
    /// Up to when events have been read, by the database's clock, in seconds since 1970.
    read_to: Option<f64>,
    /// Events that were read lately, and when.
    seen: HashMap<String, Instant>,
}

impl Ear {
    pub(crate) fn new(settings: Arc<Settings>, primary: Arc<Pool>, instance: String) -> Ear {
        Ear {
            settings,
            primary,
            instance,
            connection: None,
            deaf: false,
            read_to: None,
            seen: HashMap::new(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether NOTIFY does not come through.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Connects, listens, and finds out whether anything is heard.
    pub(crate) async fn open(&mut self, io: &Handle) -> Result<(), DatabaseError> {
        let server = &self.settings.primary;
        let mut connection = Connection::open(server, io).await?;
        let listen = format!("LISTEN {CHANNEL}");
        within(server.timeout, connection.client.batch_execute(&listen)).await?;
        self.deaf = !self.hears(&mut connection).await?;
        if self.read_to.is_none() {
            self.read_to = Some(time(&connection, server.timeout).await?);
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Whether a connection hears what another says. A pooler that shares connections lets one hear
    /// itself at the most.
    async fn hears(&self, connection: &mut Connection) -> Result<bool, DatabaseError> {
        let greeting = format!("hello {}", Uuid::new_v4());
        let notify = format!("NOTIFY {CHANNEL}, '{greeting}'");
        self.primary.get().await?.batch(&notify).await?;
        let echo = async {
            while let Some(notification) = connection.notifications.recv().await {
                if notification.payload() == greeting {
                    return true;
                }
            }
            false
        };
        Ok(tokio::time::timeout(ECHO, echo).await.unwrap_or(false))
    }

    /// Waits for the next word; none when the connection is lost. Never without a connection.
    pub(super) async fn hear(&mut self) -> Option<Vec<Hint>> {
        let Some(connection) = &mut self.connection else { return pending().await };
        match connection.notifications.recv().await {
            Some(notification) => Some(hints(&self.instance, &notification)),
            None => {
                self.connection = None;
                None
            }
        }
    }

    /// What has been said already.
    pub(super) fn heard(&mut self) -> Vec<Hint> {
        let mut heard = Vec::new();
        if let Some(connection) = &mut self.connection {
            while let Ok(notification) = connection.notifications.try_recv() {
                heard.extend(hints(&self.instance, &notification));
            }
        }
        heard
    }

    /// Reads the events since the last time. If that fails, the connection is given up.
    pub(super) async fn read_events(&mut self) -> Result<Vec<Hint>, DatabaseError> {
        let read = self.try_read_events().await;
        if read.is_err() {
            self.connection = None;
        }
        read
    }

    async fn try_read_events(&mut self) -> Result<Vec<Hint>, DatabaseError> {
        let settings = Arc::clone(&self.settings);
        let (Some(connection), Some(read_to)) = (&self.connection, self.read_to) else {
            return Ok(Vec::new());
        };
        let now = time(connection, settings.primary.timeout).await?;
        let grace = GRACE.max(settings.update_propagation);
        let sql = "SELECT id::text, channel, data FROM cluster_events WHERE node_id <> $1 \
                   AND at > to_timestamp($2) AND at <= to_timestamp($3) \
                   ORDER BY at LIMIT $4 OFFSET $5";
        let mut hints = Vec::new();
        for page in 0.. {
            let parameters = [
                Param::new(&settings.node_id.as_str().into(), &Type::UUID)?,
                Param::new(&(read_to - grace.as_secs_f64()).into(), &Type::FLOAT8)?,
                Param::new(&now.into(), &Type::FLOAT8)?,
                Param::integer(EVENTS as i64),
                Param::integer((page * EVENTS) as i64),
            ];
            let typed: Vec<(&(dyn tokio_postgres::types::ToSql + Sync), Type)> =
                parameters.iter().map(|value| (value as _, value.kind.clone())).collect();
            let asked = connection.client.query_typed(sql, &typed);
            let rows = within(settings.primary.timeout, asked).await?;
            for row in &rows {
                let id: String = row.get(0);
                let text = |at| row.get::<_, Option<String>>(at).unwrap_or_default();
                // What plugins say is not read again where a NOTIFY may have been missed.
                let of_change = OF_CHANGES.contains(&text(1).as_str());
                let told = is_ours(&id) && !self.deaf && of_change;
                if self.seen.insert(id, Instant::now()).is_none() && !told {
                    hints.extend(Hint::of_event(&text(1), &text(2)));
                }
            }
            if rows.len() < EVENTS {
                break;
            }
        }
        self.read_to = Some(now);
        let memory = grace * 2 + settings.update_frequency * 2;
        self.seen.retain(|_, read| read.elapsed() < memory);
        Ok(hints)
    }
}

/// Whether a Silverback has written an event: it has told of it by NOTIFY as well.
fn is_ours(id: &str) -> bool {
    id.as_bytes().get(14) == Some(&b'8')
}

fn hints(instance: &str, notification: &Notification) -> Vec<Hint> {
    let payload: Value = match serde_json::from_str(notification.payload()) {
        Ok(payload) => payload,
        // The greeting of one that has just come.
        Err(_) => return Vec::new(),
    };
    if payload["from"].as_str() == Some(instance) {
        return Vec::new();
    }
    let hints = payload["hints"].as_array();
    hints.map_or_else(|| vec![Hint::All], |hints| hints.iter().map(Hint::from_json).collect())
}

/// The database's time.
async fn time(connection: &Connection, limit: Duration) -> Result<f64, DatabaseError> {
    let sql = "SELECT extract(epoch FROM clock_timestamp())::float8";
    let rows = within(limit, connection.client.query_typed(sql, &[])).await?;
    Ok(rows.first().map_or(0.0, |row| row.get(0)))
}

async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, DatabaseError> {
    match tokio::time::timeout(limit, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(DatabaseError::Unreachable(format!(
            "the database did not answer in {} ms",
            limit.as_millis()
        ))),
    }
}
