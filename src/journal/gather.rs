//! Where requests wait for the next group commit: their records lie one behind the other in one buffer, which the
//! writer takes whole.
//!
//! The larger a group, the less of its sync each request pays. So a runtime hands over what it has gathered when it
//! has gone through everything that was ready, not with the first request; and the answers go back to it together, by
//! one task, which wakes it once. With 256 connections on one core that took the CPU of a request from 2.2 to 1.8
//! times that of a server that stores nothing, and its rate from 0.49 to 0.64.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
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
    /// Where it waits, by its place among those of the group; `None` if that is no runtime.
    runtime: Option<usize>,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<(), JournalError>>;

/// What has gathered since the writer came last.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) bytes: Vec<u8>,
    pub(super) waiters: Vec<Waiter>,
    /// Where they wait. Noted once for each of them: to hold a runtime takes an atomic that listener and journal both
    /// change, two of them a request when each held its own.
    pub(super) runtimes: Vec<Handle>,
}

impl Gathered {
    /// The place of the runtime that this is called on.
    fn runtime(&mut self) -> Option<usize> {
        let runtime = Handle::try_current().ok()?;
        let known = self.runtimes.iter().position(|known| known.id() == runtime.id());
        Some(known.unwrap_or_else(|| {
            self.runtimes.push(runtime);
            self.runtimes.len() - 1
        }))
    }
}

#[derive(Default)]
struct State {
    gathered: Gathered,
    /// Runtimes that will hand over what they have gathered at the end of their turn.
    gathering: Vec<Id>,
    /// Something was handed over.
    ready: bool,
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
    /// Nothing was handed over; time has passed, or the backlog has shrunk.
    Idle,
    /// Nothing to write, and nothing will come.
    Closed,
}

/// Requests for which a runtime waits no longer for more. With 256 connections on one core groups up to this took the
/// changes of thread from 0.09 a request to 0.06, and its CPU from 1.73 to 1.67 times that of a server that stores
/// nothing; with twice as many nothing more was gained.
const LARGE_GROUP: usize = 128;

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
        self: &Arc<Self>,
        entry: &Entry,
    ) -> Result<oneshot::Receiver<Result<(), JournalError>>, JournalError> {
        let (answer, heard) = oneshot::channel();
        let mut guard = self.state();
        let state = &mut *guard;
        if state.closed {
            return Err(JournalError::Closed);
        }
        let gathered = &mut state.gathered;
        if gathered.bytes.len() + entry.len() > self.capacity {
            return Err(JournalError::Overloaded);
        }
        gathered.bytes.extend_from_slice(entry.bytes());
        let runtime = gathered.runtime();
        gathered.waiters.push(Waiter {
            end: gathered.bytes.len(),
            rows: entry.rows(),
            received_at: entry.received_at(),
            runtime,
            answer,
        });
        let Some(runtime) = runtime.map(|place| &gathered.runtimes[place]) else {
            self.hand_over(guard);
            return Ok(heard);
        };
        if !state.gathering.contains(&runtime.id()) {
            let runtime = runtime.clone();
            state.gathering.push(runtime.id());
            drop(guard);
            let turn = Turn { gather: Arc::clone(self), runtime: runtime.id() };
            // On a single-threaded runtime it runs after everything that is ready now; on another one sooner.
            runtime.spawn(turn.last());
        }
        Ok(heard)
    }

    fn hand_over(&self, mut state: MutexGuard<'_, State>) {
        state.ready = true;
        drop(state);
        self.wake.notify_one();
    }

    /// Waits for records, at most for `patience`, and swaps them against the empty buffers of `spare`.
    pub(super) fn take(&self, spare: &mut Gathered, patience: Option<Duration>) -> Wake {
        spare.bytes.clear();
        spare.bytes.shrink_to(KEPT_CAPACITY);
        spare.waiters.clear();
        spare.runtimes.clear();
        let mut state = self.state();
        if !state.ready && !state.closed && !state.nudged {
            state = match patience {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    self.wake.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.nudged = false;
        let handed_over = std::mem::take(&mut state.ready) || state.closed;
        if handed_over && !state.gathered.waiters.is_empty() {
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

/// A runtime's turn: until it has gone through what was ready when its first request of this turn came.
struct Turn {
    gather: Arc<Gather>,
    runtime: Id,
}

impl Turn {
    /// Ends when a look at the sockets has brought no further request, or when many have gathered. So a busy
    /// runtime makes larger groups, one with little to do waits for nobody.
    async fn last(self) {
        let mut before = 0;
        loop {
            let gathered = self.gather.state().gathered.waiters.len();
            if gathered <= before || gathered >= LARGE_GROUP {
                return;
            }
            before = gathered;
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Turn {
    /// Also when the runtime ends before its turn does: others may wait with it.
    fn drop(&mut self) {
        let mut state = self.gather.state();
        state.gathering.retain(|runtime| *runtime != self.runtime);
        // Another runtime's turn may have taken what this one gathered with it.
        if !state.gathered.waiters.is_empty() {
            self.gather.hand_over(state);
        }
    }
}

/// Answers some of a group: each of its runtimes by one task, which wakes it once for all that wait there, where a
/// wake-up from another thread is a system call.
pub(super) fn answer(waiters: Vec<Waiter>, runtimes: &[Handle], result: Result<(), JournalError>) {
    let mut by_runtime: Vec<Vec<Answer>> = runtimes.iter().map(|_| Vec::new()).collect();
    let mut nowhere = Vec::new();
    for waiter in waiters {
        let answers = waiter.runtime.map_or(&mut nowhere, |place| &mut by_runtime[place]);
        answers.push(waiter.answer);
    }
    send(nowhere, result);
    for (runtime, answers) in runtimes.iter().zip(by_runtime) {
        if !answers.is_empty() {
            runtime.spawn(async move { send(answers, result) });
        }
    }
}

fn send(answers: Vec<Answer>, result: Result<(), JournalError>) {
    for answer in answers {
        // Whoever has gone away needs no answer.
        let _ = answer.send(result);
    }
}
