//! Entities, their schemas, and declarative files.
