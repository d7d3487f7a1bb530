//! The `silverback` binary.

mod allocator;

mod conf;

mod cli;

mod certificate;
mod logs;
mod prefix;

mod node;

use std::process::ExitCode;

/// A request makes some forty small allocations: with the system's allocator they would cost a
/// sixth of its time.
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
