//! Entities in PostgreSQL (`database = postgres`): Kong 3.x's own tables and migration records, so
//! that either gateway goes on where the other has stopped, and both can run side by side.
//!
//! Reading order: [`settings`] is what kong.conf says, `connection` and `pool` reach the server,
//! [`migrations`] makes and checks the layout.

#![expect(dead_code, reason = "what keeps entities stands on the rest")]

mod connection;
mod error;
mod io;
mod layout;
pub mod migrations;
mod pool;
mod settings;
mod value;

pub use error::DatabaseError;
pub use settings::{Bounds, Server, Settings, Tls};
