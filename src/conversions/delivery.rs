//! One request's events, until it is known of each what has become of it for now:
//!
//! ```text
//! taken                      ─► sent
//! later, or no answer        ─► waits: up to 1 s at first, up to 5 minutes in the end, or as long as the platform says
//! bad credentials            ─► waits with everything else until somebody has seen to it
//! never, and it went alone   ─► dead letter
//! never, among others        ─► each half of them by itself
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::forwarder::Shared;
use super::pace::{Failure, Pace};
use super::platform::Verdict;
use super::queue::{Key, Outcome, Queue, QueueError, Settled, Waiting};
use super::sender::Sent;
use super::state::State;
use super::{Conversion, Integration};
use crate::failpoint;

/// When its turn has come, a part of a batch that could be sent only after longer than this waits in the queue instead:
/// meanwhile its events may become too old, or somebody may have changed the integration. For its turn it waits for as
/// long as those before it take.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How long a queue is left alone that could not note what became of events.
const TROUBLE: Duration = Duration::from_secs(5);

/// So often an event may fail among others while the platform takes other requests; then its requests become smaller, so
/// that one which spoils a request with an answer that promises better in a while does not hold up its neighbours.
const PATIENCE: u32 = 3;

/// What a request needs.
pub(super) struct Delivery {
    pub(super) shared: Arc<Shared>,
    pub(super) state: Arc<State>,
    /// Which of the integration's terms it began in.
    pub(super) term: u64,
    pub(super) integration: Arc<Integration>,
    pub(super) pace: Arc<Pace>,
    /// What is remembered of its events.
    pub(super) doubts: Doubts,
}

/// What is remembered of events that are still to be sent and may be what others fail for.
pub(super) type Doubts = BTreeMap<Key, Doubt>;

/// What is remembered of an event from one attempt to the next, so that the search for what spoils requests goes on where
/// it was, whatever other failures come between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Doubt {
    /// How often it has failed in a row while the platform took others.
    failures: u32,
    /// How many it was refused with, itself among them; none if it never was.
    among: usize,
}

impl Doubt {
    /// The largest request that it may be in, of those that the pace allows.
    pub(super) fn largest(&self, allowed: usize) -> usize {
        let halves = self.failures.saturating_sub(PATIENCE).min(31);
        let half = if self.among == 0 { allowed } else { self.among / 2 };
        (allowed >> halves).min(half).max(1)
    }

    /// It has failed while the platform took others.
    pub(super) fn fail(&mut self) {
        self.failures += 1;
    }

    fn refuse(&mut self, among: usize) {
        self.among = among;
    }
}

/// What a verdict means for the part of a batch that was sent.
enum Next {
    /// All of it is settled.
    Done,
    /// It has to be sent in halves.
    Halve,
    /// Nothing more is to be sent now.
    Stop,
}

