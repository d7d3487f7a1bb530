//! Entities, their schemas, and declarative files. Pure: no I/O.

mod record;

pub use record::{Entity, Record};
