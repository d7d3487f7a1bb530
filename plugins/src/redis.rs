//! Redis: the settings that plugins share (`kong/tools/redis/schema.lua`), and connections.
//!
//! A worker has one connection for each set of settings, on which all requests are pipelined:
//! instances with the same settings share it, instances with different settings never do.

mod connect;

use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};

use futures_util::{
    FutureExt,
    future::{LocalBoxFuture, Shared},
};
use redis::{Script, aio::MultiplexedConnection};
use serde::Deserialize;
use silverback_macros::Config;
use thiserror::Error;
use tokio::task::JoinHandle;

use crate::tls::Trust;

/// Where Redis is, and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize, Config)]
pub(crate) struct RedisSettings {
    /// The host of Redis.
    #[field(typedef = host)]
    host: Option<String>,
    /// Its port.
    #[field(typedef = port, default = 6379)]
    port: Option<u16>,
    /// How long to wait for Redis: for a connection, and for each answer. In milliseconds.
    #[field(typedef = timeout, default = 2000)]
    timeout: Option<u64>,
    /// The user to authenticate as; none: the default user.
    #[field(referenceable)]
    username: Option<String>,
    /// The password to authenticate with; none: nobody authenticates.
    #[field(encrypted, referenceable, len_min = 0)]
    password: Option<String>,
    /// The number of the database.
    #[field(default = 0)]
    database: Option<i64>,
    /// Whether to use TLS.
    #[field(required = false, default = false)]
    ssl: Option<bool>,
    /// Whether to verify the certificate of Redis against `lua_ssl_trusted_certificate`.
    #[field(required = false, default = false)]
    ssl_verify: Option<bool>,
    /// The name that TLS asks for and verifies; none: the host.
    #[field(typedef = sni, required = false)]
    server_name: Option<String>,
}

impl RedisSettings {
    fn host(&self) -> &str {
        self.host.as_deref().unwrap_or("127.0.0.1")
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout.unwrap_or(2_000).max(1))
    }
}

/// Why Redis can't be asked.
#[derive(Debug, Clone, Error)]
pub(crate) enum RedisFault {
    /// There is no connection.
    #[error("can't connect to Redis at {at}: {why}")]
    Connect {
        /// Host and port.
        at: String,
        /// Why not.
        why: String,
    },
    /// It does not answer, or not well.
    #[error("Redis at {at}: {why}")]
    Answer {
        /// Host and port.
        at: String,
        /// What is wrong.
        why: String,
    },
}

/// A Redis that instances have configured.
#[derive(Clone)]
pub(crate) struct Redis(Arc<Inner>);

struct Inner {
    settings: RedisSettings,
    trust: Trust,
}

/// An open connection, or one that is being opened, which all wait for.
enum Slot {
    Open(MultiplexedConnection, JoinHandle<()>),
    Opening(Shared<LocalBoxFuture<'static, Result<MultiplexedConnection, RedisFault>>>),
}

thread_local! {
    static CONNECTIONS: RefCell<HashMap<RedisSettings, Slot>> = RefCell::default();
}

impl Redis {
    pub(crate) fn new(settings: RedisSettings, trust: Trust) -> Redis {
        Redis(Arc::new(Inner { settings, trust }))
    }

    pub(crate) fn settings(&self) -> &RedisSettings {
        &self.0.settings
    }

    fn at(&self) -> String {
        let settings = &self.0.settings;
        format!("{}:{}", settings.host(), settings.port.unwrap_or(6379))
    }

    /// This thread's connection.
    async fn connection(&self) -> Result<MultiplexedConnection, RedisFault> {
        let settings = &self.0.settings;
        let opening = CONNECTIONS.with_borrow_mut(|known| match known.get(settings) {
            Some(Slot::Open(connection, driver)) if !driver.is_finished() => Ok(connection.clone()),
            Some(Slot::Opening(opening)) => Err(opening.clone()),
            _ => {
                let this = self.clone();
                let opening = async move { this.open().await }.boxed_local().shared();
                known.insert(settings.clone(), Slot::Opening(opening.clone()));
                Err(opening)
            }
        });
        match opening {
            Ok(connection) => Ok(connection),
            Err(opening) => opening.await,
        }
    }

    async fn open(self) -> Result<MultiplexedConnection, RedisFault> {
        let opened = connect::open(&self.0.settings, &self.0.trust).await;
        CONNECTIONS.with_borrow_mut(|known| match opened {
            Ok((connection, driver)) => {
                let open = Slot::Open(connection.clone(), driver);
                known.insert(self.0.settings.clone(), open);
                Ok(connection)
            }
            Err(why) => {
                known.remove(&self.0.settings);
                Err(RedisFault::Connect { at: self.at(), why })
            }
        })
    }

    /// Runs a script: it does all that it does, or nothing.
    ///
    /// # Errors
    /// If Redis can't be reached within its timeout, or refuses.
    pub(crate) async fn run<T: redis::FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        args: &[String],
    ) -> Result<T, RedisFault> {
        let mut connection = self.connection().await?;
        let mut call = script.prepare_invoke();
        for key in keys {
            call.key(key);
        }
        for arg in args {
            call.arg(arg);
        }
        call.invoke_async(&mut connection).await.map_err(|error| {
            if error.is_timeout() || error.is_connection_dropped() || error.is_io_error() {
                // Answers that come late would be taken for those of others.
                CONNECTIONS.with_borrow_mut(|known| drop(known.remove(&self.0.settings)));
            }
            RedisFault::Answer { at: self.at(), why: error.to_string() }
        })
    }
}
