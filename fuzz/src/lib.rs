//! What is fed with anything at all: bytes, paths, expressions, files. A target takes any bytes,
//! and panics where the gateway is wrong about them.
//!
//! Each target is one function ([`TARGETS`]). A test feeds all of them for some seconds with the
//! corpus and what can be made of it by chance ([`Mutator`]), so that each `make test` does; and
//! libFuzzer feeds one for as long as one likes, guided by what it reaches (`fuzz/run`). The
//! corpus, a file of lines for each target, is what libFuzzer found worth keeping.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a target says what is wrong")]

mod targets;

mod mutator;

mod corpus;

pub use self::{
    corpus::{Corpus, escaped, unescaped},
    mutator::Mutator,
    targets::{TARGETS, Target},
};
