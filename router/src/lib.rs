//! From request to route.
