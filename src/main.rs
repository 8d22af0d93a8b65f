//! The `weir` binary: everything is in the library, beginning with `weir::command`.

use std::process::ExitCode;

fn main() -> ExitCode {
    weir::command::run()
}
