//! Batches at a steady pace while the loader runs into the real engine: does the backlog stay where it is?
//!
//! First the engine alone is given rows of the same batches, as the loader gives them; then a
//! collector gets batches at a share of that rate, on its own core, with the engine on the other one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use uuid::Uuid;
use weir::clock::Clock;
use weir::enrich::enrich;
use weir::event::PayloadLimits;
use weir::payload;
use weir::row::Table;

use crate::Bench;
use crate::bodies::{BATCH, batch};
use crate::http::{Connection, request};
use crate::machine::on_cores;
use crate::process::times;
use crate::server::{ClickHouse, Weir};
use crate::table::{Row, Target, thousands};

/// The share of the engine's own rate that has to be taken.
const SHARE: f64 = 0.6;

/// Rows in an insert of the engine alone: about those that a collector seals each second.
const ROWS: u32 = 100_000;

/// Inserts at once, as the loader has them.
const INSERTS: u32 = 2;

/// Connections of the paced load.
const CONNECTIONS: u32 = 16;

/// How often the backlog is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How much the backlog may have grown, in seconds of the load: it goes up and down by about one, since a segment is
/// sealed by age each second.
const GROWTH: f64 = 0.5;

/// As the loader inserts.
const SETTINGS: &str = "&async_insert=0&insert_deduplicate=1&wait_end_of_query=1&max_insert_block_size=2000000\
    &min_insert_block_size_rows=2000000&min_insert_block_size_bytes=0&max_insert_threads=1\
    &type_json_skip_duplicated_paths=1";

pub(crate) fn measure(bench: &Bench, clickhouse: &ClickHouse) -> anyhow::Result<Vec<Row>> {
    let weir = bench.programs.weir_before(clickhouse, &[bench.cores.server])?;
    let engine = |rows: f64, before: f64| -> anyhow::Result<f64> {
        Ok((times(&clickhouse.pid, 2)? - before) * 1e6 / rows)
    };
    let before = times(&clickhouse.pid, 2)?;
    let (alone, taken) = on_cores(&[bench.cores.server], || engine_alone(bench, clickhouse))??;
    let cost_alone = engine(taken, before)?;
    bench.tell(&format!("the engine alone: {alone:.0} rows/s, {cost_alone:.1} µs of its CPU each"));
    clickhouse.ask("TRUNCATE TABLE events", "", b"")?;

    let rate = alone * SHARE;
    let (before, cpu) = (times(&clickhouse.pid, 2)?, weir.process.cpu()?);
    let begin = Instant::now();
    let watched = on_cores(&[bench.cores.server], || under_load(bench, &weir, rate))??;
    let busy = (weir.process.cpu()? - cpu) / begin.elapsed().as_secs_f64();
    let cost = engine(loaded(&weir)?, before)?;
    // Or the engine would merge them before it stops.
    clickhouse.ask("TRUNCATE TABLE events", "", b"")?;
    let (early, late) = (watched.floor(1), watched.floor(3));
    bench.tell(&format!(
        "least backlog {early:.2} s in the second quarter, {late:.2} s in the last; {cost:.1} µs of the engine's CPU each"
    ));
    Ok(vec![Row {
        work: format!(
            "batches with the loader into the real engine, {} s: growth of the backlog",
            bench.loader_seconds
        ),
        goal: format!("none at {:.0} % of the engine's own rate (≤ {GROWTH} s of the load)", SHARE * 100.0),
        target: Target::AtMost(GROWTH),
        sample: [late - early].into_iter().collect(),
        sound: true,
        unit: " s",
        absolute: format!(
            "{} rows/s into an engine that takes {} rows/s alone; least backlog {early:.2} s in the second quarter, \
             {late:.2} s in the last, {:.2} s at most; Weir's core {:.0} % busy with it; the engine's CPU a row \
             {cost:.1} µs, {cost_alone:.1} µs alone",
            thousands(watched.rate),
            thousands(alone),
            watched.longest(),
            busy * 100.0
        ),
    }])
}

/// One insert: new events of batches as a collector makes them, behind the header that the loader sends.
fn insert(body: &str) -> anyhow::Result<Vec<u8>> {
    let mut rows = Table::Events.header();
    let decoded = payload::decode(body.as_bytes(), &PayloadLimits::default())?;
    for _ in 0..ROWS / BATCH {
        let received_at = Clock::system().now();
        for event in &decoded.events {
            enrich(event, Uuid::nil(), decoded.source, None, None, received_at).encode(&mut rows);
        }
    }
    Ok(rows)
}