impl Delivery {
    /// Sends a batch and settles it; gives back what is to be remembered. `paced`: the pace has been kept for it, and
    /// then all of it waited.
    pub(super) async fn deliver(mut self, mut batch: Vec<Waiting>, mut paced: bool) -> Doubts {
        let (enricher, policy) = (&self.shared.enricher, &self.integration.enrich);
        join_all(batch.iter_mut().map(|waiting| enricher.enrich(&mut waiting.conversion, policy))).await;
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            // What is not sent waits in the queue as it did.
            if !std::mem::take(&mut paced) {
                if !self.keep_pace(part.len()).await {
                    break;
                }
                let Ok(discarded) = discarded(&self.shared.queue, &self.integration.name, &mut part).await
                else {
                    break;
                };
                for key in discarded {
                    self.doubts.remove(&key);
                }
                if part.is_empty() {
                    continue;
                }
            }
            match self.send(&part).await {
                Next::Done => {
                    for waiting in &part {
                        self.doubts.remove(&waiting.key);
                    }
                }
                Next::Halve => {
                    let among = part.len();
                    for waiting in &mut part {
                        waiting.attempts += 1;
                        self.doubts.entry(waiting.key).or_default().refuse(among);
                    }
                    let half = part.split_off(among / 2);
                    parts.extend([half, part]);
                }
                Next::Stop => break,
            }
        }
        self.doubts
    }

    /// Waits for the right to send so many events; `false` if they had better wait in the queue.
    async fn keep_pace(&self, events: usize) -> bool {
        // In the order of arrival: small requests do not go on taking what a large one waits for.
        let _turn = self.pace.turn().await;
        loop {
            if self.state.is_paused() || self.state.term() != self.term {
                return false;
            }
            match self.pace.take(events) {
                Ok(()) => return true,
                Err(wait) if wait > LONGEST_WAIT => return false,
                Err(wait) => sleep(wait.max(Duration::from_millis(1))).await,
            }
        }
    }

    async fn send(&mut self, part: &[Waiting]) -> Next {
        let Shared { clock, sender, .. } = &*self.shared;
        let conversions: Vec<&Conversion> = part.iter().map(|waiting| &waiting.conversion).collect();
        let outgoing = self.integration.platform.request(&self.integration, &conversions, clock.now());
        failpoint::reach("conversions_sending");
        let (begun, at) = (Instant::now(), clock.elapsed());
        let Sent { verdict, retry_after } =
            sender.send(&self.integration, outgoing, part.len(), clock.now()).await;
        let latency = begun.elapsed();
        failpoint::reach("platform_answered");
        self.state.answered(latency);
        let failure = |why| Failure { why, asked: retry_after, begun: at };
        match verdict {
            Verdict::Refused(why) if part.len() > 1 => {
                // It answers, which no pause has to wait for.
                self.pace.taken();
                let why = format!("refused among {}: {why}", part.len());
                let due = self.shared.clock.now();
                self.settle(part, latency, |_| (Outcome::Retry { due }, why.clone())).await;
                return Next::Halve;
            }
            Verdict::Each(each) if each.len() != part.len() => {
                let why = format!("answered for {} events of {}", each.len(), part.len());
                return self.later(part, &failure(why), latency).await;
            }
            Verdict::Taken => {
                self.well();
                self.settle(part, latency, |_| (Outcome::Sent, String::new())).await;
            }
            Verdict::Each(each) => {
                self.well();
                let outcome = |index: usize| match &each[index] {
                    Ok(()) => (Outcome::Sent, String::new()),
                    Err(why) => (Outcome::Dead, why.clone()),
                };
                self.settle(part, latency, outcome).await;
            }
            Verdict::Refused(why) => {
                // It is well, but for this one.
                self.well();
                self.settle(part, latency, |_| (Outcome::Dead, why.clone())).await;
            }
            Verdict::Retry(why) | Verdict::Throttled(why) => {
                return self.later(part, &failure(why), latency).await;
            }
            Verdict::Unauthorized(why) | Verdict::Gone(why) => {
                self.state.pause(self.term, &why, self.shared.clock.now());
                self.settle(part, latency, |_| (Outcome::Paused, why.clone())).await;
                return Next::Stop;
            }
        }
        Next::Done
    }

    /// The platform takes events.
    fn well(&self) {
        self.pace.taken();
        self.state.taken();
    }

    async fn later(&mut self, part: &[Waiting], failure: &Failure, latency: Duration) -> Next {
        let takes_others = self.pace.failed(failure);
        // Neither being refused among others nor what was before a new start says how the platform is now.
        let before = self.pace.failures().saturating_sub(1);
        self.state.failed(&failure.why);
        let now = self.shared.clock.now();
        let mut outcomes = Vec::with_capacity(part.len());
        for waiting in part {
            let mut doubt = self.doubts.get(&waiting.key).copied().unwrap_or_default();
            let pause = failure.pause(before.max(doubt.failures));
            let due = now.shifted(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
            outcomes.push(Outcome::Retry { due });
            if takes_others {
                doubt.fail();
            } else {
                doubt.failures = 0;
            }
            if doubt == Doubt::default() {
                self.doubts.remove(&waiting.key);
            } else {
                self.doubts.insert(waiting.key, doubt);
            }
        }
        self.settle(part, latency, |index| (outcomes[index], failure.why.clone())).await;
        Next::Stop
    }

    /// Notes what became of each event, however long that takes: to send them again instead would go on for as long as
    /// the disk is full.
    async fn settle(
        &self,
        part: &[Waiting],
        latency: Duration,
        outcome: impl Fn(usize) -> (Outcome, String),
    ) {
        let mut settled = Vec::with_capacity(part.len());
        for (index, waiting) in part.iter().enumerate() {
            let (outcome, answer) = outcome(index);
            let attempt = waiting.attempts + 1;
            settled.push((waiting.key, Settled { outcome, attempt, answer, latency }));
        }
        while let Err(error) = self.shared.queue.settle(&self.integration.name, settled.clone()).await {
            tracing::error!(integration = self.integration.name, %error, "cannot note what became of conversions");
            if error == QueueError::Closed {
                // They are sent again at the next start, under the same ids.
                return;
            }
            sleep(TROUBLE).await;
        }
        for (_, settled) in &settled {
            self.state.count(settled.outcome, 1);
        }
    }
}

/// Takes out of a batch what does not wait any more, right before it is sent: an operator has discarded it since it was
/// taken from the queue.
pub(super) async fn discarded(
    queue: &Queue,
    integration: &str,
    batch: &mut Vec<Waiting>,
) -> Result<Vec<Key>, QueueError> {
    let keys: Vec<Key> = batch.iter().map(|waiting| waiting.key).collect();
    let waits = queue.waiting(integration, keys.clone()).await?;
    batch.retain(|waiting| waits.contains(&waiting.key));
    Ok(keys.into_iter().filter(|key| !waits.contains(key)).collect())
}
