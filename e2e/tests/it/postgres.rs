//! Entities in PostgreSQL.

mod layout;
mod serving;
