//! What one journal sustains alone: its one thread on a core, and on the other somebody who always has enough records
//! for it. More listener threads cannot make a collector take more than this.

use std::collections::VecDeque;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::bail;
use weir::journal::{Appending, DiskDirectory, Entry, Journal};
use weir_benches::bodies;
use weir_benches::intake::{Intake, journal};

use crate::Bench;
use crate::machine::on_cores;
use crate::process::times;
use crate::table::{Row, Sample, Target, thousands};

/// Requests that wait at any time, as of so many connections.
const WAITING: usize = 256;

/// What was seen of a journal at work.
struct Seen {
    rows: f64,
    bytes: f64,
    seconds: f64,
    /// On a core, of the journal's thread.
    cpu: f64,
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut intake = Intake::new();
    let mut rows = Vec::new();
    let works =
        [("single events", 1.0, bodies::PAGE.to_owned()), ("batches of 100", 100.0, bodies::batch(100))];
    for (name, events, body) in works {
        let (mut rates, mut megabytes, mut micros) =
            (Sample::default(), Sample::default(), Sample::default());
        for _ in 0..bench.scale_rounds {
            let (entry, _ids) = intake.record(body.as_bytes());
            let seen = round(bench, entry, events)?;
            rates.push(seen.rows / seen.seconds);
            megabytes.push(seen.bytes / seen.seconds / 1e6);
            micros.push(seen.cpu / seen.rows * 1e6);
            bench
                .tell(&format!("one journal takes {} rows/s of {name}", thousands(seen.rows / seen.seconds)));
        }
        let absolute = format!(
            "{:.0} MB/s; CPU of the journal's thread {:.2} µs a row",
            megabytes.median(),
            micros.median()
        );
        let (work, goal) = (format!("one journal alone, {name}: rows/s"), "told".to_owned());
        rows.push(Row { work, goal, target: Target::Told, sample: rates, sound: true, unit: "", absolute });
    }
    Ok(rows)
}

fn round(bench: &Bench, entry: &Entry, events: f64) -> anyhow::Result<Seen> {
    let folder = tempfile::tempdir_in(&bench.programs.folder)?;
    // Its thread stays on the core that it is started on.
    let journal = on_cores(&[bench.cores.server], || DiskDirectory::open(folder.path()).map(journal))??;
    let thread = journal_thread()?;
    let seen = on_cores(&[bench.cores.load], || {
        let (begin, cpu) = (Instant::now(), times(&thread, 2)?);
        let requests = load(&journal, entry, Duration::from_secs(bench.round_seconds))?;
        #[allow(clippy::cast_precision_loss, reason = "some kilobytes")]
        let bytes = requests * entry.len() as f64;
        let seconds = begin.elapsed().as_secs_f64();
        Ok(Seen { rows: requests * events, bytes, seconds, cpu: times(&thread, 2)? - cpu })
    })?;
    journal.close();
    seen
}

/// Appends the entry over and over; says how often it has become durable.
fn load(journal: &Journal, entry: &Entry, time: Duration) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let begin = Instant::now();
    let mut waiting: VecDeque<Appending> = VecDeque::new();
    let mut durable = 0.0;
    while begin.elapsed() < time {
        while waiting.len() < WAITING {
            waiting.push_back(journal.append(entry));
        }
        if let Some(first) = waiting.pop_front() {
            runtime.block_on(first)?;
            durable += 1.0;
        }
    }
    Ok(durable)
}

/// Where the kernel tells of the journal's thread, which names itself once it runs.
fn journal_thread() -> anyhow::Result<String> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(5) {
        for task in fs::read_dir("/proc/self/task")? {
            let id = task?.file_name().to_string_lossy().into_owned();
            let name = fs::read_to_string(format!("/proc/self/task/{id}/comm")).unwrap_or_default();
            if name.trim() == "journal" {
                return Ok(format!("self/task/{id}"));
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("the journal has no thread")
}
