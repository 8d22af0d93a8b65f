//! Where requests wait for the next group commit: their records lie one behind the other in one buffer, which the
//! writer takes whole.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::JournalError;
use super::record::Entry;
use crate::event::Timestamp;

/// One request's share of the buffer.
pub(super) struct Waiter {
    /// Where its records end.
    pub(super) end: usize,
    pub(super) rows: u32,
    pub(super) received_at: Timestamp,
    pub(super) answer: oneshot::Sender<Result<(), JournalError>>,
}

/// What has gathered since the writer came last.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) bytes: Vec<u8>,
    pub(super) waiters: Vec<Waiter>,
}

#[derive(Default)]
struct State {
    gathered: Gathered,
    closed: bool,
    nudged: bool,
}

pub(super) struct Gather {
    state: Mutex<State>,
    wake: Condvar,
    /// Bytes that may wait at once.
    capacity: usize,
}

/// Why the writer was woken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// There is something to write.
    Work,
    /// Nothing to write; time has passed, or the backlog has shrunk.
    Idle,
    /// Nothing to write, and nothing will come.
    Closed,
}

/// A buffer larger than this is not kept for the next round, in bytes.
const KEPT_CAPACITY: usize = 4 * 1024 * 1024;

impl Gather {
    pub(super) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), capacity }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that wait now.
    pub(super) fn waiting(&self) -> usize {
        self.state().gathered.bytes.len()
    }

    /// Adds a request's records; the receiver hears when they are durable.
    pub(super) fn add(
        &self,
        entry: &Entry,
    ) -> Result<oneshot::Receiver<Result<(), JournalError>>, JournalError> {
        let (answer, heard) = oneshot::channel();
        let mut state = self.state();
        if state.closed {
            return Err(JournalError::Closed);
        }
        let gathered = &mut state.gathered;
        if gathered.bytes.len() + entry.len() > self.capacity {
            return Err(JournalError::Overloaded);
        }
        gathered.bytes.extend_from_slice(entry.bytes());
        gathered.waiters.push(Waiter {
            end: gathered.bytes.len(),
            rows: entry.rows(),
            received_at: entry.received_at(),
            answer,
        });
        let first = gathered.waiters.len() == 1;
        drop(state);
        if first {
            self.wake.notify_one();
        }
        Ok(heard)
    }

    /// Waits for records, at most for `patience`, and swaps them against the empty buffers of `spare`.
    pub(super) fn take(&self, spare: &mut Gathered, patience: Option<Duration>) -> Wake {
        spare.bytes.clear();
        spare.bytes.shrink_to(KEPT_CAPACITY);
        spare.waiters.clear();
        let mut state = self.state();
        if state.gathered.waiters.is_empty() && !state.closed && !state.nudged {
            state = match patience {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    self.wake.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.nudged = false;
        if !state.gathered.waiters.is_empty() {
            std::mem::swap(&mut state.gathered, spare);
            Wake::Work
        } else if state.closed {
            Wake::Closed
        } else {
            Wake::Idle
        }
    }

    /// Wakes the writer although there is nothing to write.
    pub(super) fn nudge(&self) {
        self.state().nudged = true;
        self.wake.notify_one();
    }

    /// Takes no more requests; what has gathered is still written.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_one();
    }

    /// Takes no more requests, and lets go of those that wait: nobody is left to write them.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.closed = true;
        state.gathered = Gathered::default();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }
}
