//! The `tidegate` program.

use std::process::ExitCode;

/// Streams of HTTP/2 come and go by the dozen, and the system's allocator takes a slow path for what comes in dozens.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::main()
}
