//! Derives that make a schema of a struct and its doc comments.
