//! The host of plugin servers: processes in other languages whose plugins take part in requests.
//!
//! Reading order: [`Servers::query`] asks the servers for their plugins and makes [`Plugin`]s of
//! them; a handler of such a plugin is an [`event`], which runs on a [`connection`] for an
//! [`instance`] and calls functions of the `kong.*` table for the other side; the [`supervisor`]
//! keeps the servers running meanwhile. Both wire protocols are served: [`msgpack`] and
//! [`protobuf`].
//!
//! [`Plugin`]: silverback_pdk::Plugin

mod config;
mod servers;

mod body_file;
mod connection;
mod event;
mod info;
mod input;
mod instance;
mod server;
mod status;
mod stream;

mod output;
mod process;
mod supervisor;
mod system;

pub mod msgpack;
pub mod protobuf;

pub use config::Config;
pub use input::Part;
pub use servers::{QueryError, QueryErrors, Servers};
pub use status::{Condition, ServerStatus};

#[cfg(test)]
mod testing;
