//! What goes into the queue and comes out of it.

use std::time::Duration;

use crate::conversions::Conversion;
use crate::event::Timestamp;

/// A conversion that a request brings.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// It is to be sent.
    Queue {
        /// The name of its integration's platform.
        platform: &'static str,
        /// What to send.
        conversion: Conversion,
    },
    /// It must not be sent, and only the row says that it came, without anything that tells who it was.
    Denied {
        /// The name of its integration's platform.
        platform: &'static str,
        /// What would have been sent.
        conversion: Conversion,
        /// Why not.
        why: &'static str,
    },
}

/// What became of an incoming conversion; each is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It waits.
    Queued,
    /// Another one with its id came within the time that ids are remembered: that one is sent.
    Repeated,
    /// It is told as denied.
    Denied,
}

/// By what the queue knows a waiting conversion of an integration, through all its attempts.
pub type Key = u64;

/// A conversion that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// By what to settle it.
    pub key: Key,
    /// What to send.
    pub conversion: Conversion,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was queued, or queued again by hand.
    pub since: Timestamp,
    /// When it is to be sent.
    pub due: Timestamp,
    /// How large it is, as JSON.
    pub bytes: usize,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What becomes of the conversion.
    pub outcome: Outcome,
    /// Which attempt it was, from 1; as many as before where none was made.
    pub attempt: u32,
    /// What the platform said, or why it was not asked; for operators.
    pub answer: String,
    /// How long the platform took; zero where it was not asked.
    pub latency: Duration,
}

/// A conversion is tried again at the latest after this, whatever its platform asks for.
pub const LONGEST_DELAY: Duration = Duration::from_hours(24);

/// What becomes of a conversion after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The platform has it.
    Sent,
    /// It is to be tried again.
    Retry {
        /// When, but not after [`LONGEST_DELAY`] from now.
        due: Timestamp,
    },
    /// It stays as it is until somebody has seen to its integration.
    Paused,
    /// It will never be taken: it is kept as a dead letter.
    Dead,
}

/// A conversion that its platform will never take, or that cannot be read. Nothing of who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The integration's name.
    pub integration: String,
    /// The conversion's id; one that is made up where that cannot be read.
    pub id: String,
    /// Its event type; empty where it cannot be read.
    pub event_type: String,
    /// When it happened, where that can be read.
    pub occurred_at: Option<Timestamp>,
    /// Attempts that were made.
    pub attempts: u32,
    /// Why it is dead.
    pub why: String,
    /// Since when.
    pub at: Timestamp,
}

/// What there is of one integration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The integration's name.
    pub integration: String,
    /// Conversions that wait.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// Since when the oldest one waits, or nearly so.
    pub oldest: Option<Timestamp>,
}
