//! The corpus of heads and bodies, well-formed and not, and what becomes of each.

mod bodies;
mod requests;
mod responses;
mod splits;
