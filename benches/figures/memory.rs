//! Resident memory: idle, with many idle connections, and with a long backlog.

use std::time::Duration;

use crate::Bench;
use crate::bodies::Body;
use crate::http::{Connection, request};
use crate::server::Weir;
use crate::table::{Row, Target};
use crate::wrk::Load;

const MB: f64 = 1e6;

/// Time for a collector to come to rest.
const REST: Duration = Duration::from_secs(2);

#[allow(clippy::cast_precision_loss, reason = "far below 2^53 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / MB
}

fn row(work: String, cap: f64, weir: &Weir) -> anyhow::Result<Row> {
    std::thread::sleep(REST);
    let sample = [megabytes(weir.process.resident()?)].into_iter().collect();
    let absolute = format!("at most {:.0} MB at any time", megabytes(weir.process.peak()?));
    let (goal, target) = (format!("≤ {cap} MB"), Target::AtMost(cap));
    Ok(Row { work, goal, target, sample, sound: true, unit: " MB", absolute })
}

/// Idle after the start, and with connections that have each sent a request and then rest.
pub(crate) fn idle(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let weir = bench.programs.weir_alone(bench.cores.both().len(), &bench.cores.both())?;
    let mut rows = vec![row("resident memory: idle".to_owned(), 40.0, &weir)?];
    let mut connections = Vec::new();
    let single = std::fs::read_to_string(Body::single(&bench.programs.folder)?.file)?;
    for _ in 0..bench.connections {
        let mut connection = Connection::open(weir.listen)?;
        connection.send(&request(weir.listen, &single))?;
        connections.push(connection);
    }
    let open = weir.metrics()?.value("weir_connections_open")?;
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    let wanted = connections.len() as f64;
    anyhow::ensure!(open >= wanted, "{open} connections are open, not {wanted}");
    rows.push(row(format!("resident memory: {wanted} idle connections"), 300.0, &weir)?);
    drop(connections);
    Ok(rows)
}

/// `ClickHouse` away, until the journal has grown.
pub(crate) fn backlog(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let weir = bench.programs.weir_alone(1, &[bench.cores.server])?;
    let body = Body::batch(&bench.programs.folder)?;
    let load = Load { body: &body, connections: 64, seconds: 1, cores: &[bench.cores.load] };
    let journal = || weir.metrics()?.value("weir_journal_bytes");
    while journal()? < bench.backlog {
        bench.wrk.run(&weir.url(), &load)?;
    }
    let work = format!("resident memory: ClickHouse away, {:.1} GB of backlog", journal()? / 1e9);
    Ok(vec![row(work, 90.0, &weir)?])
}
