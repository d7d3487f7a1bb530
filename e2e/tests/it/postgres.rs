//! Entities in PostgreSQL.

mod kit;

mod cluster;
mod counters;
mod failover;
mod faults;
mod last_good;
mod layout;
mod serving;
mod upgrade;
