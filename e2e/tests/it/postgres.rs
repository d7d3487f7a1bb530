//! Entities in PostgreSQL.

mod layout;
