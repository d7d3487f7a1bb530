//! The Admin API and the Status API.
//!
//! Reading order: a [`Service`] answers a request; [`paths`] makes the table of paths from the
//! schemas; [`collection`] serves what every entity has; `routes/` holds the rest, a
//! file each, and [`added`] what plugins bring.

mod answer;
mod arguments;
mod call;
mod request;

mod added;
mod collection;
pub mod log_level;
mod openapi;
mod paths;
mod routes;
mod service;

pub mod server;

pub use answer::{Answer, Refusal};
pub use request::Request;
pub use service::{Facts, Given, Health, Load, LoadError, Service};
