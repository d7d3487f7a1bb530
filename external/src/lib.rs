//! The host of plugin servers.
