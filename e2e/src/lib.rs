//! What the end-to-end tests stand on: a gateway in a prefix of its own, an upstream that says what
//! it received, an HTTP client that sends exactly what it is told, a plugin server that misbehaves
//! on the wire, and the runner of the conformance scenarios.
//!
//! Everything here blocks and uses threads: a test reads from top to bottom, and what it measures
//! is the gateway, not a runtime shared with it. A missing tool or a gateway that does not start is
//! a panic with a text that says what to do, never a skipped test.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a broken set-up is a failed test"
)]

pub mod conformance;
pub mod fake_server;
pub mod forwarder;
pub mod gateway;
pub mod http;
pub mod load;
pub mod name_server;
pub mod pooler;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod servers;
pub mod setup;
pub mod upstream;
pub mod wait;
