//! Entities, their schemas, and declarative files. Pure: no I/O.

// The derives name this crate by its full path, inside it too.
extern crate self as silverback_model;

mod record;
mod reference;

pub(crate) use record::shown_fields;
pub use record::{Entity, Record, WORKSPACE, field, shown};
pub use reference::{SecretRef, is_reference};

pub mod counters;
pub mod declarative;
pub mod entities;
pub mod errors;
pub mod migration;
pub mod schema;
pub mod set;
