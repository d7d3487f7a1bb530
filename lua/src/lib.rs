//! The host of Lua plugins: LuaJIT inside.
//!
//! Reading order: a [`state`] is one Lua state, which belongs to a thread; the [`scheduler`] runs
//! functions in it on coroutines that yield only when they must wait; [`bind`] makes functions for
//! Lua, on [`raw`], LuaJIT's own interface; [`current`] is how they reach the exchange;
//! [`modules`] says where `require` looks.

#![allow(dead_code, reason = "the parts come one by one")]

mod config;

mod state;

mod bind;
mod current;
mod raw;
mod scheduler;

mod library;
mod modules;
mod ngx;

pub use config::{Config, Untrusted};

#[cfg(test)]
mod testing;
