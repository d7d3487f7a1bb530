//! The `silverback` binary.

mod conf;

mod cli;

mod certificate;
mod logs;
mod prefix;

mod node;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
