//! The store from outside: what a change may be, what becomes of it, what is kept.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails says why")]

mod changes;
mod endurance;
mod kit;
mod postgres;
mod random;
mod whole;
