//! Entities, their schemas, and declarative files. Pure: no I/O.

mod record;

pub use record::{Entity, Record};

/// The typed entities. (Replaced whole by `entities.rs`.)
pub mod entities {
    /// A route.
    #[derive(Debug, Clone, serde::Deserialize)]
    pub struct Route {
        /// Its id.
        pub id: uuid::Uuid,
    }
    /// A service.
    #[derive(Debug, Clone, serde::Deserialize)]
    pub struct Service {
        /// Its id.
        pub id: uuid::Uuid,
    }
}

/// The field language. (Replaced whole by `schema.rs`.)
pub mod schema {
    /// A schema.
    #[derive(Debug)]
    pub struct Schema;
}
