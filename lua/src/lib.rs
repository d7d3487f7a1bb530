//! The host of Lua plugins: LuaJIT inside.
//!
//! Reading order: a [`state`] is one Lua state, which belongs to a thread; the [`scheduler`] runs
//! functions in it on coroutines that yield only when they must wait, [`together`] the handlers of
//! a phase in one go; [`watch`] stops those that do not end; [`bind`] makes functions for Lua, on
//! [`raw`], LuaJIT's own interface; [`current`] is how they reach the exchange; [`modules`] says
//! where `require` looks. On these stand [`kong`], which binds the table of the PDK, [`ngx`], and
//! [`db`], the way to the store. [`host`] finds the plugins and makes handlers of their
//! configurations: [`schema`] reads what those and their entities may hold, [`plugins`] keeps what
//! a state has loaded, and [`expression`] runs the Lua in configurations of native plugins. [`api`]
//! has the paths that plugins add to the Admin API.

mod config;

mod state;
mod watch;

mod bind;
mod current;
mod raw;
mod scheduler;
mod together;

mod bundled;
mod library;
mod modules;

mod db;
mod kong;
mod ngx;

mod convert;
mod expression;
mod host;
mod migrations;
mod plugins;
mod schema;

pub mod api;

pub use bundled::BUNDLED;
pub use config::{Config, Untrusted};
pub use expression::serve_expressions;
pub use host::{Host, LoadError, load};

#[cfg(test)]
mod testing;
