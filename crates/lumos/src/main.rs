//! The `lumos` command.

use std::process::ExitCode;

mod cli;

/// What one thread takes and another gives back costs the system's allocator most: runs, and what is written of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
