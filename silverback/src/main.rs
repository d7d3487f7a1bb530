//! The `silverback` binary.

#[allow(dead_code, unused_imports, reason = "the commands that read it come next")]
mod conf;

fn main() {}
