//! The data plane at work: workers on a free port, handlers written here, upstreams in the same
//! process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may end where it fails")]

mod kit;

mod dns;
mod endurance;
mod faults;
mod health;
mod load;
mod plugins;
mod proxying;
mod smuggling;
mod stalls;
mod streams;
mod tls;
mod tls_terms;
mod tls_upstream;
mod wire;
