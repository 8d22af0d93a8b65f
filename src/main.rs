//! The collector's binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(command) if command == weir::clickhouse::CHILD_COMMAND => weir::clickhouse::run_child(arguments),
        _ => ExitCode::from(64),
    }
}
