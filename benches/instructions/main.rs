//! Counts the instructions and heap allocations of every stage of an event's way, and compares them with the committed
//! `instructions.txt`: `make counts`. They tell a regression that no clock would, on any busy machine.
//!
//! Under callgrind, each call of a stage is counted for itself. `instructions` and `allocations` are those of the
//! middle one of 65 calls, so of a request like most others; `mean` has in it what happens only now and then: moka's
//! housekeeping, a window of ids that ages. `per event` is the mean divided by the events.
//!
//! # What repeats
//!
//! The middle call repeats to the instruction, for what would differ is held still: the system's random bytes
//! (`fixed_random.c`), the clock, the addresses (by valgrind), the environment, and the other threads: the journal's
//! writer waits for its disk while requests are counted. (The batch with ids has been seen to differ by 30 of 670,000.)
//! The mean may differ by some hundredths, because moka looks at its own clock too, and tidies up when some time has
//! passed. Copies by `rep movs`, which valgrind counts once for each byte, are switched off.
//!
//! Another processor, compiler or C library changes the counts a little, because the code is another one: glibc and
//! crates choose by what the processor can do. So the baseline names the processor that it was counted on, and on
//! another one nothing fails; `make baseline` on the old commit comes first there.
//!
//! Not counted is what the kernel does, and waiting: this is no measure of time.

mod baseline;
mod callgrind;
mod stages;

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::baseline::compare;
use crate::callgrind::count;
use crate::stages::Stages;

const USAGE: &str = "instructions [--write]       compare with the baseline, or write it
instructions --run [stage]   run all stages or one; what the counter calls, and callgrind_annotate wants";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot count instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt");
    match arguments[..] {
        ["--run"] => Stages::run(None),
        ["--run", stage] => Stages::run(Some(stage.to_owned())),
        ["--write"] => fs::write(&path, baseline::table(&count()?, &processor()?))?,
        [] => {
            let committed = fs::read_to_string(&path)?;
            let (now, here) = (count()?, processor()?);
            print!("{}", baseline::table(&now, &here));
            let (told, within) = compare(&baseline::parse(&committed)?, &now);
            println!("{told}");
            let there = baseline::processor(&committed);
            if here != there {
                println!(
                    "The baseline was counted on another processor, {there}: nothing is asked of these figures."
                );
            }
            return Ok(within || here != there);
        }
        _ => return Err(USAGE.into()),
    }
    Ok(true)
}

/// The name of the processor that we run on.
fn processor() -> io::Result<String> {
    let all = fs::read_to_string("/proc/cpuinfo")?;
    let model = all.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(model.map_or("an unnamed processor", |(_, model)| model).to_owned())
}
