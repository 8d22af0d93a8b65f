//! How long an answer takes, beside what the network and the disk take without us.

use std::fs::File;
use std::io::Write as _;
use std::time::Instant;

use crate::Bench;
use crate::bodies::Body;
use crate::machine::on_cores;
use crate::table::{Row, Sample, Target};
use crate::wrk::Load;

const CONNECTIONS: u32 = 16;

/// Appended and synced at once to learn what the disk takes.
const BLOCK: [u8; 4096] = [b'w'; 4096];

/// Syncs in a round.
const SYNCS: usize = 500;

/// How long it takes to make 4 KiB at the end of a file durable, in seconds.
fn syncs(bench: &Bench) -> anyhow::Result<Sample> {
    on_cores(&[bench.cores.server], || {
        let mut file = tempfile::tempfile_in(&bench.programs.folder)?;
        let mut sample = Sample::default();
        let sync = |file: &mut File| -> std::io::Result<f64> {
            let start = Instant::now();
            file.write_all(&BLOCK)?;
            file.sync_data()?;
            Ok(start.elapsed().as_secs_f64())
        };
        for _ in 0..SYNCS {
            sample.push(sync(&mut file)?);
        }
        Ok(sample)
    })?
}

pub(crate) fn measure(bench: &Bench, body: &Body) -> anyhow::Result<Vec<Row>> {
    let (_limit, address) = bench.programs.limit("limit", bench.cores.server)?;
    let limit_url = format!("http://{address}/api/events");
    let (seconds, cores) = (bench.latency_seconds, [bench.cores.load]);
    let load = Load { body, connections: CONNECTIONS, seconds, cores: &cores };
    let mut ratios = Sample::default();
    let mut absolute: [Sample; 4] = Default::default();
    for _ in 0..bench.rounds {
        let sync = syncs(bench)?.percentile(99.0);
        let theirs = bench.wrk.run(&limit_url, &load)?;
        let weir = bench.programs.weir_alone(1, &[bench.cores.server])?;
        bench.wrk.warm_up(&weir.url(), &load)?;
        let ours = bench.wrk.run(&weir.url(), &load)?;
        ratios.push(ours.p99 / (theirs.p99 + sync));
        let all = [ours.p99, theirs.p99, sync, ours.p50];
        for (sample, value) in absolute.iter_mut().zip(all) {
            sample.push(value * 1e3);
        }
        bench.tell(&format!(
            "p99 {:.2} ms, of the limit {:.2} ms, of fdatasync {:.2} ms",
            ours.p99 * 1e3,
            theirs.p99 * 1e3,
            sync * 1e3
        ));
    }
    let [ours, theirs, sync, p50] = absolute.map(|sample| sample.median());
    Ok(vec![Row {
        work: "single event, 16 connections: p99".to_owned(),
        goal: "≤ 3 × (`limit`'s p99 + `fdatasync`'s p99)".to_owned(),
        target: Target::AtMost(3.0),
        sample: ratios,
        sound: true,
        unit: " ×",
        absolute: format!("{ours:.2} ms to {theirs:.2} + {sync:.2} ms; median {p50:.2} ms"),
    }])
}
