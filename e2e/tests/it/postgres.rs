//! Entities in PostgreSQL.

mod counters;
mod layout;
mod serving;
