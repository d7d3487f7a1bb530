//! Plugin servers, real and fake, without a gateway around them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code: what is broken fails the test")]

mod cost;
mod fake;
mod harness;
mod probe;
mod real;
mod supervision;
