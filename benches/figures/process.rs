//! The processes that are measured: started on chosen cores, and ended when they are dropped.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process};

use crate::machine::on_cores;

/// How long a process may take to say what is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// The last lines of a process that are told when it fails.
const LAST_LINES: usize = 20;

pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    last: VecDeque<String>,
}

impl Process {
    /// Starts a process on these cores. Its two outputs are read together.
    pub(crate) fn start(command: &mut Command, cores: &[usize]) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            on_cores(cores, || command.spawn())?.with_context(|| format!("cannot start {name}"))?;
        let (sender, lines) = channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|output| Box::new(output) as _),
            child.stderr.take().map(|output| Box::new(output) as _),
        ];
        for output in outputs.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    // Nobody may be listening any more; the process still has to be able to speak.
                    let _ = sender.send(line);
                }
            });
        }
        Ok(Self { name, child, lines, last: VecDeque::new() })
    }

    /// Waits for a line that holds this text.
    pub(crate) fn await_line(&mut self, text: &str) -> anyhow::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => {
                    self.last.push_back(line);
                    if self.last.len() > LAST_LINES {
                        self.last.pop_front();
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(self.failed(&format!("did not say {text:?}"))),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failed(&format!("ended before it said {text:?}")));
                }
            }
        }
    }

    fn failed(&self, problem: &str) -> anyhow::Error {
        let said = self.last.iter().map(String::as_str).collect::<Vec<_>>().join("\n  ");
        anyhow!("{} {problem}; its last words:\n  {said}", self.name)
    }

    /// The seconds that it has been on a core, user and system, also in threads that have ended.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        times(&self.child.id().to_string(), 2)
    }

    /// Its resident memory at the moment, in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory that it has had resident, in bytes.
    pub(crate) fn peak(&self) -> anyhow::Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let value = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
        Ok(value.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// Waits for its end, which must be a success; gives its CPU time and the lines that nobody waited for.
    pub(crate) fn finish(mut self) -> anyhow::Result<(f64, Vec<String>)> {
        let mut lines = Vec::from(std::mem::take(&mut self.last));
        // The outputs end with the process, which keeps its figures until it is waited for.
        lines.extend(self.lines.iter());
        let cpu = self.cpu()?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} failed ({status}):\n  {}", self.name, lines.join("\n  "));
        }
        Ok((cpu, lines))
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(self.failed("did not stop"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The seconds that a process has been on a core: the first `fields` of its user and system time, and those of the
/// processes that it has waited for.
pub(crate) fn times(pid: &str, fields: usize) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold anything.
    let (_, all) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks: Vec<f64> =
        all.split_whitespace().skip(11).take(fields).map(str::parse).collect::<Result<_, _>>()?;
    Ok(seconds(ticks.iter().sum()))
}

/// What the kernel counts in ticks.
pub(crate) fn seconds(ticks: f64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "some hundred a second")]
    let rate = clock_ticks_per_second() as f64;
    ticks / rate
}