/// Rows a second that the engine takes with nobody else at work, and how many it has taken.
fn engine_alone(bench: &Bench, clickhouse: &ClickHouse) -> anyhow::Result<(f64, f64)> {
    let begin = Instant::now();
    let end = begin + Duration::from_secs(bench.alone_seconds);
    let inserting = |inserter: u32| -> anyhow::Result<u32> {
        let body = batch();
        for number in 0.. {
            if Instant::now() >= end {
                return Ok(number);
            }
            let settings = format!("{SETTINGS}&insert_deduplication_token=figures-{inserter}-{number}");
            let sql = "INSERT INTO events FORMAT RowBinaryWithNamesAndTypes";
            clickhouse.ask(sql, &settings, &insert(&body)?)?;
        }
        Ok(0)
    };
    let inserts = std::thread::scope(|scope| {
        let inserters: Vec<_> =
            (0..INSERTS).map(|inserter| scope.spawn(move || inserting(inserter))).collect();
        let counts =
            inserters.into_iter().map(|inserter| inserter.join().unwrap_or_else(|_| bail!("a panic")));
        counts.sum::<anyhow::Result<u32>>()
    })?;
    let taken = f64::from(inserts) * f64::from(ROWS);
    Ok((taken / begin.elapsed().as_secs_f64(), taken))
}

/// How the backlog went.
struct Watched {
    /// Rows a second that were taken.
    rate: f64,
    /// The backlog at each look, in seconds of the load.
    backlogs: Vec<f64>,
}

impl Watched {
    /// The smallest backlog in a quarter of the time, counted from 0. A merge, or whoever else is on the machine,
    /// makes a backlog rise and lets it fall again; one that grows does not come back to where it was.
    fn floor(&self, quarter: usize) -> f64 {
        let length = (self.backlogs.len() / 4).max(1);
        let looks = self.backlogs.iter().skip(quarter * length).take(length);
        looks.copied().fold(f64::INFINITY, f64::min)
    }

    fn longest(&self) -> f64 {
        self.backlogs.iter().copied().fold(0.0, f64::max)
    }
}

/// Loads the collector at `rate` rows a second, and watches.
fn under_load(bench: &Bench, weir: &Weir, rate: f64) -> anyhow::Result<Watched> {
    let (address, request) = (weir.listen, request(weir.listen, &batch()));
    let begin = Instant::now();
    let end = begin + Duration::from_secs(bench.loader_seconds);
    let apart = Duration::from_secs_f64(f64::from(BATCH) / rate * f64::from(CONNECTIONS));
    let send = |number: u32| -> anyhow::Result<()> {
        let mut connection = Connection::open(address)?;
        // Whoever has fallen behind sends the sooner: the load does not wait for the server.
        let mut due = begin + apart * number / CONNECTIONS;
        while due < end {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            connection.send(&request)?;
            due += apart;
        }
        Ok(())
    };
    let before = accepted(weir)?;
    let watched = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..CONNECTIONS).map(|number| scope.spawn(move || send(number))).collect();
        let mut backlogs = Vec::new();
        while Instant::now() < end {
            std::thread::sleep(LOOK);
            backlogs.push((accepted(weir)? - loaded(weir)?) / rate);
        }
        for sender in senders {
            sender.join().unwrap_or_else(|_| bail!("a panic")).context("the paced load")?;
        }
        anyhow::Ok(Watched { rate: (accepted(weir)? - before) / begin.elapsed().as_secs_f64(), backlogs })
    })?;
    if watched.rate < rate * 0.98 {
        bail!("the collector took {:.0} of {rate:.0} rows/s: the load could not be kept up", watched.rate);
    }
    Ok(watched)
}

fn accepted(weir: &Weir) -> anyhow::Result<f64> {
    weir.metrics()?.value(r#"weir_events_total{outcome="accepted"}"#)
}

fn loaded(weir: &Weir) -> anyhow::Result<f64> {
    weir.metrics()?.value(r#"weir_rows_total{outcome="loaded"}"#)
}
