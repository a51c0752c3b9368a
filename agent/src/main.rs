//! The program `syspan`: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    syspan::cli::main()
}
