//! Where entities live.
