//! The host of Lua plugins: LuaJIT inside.
//!
//! Reading order: a [`state`] is one Lua state, which belongs to a thread; the [`scheduler`] runs
//! functions in it on coroutines that yield only when they must wait; [`bind`] makes functions for
//! Lua, on [`raw`], LuaJIT's own interface; [`current`] is how they reach the exchange;
//! [`modules`] says where `require` looks. On these stand [`kong`], which binds the table of the
//! PDK, and [`ngx`]. [`host`] finds the plugins and makes handlers of their configurations:
//! [`schema`] reads what those may hold, [`plugins`] keeps what a state has loaded, and
//! [`expression`] runs the Lua in configurations of native plugins.

mod config;

mod state;

mod bind;
mod current;
mod raw;
mod scheduler;

mod bundled;
mod library;
mod modules;

mod kong;
mod ngx;

mod convert;
mod expression;
mod host;
mod plugins;
mod schema;

pub use bundled::BUNDLED;
pub use config::{Config, Untrusted};
pub use expression::serve_expressions;
pub use host::{LoadError, load};

#[cfg(test)]
mod testing;
