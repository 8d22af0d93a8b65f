//! The figures of the whole collector, as a table: throughput and CPU beside a bare server, the time to an answer,
//! the loader under load, memory, and the start.
//!
//! Servers run on one core and their load on another; what is compared runs in turn, in rounds, and the median of
//! the rounds' ratios counts. The README beside this folder says how to read the table.

mod bodies;
mod http;
mod journal;
mod latency;
mod loader;
mod machine;
mod memory;
mod process;
mod server;
mod start;
mod table;
mod throughput;
mod wrk;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};

use bodies::Body;
use machine::{Cores, Spent};
use server::Programs;
use table::{HEAD, Row};
use throughput::Work;
use wrk::Wrk;

/// Measure the collector beside what is possible, and print a table
#[derive(Parser)]
struct Arguments {
    /// The collector [default: `weir` beside this program]
    #[arg(long, value_name = "PROGRAM")]
    weir: Option<PathBuf>,

    /// Take less than a minute; the figures are then no good
    #[arg(long)]
    quick: bool,

    /// Measure this only; may be given several times
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,

    /// Rounds of each comparison [default: 7, quick: 1]
    #[arg(long, value_name = "COUNT")]
    rounds: Option<u32>,

    /// Time under the paced load with the loader at work [default: 120, quick: 8]
    #[arg(long, value_name = "SECONDS")]
    loader_seconds: Option<u64>,

    /// Folder for journals and tables; not one in memory [default: the build's]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The time to ready; first, since it sees at once whether there is an engine
    Start,
    /// One snippet event a request
    Single,
    /// What of that is the promise alone
    Promise,
    /// A batch of 100 events a request
    Batch,
    /// The time to an answer
    Latency,
    /// Two threads beside one
    Scale,
    /// What one journal sustains alone
    Journal,
    /// The backlog while the engine loads
    Loader,
    /// Resident memory
    Memory,
}

/// How everything is measured.
struct Bench {
    programs: Programs,
    wrk: Wrk,
    cores: Cores,
    rounds: u32,
    scale_rounds: u32,
    /// Length of a run of wrk.
    round_seconds: u64,
    latency_seconds: u64,
    loader_seconds: u64,
    /// How long the engine's own rate is measured.
    alone_seconds: u64,
    /// Idle connections that are held.
    connections: u32,
    /// Bytes of the journal while `ClickHouse` is away.
    backlog: f64,
    begin: Instant,
}

impl Bench {
    fn new(arguments: &Arguments, folder: &Path) -> anyhow::Result<Self> {
        let beside = std::env::current_exe()?;
        let program = |name: &str| -> anyhow::Result<PathBuf> {
            let path = beside.with_file_name(name);
            path.canonicalize()
                .with_context(|| format!("{} is needed: `make bench` builds it", path.display()))
        };
        let weir = arguments.weir.as_deref().map(Path::canonicalize).transpose()?;
        let weir = weir.map_or_else(|| program("weir"), Ok)?;
        let programs = Programs { weir, limit: program("limit")?, folder: folder.to_owned() };
        let quick = arguments.quick;
        let connections = if quick { 1_000 } else { 10_000 };
        machine::raise_open_files(u64::from(connections) + 128)?;
        Ok(Self {
            programs,
            wrk: Wrk::new(folder)?,
            cores: Cores::find()?,
            rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 7 }),
            scale_rounds: if quick { 1 } else { 3 },
            round_seconds: if quick { 1 } else { 3 },
            latency_seconds: if quick { 1 } else { 2 },
            loader_seconds: arguments.loader_seconds.unwrap_or(if quick { 8 } else { 120 }),
            alone_seconds: if quick { 3 } else { 15 },
            connections,
            backlog: if quick { 2e8 } else { 2e9 },
            begin: Instant::now(),
        })
    }

    /// Says how it goes, beside the table.
    fn tell(&self, what: &str) {
        eprintln!("{:4.0} s  {what}", self.begin.elapsed().as_secs_f64());
    }

    fn measure(&self, part: Part) -> anyhow::Result<Vec<Row>> {
        let folder = &self.programs.folder;
        let single = Work {
            name: "one snippet event, durable",
            body: Body::single(folder)?,
            limit: "limit",
            rate: (0.60, 0.70),
            cpu: (1.7, 1.5),
        };
        let batch = Work {
            name: "batch of 100 events, durable",
            body: Body::batch(folder)?,
            limit: "limit-json",
            rate: (0.65, 0.75),
            cpu: (1.6, 1.4),
        };
        match part {
            Part::Single => throughput::compare(self, &single),
            Part::Promise => throughput::promise(self, &single.body),
            Part::Batch => throughput::compare(self, &batch),
            Part::Latency => latency::measure(self, &single.body),
            Part::Scale => throughput::scale(self, &[&single, &batch]),
            Part::Journal => journal::measure(self),
            Part::Memory => Ok([memory::idle(self)?, memory::backlog(self)?].into_iter().flatten().collect()),
            Part::Loader | Part::Start => {
                let (mut holder, clickhouse) = self.programs.engine(&[self.cores.load])?;
                let rows = match part {
                    Part::Loader => loader::measure(self, &clickhouse),
                    _ => start::measure(self, &clickhouse),
                };
                // The engine ends with its holder, and its files can go.
                holder.process.stop()?;
                rows
            }
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let built =
        std::env::current_exe()?.ancestors().nth(2).context("no folder above this program")?.to_owned();
    let folder = tempfile::Builder::new()
        .prefix("figures-")
        .tempdir_in(arguments.folder.as_deref().unwrap_or(&built))?;
    let bench = Bench::new(&arguments, folder.path())?;
    let spent = Spent::now()?;
    println!("{}\n\n{HEAD}", machine::describe(folder.path())?);
    for part in Part::value_variants() {
        if arguments.only.is_empty() || arguments.only.contains(part) {
            for row in bench.measure(*part)? {
                println!("{row}");
            }
        }
    }
    println!("\n{}", spent.tell()?);
    bench.tell("done");
    Ok(())
}
