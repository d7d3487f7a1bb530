//! The host of plugin servers.

pub mod msgpack;
pub mod protobuf;

#[cfg(test)]
mod testing;
