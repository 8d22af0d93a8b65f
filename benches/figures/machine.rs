//! The machine: its cores, and what has to be known of it to read a figure.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::process::{seconds, times};

/// The two cores that everything runs on.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) load: usize,
}

impl Cores {
    /// The first two cores that we may use.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        match (cores.next(), cores.next()) {
            (Some(server), Some(load)) => Ok(Self { server, load }),
            _ => bail!("the figures need two cores: one for the server and one for its load"),
        }
    }

    pub(crate) fn both(self) -> [usize; 2] {
        [self.server, self.load]
    }
}

/// Does something on these cores only. What it starts, processes and threads, stays there.
pub(crate) fn on_cores<T>(cores: &[usize], act: impl FnOnce() -> T) -> anyhow::Result<T> {
    let before = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    sched_setaffinity(None, &set).context("cannot choose cores")?;
    let done = act();
    sched_setaffinity(None, &before)?;
    Ok(done)
}

/// Has this process open as many files as it may; fails if that is less than `needed`.
pub(crate) fn raise_open_files(needed: u64) -> anyhow::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    match maximum {
        Some(limit) if limit < needed => {
            bail!("{needed} open files are needed and {limit} allowed: see `ulimit -Hn`")
        }
        _ => Ok(()),
    }
}

/// How the machine's time was spent until a moment, in seconds of a core.
pub(crate) struct Spent {
    all: f64,
    /// At work for anybody.
    busy: f64,
    /// At work for another machine on the same host.
    stolen: f64,
    /// At work for us and for what we have started and waited for.
    ours: f64,
}

impl Spent {
    pub(crate) fn now() -> anyhow::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let cores =
            stat.lines().find_map(|line| line.strip_prefix("cpu ")).context("no line of all cores")?;
        let ticks: Vec<f64> = cores.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        // What guests take is part of the first two.
        let [user, nice, system, idle, iowait, irq, softirq, stolen, ..] = ticks[..] else {
            bail!("too few fields in /proc/stat")
        };
        let busy = user + nice + system + irq + softirq;
        Ok(Self {
            all: seconds(busy + idle + iowait + stolen),
            busy: seconds(busy),
            stolen: seconds(stolen),
            ours: times("self", 4)?,
        })
    }

    /// A sentence about whom the machine has worked for since then.
    pub(crate) fn tell(&self) -> anyhow::Result<String> {
        let now = Self::now()?;
        let all = now.all - self.all;
        let ours = now.ours - self.ours;
        let others = (now.busy - self.busy - ours).max(0.0);
        let percent = |part: f64| format!("{:.0} %", part / all * 100.0);
        Ok(format!(
            "Of the machine's time the measurement took {}, other programs and the kernel's own threads {}, \
             other machines on its host {}.",
            percent(ours),
            percent(others),
            percent(now.stolen - self.stolen)
        ))
    }
}

/// A line about the machine, the filesystem of `folder` and today.
pub(crate) fn describe(folder: &Path) -> anyhow::Result<String> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unnamed processor", |(_, model)| model);
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy().into_owned();
    let filesystem = filesystem(folder)?;
    let today = time::OffsetDateTime::from(SystemTime::now()).date();
    Ok(format!("{model}, {cores} cores, Linux {kernel}, journal on {filesystem}, {today}"))
}

/// The type of the filesystem that a folder is on.
fn filesystem(folder: &Path) -> anyhow::Result<String> {
    let folder = folder.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut found: (PathBuf, &str) = (PathBuf::new(), "an unknown filesystem");
    for mount in mounts.lines() {
        let mut fields = mount.split(' ').skip(1);
        let (Some(place), Some(kind)) = (fields.next(), fields.next()) else { continue };
        // What is mounted later hides what was there before.
        if folder.starts_with(place) && Path::new(place).components().count() >= found.0.components().count()
        {
            found = (place.into(), kind);
        }
    }
    if found.1 == "tmpfs" {
        bail!("{} is in memory: a sync there says nothing about a disk", folder.display());
    }
    Ok(found.1.to_owned())
}
