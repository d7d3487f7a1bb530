//! Entities in PostgreSQL (`database = postgres`): Kong 3.x's own tables and migration records, so
//! that either gateway goes on where the other has stopped, and both can run side by side.
//!
//! Reading order: [`Settings`] is what kong.conf says, `connection` and `pool` reach the server,
//! [`migrations`] makes and checks the layout, `tables` says which columns hold what, and
//! `database` is the store: changes go through `transaction`, `events` tells others of them,
//! `sync` hears of others' and keeps what is held in memory in step, `cache` keeps the answers to
//! what is not. `counters` counts for plugins.

mod cache;
mod connection;
mod counters;
mod database;
mod error;
mod events;
mod expiry;
mod faults;
mod hint;
mod io;
mod layout;
mod lookup;
pub mod migrations;
mod offset;
mod pool;
mod replica;
mod settings;
mod sync;
mod tables;
mod transaction;
mod value;

pub(crate) use cache::Cache;
pub use cache::Keeping;
pub(crate) use database::Postgres;
pub use database::{Before, OpenError};
pub use error::DatabaseError;
pub use settings::{Bounds, Password, Server, Settings, Tls};
