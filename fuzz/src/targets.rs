//! The targets, each with its name.

mod chunks;
mod requests;
mod responses;
mod routes;

mod paths;

mod expressions;

mod declarative;

/// What is fed.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and its corpus's.
    pub name: &'static str,
    /// Feeds it. Whether it took the input for something, rather than refuse it.
    pub feed: fn(&[u8]) -> bool,
    /// What inputs are made of, besides those of the corpus.
    pub words: &'static [&'static str],
}

/// All there are.
pub const TARGETS: [Target; 7] = [
    Target { name: "requests", feed: requests::feed, words: requests::WORDS },
    Target { name: "responses", feed: responses::feed, words: responses::WORDS },
    Target { name: "chunks", feed: chunks::feed, words: chunks::WORDS },
    Target { name: "routes", feed: routes::feed, words: routes::WORDS },
    Target { name: "paths", feed: paths::feed, words: paths::WORDS },
    Target { name: "expressions", feed: expressions::feed, words: expressions::WORDS },
    Target { name: "declarative", feed: declarative::feed, words: declarative::WORDS },
];
