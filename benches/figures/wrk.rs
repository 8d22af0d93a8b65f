//! The load generator.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, bail};

use crate::bodies::Body;
use crate::process::Process;

/// An answer that takes longer fails the run; the disk of a busy machine stalls for seconds now and then.
const PATIENCE: &str = "20s";

/// The script that wrk runs, as a file.
pub(crate) struct Wrk {
    script: PathBuf,
    /// Makes the ids of each run its own.
    runs: AtomicU32,
}

/// How a server is loaded.
pub(crate) struct Load<'a> {
    pub(crate) body: &'a Body,
    pub(crate) connections: u32,
    pub(crate) seconds: u64,
    /// wrk has a thread for each.
    pub(crate) cores: &'a [usize],
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) requests: f64,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// In seconds.
    pub(crate) p50: f64,
    /// In seconds.
    pub(crate) p99: f64,
    /// wrk's own time on a core, in seconds.
    pub(crate) cpu: f64,
}

impl Wrk {
    /// Fails if wrk is not there.
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        // It has no option that ends with success.
        Command::new("wrk").arg("--version").output().context("wrk is needed: `make bench` sees to it")?;
        let script = folder.join("load.lua");
        std::fs::write(&script, include_str!("load.lua"))?;
        Ok(Self { script, runs: AtomicU32::new(1) })
    }

    /// Loads the server at `url` for a second that does not count.
    pub(crate) fn warm_up(&self, url: &str, load: &Load) -> anyhow::Result<()> {
        self.load(url, load, 1).map(drop)
    }

    /// Loads the server at `url` and says what came of it.
    pub(crate) fn run(&self, url: &str, load: &Load) -> anyhow::Result<Outcome> {
        let outcome = self.load(url, load, load.seconds)?;
        if outcome.requests < 1.0 {
            bail!("{url}: no request was answered in {} s", load.seconds);
        }
        Ok(outcome)
    }

    /// A single answer other than 200 is a failure: what is not taken must not be counted.
    fn load(&self, url: &str, load: &Load, seconds: u64) -> anyhow::Result<Outcome> {
        let seed = format!("{:08x}", self.runs.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new("wrk");
        command
            .args([format!("-t{}", load.cores.len()), format!("-c{}", load.connections)])
            .args([&format!("-d{seconds}s"), "--timeout", PATIENCE, "-s"])
            .arg(&self.script)
            .args([url, "--"])
            .arg(&load.body.file)
            .arg(seed)
            .args(load.body.headers);
        let (cpu, lines) = Process::start(&mut command, load.cores)?.finish()?;
        let said = lines.join("\n  ");
        let figures = lines.iter().find_map(|line| line.strip_prefix("figures "));
        let figures = figures.with_context(|| format!("wrk gave no figures:\n  {said}"))?;
        let figures: Vec<f64> = figures.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [requests, micros, p50, p99, refused, failed] = figures[..] else { bail!("wrk: {said}") };
        if refused > 0.0 || failed > 0.0 {
            bail!(
                "{url}: {refused} of {requests} requests were not answered 200, {failed} failed:\n  {said}"
            );
        }
        Ok(Outcome { requests, seconds: micros / 1e6, p50: p50 / 1e6, p99: p99 / 1e6, cpu })
    }
}
