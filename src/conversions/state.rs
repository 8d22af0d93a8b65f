//! How an integration stands, for operators and for its dispatcher.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::queue::Outcome;
use crate::event::Timestamp;
use crate::metrics::{count_conversions, record_platform_seconds};

/// Why nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// What the platform said.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

pub(super) struct State {
    name: String,
    now: Mutex<Now>,
    resumed: Notify,
}

#[derive(Clone, Default)]
struct Now {
    /// Raised each time somebody has seen to the integration: what was sent before says nothing of it any more.
    term: u64,
    pause: Option<Pause>,
    /// What the platform said when it last took nothing.
    trouble: Option<String>,
}

impl State {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), now: Mutex::default(), resumed: Notify::new() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_paused(&self) -> bool {
        self.now().pause.is_some()
    }

    /// The term that a request sent now belongs to.
    pub(super) fn term(&self) -> u64 {
        self.now().term
    }

    /// Sends nothing until somebody has seen to it, unless that has happened since the request of this term.
    pub(super) fn pause(&self, term: u64, why: &str, since: Timestamp) {
        let mut now = self.now();
        if now.pause.is_none() && now.term == term {
            tracing::error!(
                integration = self.name,
                why,
                "paused an integration; `weir conversions resume` ends that"
            );
            now.pause = Some(Pause { why: why.to_owned(), since });
        }
    }

    /// Sends again; says whether it did not.
    pub(super) fn resume(&self) -> bool {
        let mut now = self.now();
        now.term += 1;
        let paused = now.pause.take().is_some();
        drop(now);
        if paused {
            self.resumed.notify_one();
        }
        paused
    }

    /// Waits until somebody has resumed it.
    pub(super) async fn resumed(&self) {
        self.resumed.notified().await;
    }

    /// The platform has taken nothing for now.
    pub(super) fn failed(&self, why: &str) {
        let news = self.now().trouble.replace(why.to_owned()).as_deref() != Some(why);
        if news {
            tracing::warn!(integration = self.name, why, "a platform takes nothing for now");
        }
    }

    /// The platform has taken something.
    pub(super) fn taken(&self) {
        self.now().trouble = None;
    }

    pub(super) fn told(&self) -> (Option<Pause>, Option<String>) {
        let now = self.now().clone();
        (now.pause, now.trouble)
    }

    /// Counts what became of so many events.
    pub(super) fn count(&self, outcome: Outcome, events: usize) {
        let word = match outcome {
            Outcome::Sent => "sent",
            Outcome::Retry { .. } => "retrying",
            Outcome::Paused => "paused",
            Outcome::Dead => "dead",
        };
        count_conversions(&self.name, word, events as u64);
    }

    /// Notes how long an answer took.
    pub(super) fn answered(&self, latency: Duration) {
        record_platform_seconds(&self.name, latency);
    }
}
