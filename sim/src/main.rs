//! The `quorate-sim` command.
//!
//! Exit 0: all held. 1: something did not hold, or nothing was run. 2: usage, or a file that cannot be read.

mod command;

use std::process::ExitCode;

/// Worlds are made of small values that come and go.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    command::main()
}
