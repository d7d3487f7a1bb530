//! End-to-end tests: the gateway's binary with the real plugin servers of Kong's PDKs.
//!
//! One program for all of them, so that it links once: `cargo test -p silverback-e2e --test it`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod admin;
mod admin_random;
mod bad_input;
mod bundled;
mod change;
mod deck;
mod docs;
mod faults;
mod languages;
mod logging;
mod lua;
mod lua_entities;
mod lua_limits;
mod lua_together;
mod metrics;
mod phases;
mod postgres;
mod queues;
mod redis;
mod settings;
mod start_up;
mod state;
mod tidy;
mod tls;
mod uses;
mod vaults;
mod wire;
