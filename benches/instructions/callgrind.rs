//! Has callgrind run the stages, and reads what it writes.

use std::error::Error;
use std::fs;
use std::process::{Command, Stdio};

use weir_benches::intake::folder;

use crate::stages::CALLS;

/// The function whose calls are counted, by the name that the debugger's symbols give it.
const COUNTED: &str = "instructions::stages::counted";

/// glibc copies what is long by one instruction that repeats, which valgrind counts for each byte.
const TUNABLES: &str =
    "glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824";

/// Calls of these are heap allocations.
const ALLOCATING: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// What a stage costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) stage: String,
    /// Events in one call.
    pub(super) events: u64,
    /// Instructions of the middle call.
    pub(super) instructions: u64,
    /// Instructions of a call in the mean.
    pub(super) mean: u64,
    /// Heap allocations of the middle call.
    pub(super) allocations: u64,
}

impl Count {
    /// Instructions for one event in the mean, rounded up.
    pub(super) fn per_event(&self) -> u64 {
        self.mean.div_ceil(self.events)
    }
}

/// Counts every stage.
pub(super) fn count() -> Result<Vec<Count>, Box<dyn Error>> {
    let this = std::env::current_exe()?;
    let same_bytes = this.with_file_name("fixed_random.so");
    if !same_bytes.is_file() {
        return Err(format!("there is no {}: `make counts` builds it", same_bytes.display()).into());
    }
    let profile = folder().join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--quiet", "--combine-dumps=yes", "--compress-strings=no"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--dump-after={COUNTED}"))
        .arg(this)
        .arg("--run");
    // The environment lies on the stack, and its length decides how everything there is aligned.
    valgrind.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    valgrind.env("GLIBC_TUNABLES", TUNABLES).env("LD_PRELOAD", same_bytes);
    // What is there already would be added to.
    let _ = fs::remove_file(&profile);
    let output = valgrind.stderr(Stdio::inherit()).output().map_err(|error| format!("valgrind: {error}"))?;
    if !output.status.success() {
        return Err(format!("valgrind ended with {}", output.status).into());
    }
    counts(&String::from_utf8(output.stdout)?, &calls(&fs::read_to_string(profile)?)?)
}

/// One call of a stage: its instructions, and its allocations.
type Call = (u64, u64);

/// The calls in the order they were made. Each is a part of the profile; lines of interest are
///
/// ```text
/// desc: Trigger: --dump-after=…       what ended the part
/// cfn=malloc                          the function that the next line is about
/// calls=2 0                           how often it was called from one place
/// totals: 7534                        the part's end
/// ```
fn calls(profile: &str) -> Result<Vec<Call>, Box<dyn Error>> {
    let (mut calls, mut called, mut allocations, mut is_call) = (Vec::new(), "", 0, false);
    for line in profile.lines() {
        if let Some(trigger) = line.strip_prefix("desc: Trigger: ") {
            (allocations, is_call) = (0, trigger.starts_with("--dump-after"));
        } else if let Some(function) = line.strip_prefix("cfn=") {
            called = function;
        } else if let Some(times) = line.strip_prefix("calls=") {
            if ALLOCATING.contains(&called) {
                allocations += times.split(' ').next().unwrap_or_default().parse::<u64>()?;
            }
        } else if let Some(total) = line.strip_prefix("totals: ")
            && is_call
        {
            calls.push((total.trim().parse()?, allocations));
        }
    }
    Ok(calls)
}

/// What the calls say of the stages, which are lines of their events and their name.
fn counts(stages: &str, calls: &[Call]) -> Result<Vec<Count>, Box<dyn Error>> {
    if calls.len() != stages.lines().count() * CALLS {
        return Err(format!("callgrind has counted {} calls: another number was made", calls.len()).into());
    }
    let mut counts = Vec::new();
    for (stage, calls) in stages.lines().zip(calls.chunks(CALLS)) {
        let (events, stage) = stage.split_once(' ').ok_or("a stage has no name")?;
        let middle = |mut figures: Vec<u64>| {
            figures.sort_unstable();
            figures[CALLS / 2]
        };
        let instructions: Vec<u64> = calls.iter().map(|call| call.0).collect();
        counts.push(Count {
            stage: stage.to_owned(),
            events: events.parse()?,
            mean: instructions.iter().sum::<u64>() / CALLS as u64,
            instructions: middle(instructions),
            allocations: middle(calls.iter().map(|call| call.1).collect()),
        });
    }
    Ok(counts)
}
