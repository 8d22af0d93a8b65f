//! How an import goes: a bar on a terminal, else a plain line from time to time; both on standard error.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use super::counted;
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};

/// Between two plain lines.
const PACE: Duration = Duration::from_secs(5);

/// Of a file, whose size is known.
const BAR: &str = "{prefix} {bar:24} {bytes}/{total_bytes}, {eta} left, {wide_msg}";
const STREAM: &str = "{prefix} {spinner} {bytes}, {wide_msg}";

pub(super) struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    /// Bytes in all, where that is known, and where this run began.
    total: Option<u64>,
    start: u64,
    begun: Instant,
    /// When the last plain line was.
    told: Instant,
    sent: u64,
    rejected: u64,
    /// Bytes done.
    position: u64,
}

impl Progress {
    pub(super) fn start(name: &str, total: Option<u64>, position: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            let style = ProgressStyle::with_template(if total.is_some() { BAR } else { STREAM });
            // The templates are ours; with one that is wrong the bar would only look plainer.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_prefix(name.to_owned());
            bar.set_position(position);
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let now = Instant::now();
        let name = name.to_owned();
        let mut progress =
            Self { name, bar, total, start: position, begun: now, told: now, sent: 0, rejected: 0, position };
        progress.show("");
        progress
    }

    /// Says something once.
    pub(super) fn say(&self, text: &str) {
        let line = format!("weir: {}: {text}", self.name);
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Notes how far this run has come, and what it has done.
    pub(super) fn moved(&mut self, position: u64, sent: u64, rejected: u64) {
        self.position = position;
        self.sent += sent;
        self.rejected += rejected;
        self.show("");
    }

    /// Notes what the import waits for.
    pub(super) fn waiting(&mut self, problem: &str) {
        self.show(&format!("; waiting, since {problem}"));
    }

    fn show(&mut self, more: &str) {
        let so_far = self.so_far();
        if let Some(bar) = &self.bar {
            bar.set_position(self.position);
            bar.set_message(format!("{so_far}{more}"));
        } else if self.told.elapsed() >= PACE {
            self.told = Instant::now();
            self.say(&format!("{}, {so_far}{}{more}", self.share(), self.left()));
        }
    }

    fn so_far(&self) -> String {
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        #[allow(clippy::allow_attributes_without_reason, reason = "a rate is shown in whole events")]
        let rate = (self.sent as f64 / seconds) as u64;
        let (sent, rejected) = (counted(self.sent, "event"), counted(self.rejected, "line"));
        format!("{sent} sent, {rejected} rejected, {}/s", HumanCount(rate))
    }

    fn share(&self) -> String {
        match self.total {
            Some(total) => format!("{} of {}", HumanBytes(self.position), HumanBytes(total)),
            None => HumanBytes(self.position).to_string(),
        }
    }

    /// The time that is left, if the rest goes as this run has gone so far.
    fn left(&self) -> String {
        let done = self.position - self.start;
        match self.total.map(|total| total.saturating_sub(self.position)) {
            Some(rest) if done > 0 => {
                let left = self.begun.elapsed().as_secs().saturating_mul(rest) / done;
                format!(", {} left", HumanDuration(Duration::from_secs(left)))
            }
            _ => String::new(),
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
