//! Plugin servers, real and fake, without a gateway around them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code: what is broken fails the test")]

mod fake;
mod harness;
mod real;
mod supervision;
