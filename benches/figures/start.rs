//! From the start of the process to the first `readyz` that says so.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::Bench;
use crate::http;
use crate::process::Process;
use crate::server::{ClickHouse, free_address};
use crate::table::{Row, Sample, Target};

const STARTS: usize = 7;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// A start must not take longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn measure(bench: &Bench, clickhouse: &ClickHouse) -> anyhow::Result<Vec<Row>> {
    let mut sample = Sample::default();
    for _ in 0..STARTS {
        sample.push(start(bench, clickhouse)?);
    }
    Ok(vec![Row {
        work: "start to ready, schema up to date".to_owned(),
        goal: "≤ 250 ms".to_owned(),
        target: Target::AtMost(250.0),
        sample,
        sound: true,
        unit: " ms",
        absolute: String::new(),
    }])
}

/// Milliseconds that one start takes.
fn start(bench: &Bench, clickhouse: &ClickHouse) -> anyhow::Result<f64> {
    let (mut command, _folder) = bench.programs.command_before(clickhouse)?;
    let operations = free_address()?;
    command.env("WEIR_OPS_LISTEN", operations.to_string()).stdin(Stdio::null());
    let begin = Instant::now();
    let _weir = Process::start(&mut command, &[bench.cores.server])?;
    loop {
        // Refused at first, then 503 while it is starting.
        if let Ok(answer) = http::get(operations, "/readyz") {
            let took = begin.elapsed();
            if !answer.contains(r#""ready""#) {
                bail!("the collector started, but: {answer}");
            }
            return Ok(took.as_secs_f64() * 1e3);
        }
        if begin.elapsed() > PATIENCE {
            bail!("the collector was not ready after {PATIENCE:?}");
        }
        std::thread::sleep(LOOK);
    }
}
