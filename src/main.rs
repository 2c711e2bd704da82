//! The `sidehook` program. Everything it does is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidehook::cli::main()
}
