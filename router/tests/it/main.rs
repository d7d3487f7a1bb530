//! The router against a plain walk over all routes, against atc-router, and against what was
//! recorded.

#![expect(clippy::unwrap_used, reason = "a test may end where it fails")]

mod reference;
mod scenarios;
