//! What takes an integration's conversions from the queue to its platform: one task for each integration.
//!
//! It takes what is due, gathers for up to 90 ms, keeps to the pace, and has several requests under way at once. An
//! event stays in the queue until it is known what has become of it, so that after a crash it is sent again, under the
//! same id. Without a block in `weir.toml` nothing is sent, and what becomes too old is a dead letter all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Integration;
use super::delivery::{Delivery, Doubts, discarded};
use super::enrich::Enricher;
use super::forwarder::Shared;
use super::pace::Pace;
use super::queue::{Arrivals, Key, Outcome, Settled, Waiting};
use super::state::State;
use crate::event::Timestamp;

/// How long events are gathered for a request. With all else an event that comes alone leaves within 100 ms.
const LINGER: Duration = Duration::from_millis(90);

/// Requests under way at once. So many events are held at least, if each goes in a request of its own.
const REQUESTS: usize = 64;

/// The largest requests under way at once: a platform that takes longer over them than so many seconds is told slower
/// than it may be.
const LARGEST_REQUESTS: usize = 4;

/// Bytes of conversions that are held at most, but for one event.
const BYTES_IN_HAND: usize = 16 * 1024 * 1024;

/// How often a dispatcher that has nothing to do, or may do nothing, looks for what has become too old.
const ROUND: Duration = Duration::from_secs(30);

/// How long a dispatcher waits when the queue cannot be read.
const TROUBLE: Duration = Duration::from_secs(5);

/// For longer than this nothing is held: what waits in the queue is looked at again before it is sent.
const LONGEST_HELD: Duration = Duration::from_secs(1);

/// Events of which something is remembered; when there are more, all are forgotten.
const MOST_DOUBTS: usize = 100_000;

/// An integration's events that are on their way.
pub(super) struct Dispatcher {
    shared: Arc<Shared>,
    state: Arc<State>,
    arrivals: Arrivals,
    /// Its block of `weir.toml`; `None` while there is none.
    block: watch::Receiver<Option<Arc<Integration>>>,
    /// Taken from the queue and not yet sent, longest due first.
    pending: Vec<Waiting>,
    /// When the first of them was taken.
    since: Instant,
    /// Everything that is pending or under way, with its size in bytes.
    in_hand: BTreeMap<Key, usize>,
    /// What is remembered of events that are not under way.
    doubts: Doubts,
    under_way: JoinSet<(Vec<Key>, Doubts)>,
}

/// Whether events that come meanwhile end a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    Matter,
    Later,
}

/// What became of taking events from the queue.
#[derive(PartialEq, Eq)]
enum Took {
    /// All there was.
    All,
    /// Some were too old; there may be more.
    Expired,
    /// The queue is in trouble.
    Nothing,
}

impl Dispatcher {
    pub(super) fn new(
        shared: Arc<Shared>,
        state: Arc<State>,
        block: watch::Receiver<Option<Arc<Integration>>>,
    ) -> Self {
        Self {
            arrivals: shared.queue.arrivals(state.name()),
            shared,
            state,
            block,
            pending: Vec::new(),
            since: Instant::now(),
            in_hand: BTreeMap::new(),
            doubts: Doubts::new(),
            under_way: JoinSet::new(),
        }
    }

    /// Sends until nobody can change the block any more; then ends what is under way.
    pub(super) async fn run(mut self) {
        let mut pace: Option<Arc<Pace>> = None;
        loop {
            let integration = self.block.borrow_and_update().clone();
            // A block that was read anew may be what somebody has seen to.
            self.state.resume();
            if let Some(integration) = &integration {
                let (rate, spacing) = (integration.rate(), integration.platform.spacing(integration));
                pace = Some(match pace {
                    Some(pace) if pace.is_of(rate, spacing) => pace,
                    Some(pace) => Arc::new(pace.changed(rate, spacing)),
                    None => Arc::new(Pace::new(rate, spacing, &self.shared.clock)),
                });
            }
            while !self.block.has_changed().unwrap_or(true) {
                match (&integration, &pace) {
                    (Some(integration), Some(pace)) => self.turn(integration, pace).await,
                    _ => self.rest().await,
                }
            }
            self.put_back();
            if self.block.has_changed().is_err() {
                break;
            }
        }
        self.state.resume();
        while self.under_way.join_next().await.is_some() {}
    }

    /// Looks for what has become too old, and waits.
    async fn rest(&mut self) {
        if self.take(None, REQUESTS).await != Took::Expired {
            self.put_back();
            self.wait(Instant::now() + ROUND, News::Later).await;
        }
    }

    /// Sends one request, or waits for the moment at which there may be something to do.
    async fn turn(&mut self, integration: &Arc<Integration>, pace: &Arc<Pace>) {
        let most = (LARGEST_REQUESTS * pace.largest()).max(REQUESTS);
        let bytes: usize = self.in_hand.values().sum();
        let has_room = self.in_hand.len() < most && bytes < BYTES_IN_HAND && self.under_way.len() < REQUESTS;
        if self.pending.len() < pace.largest() && has_room {
            match self.take(Some(integration), most).await {
                Took::All => {}
                Took::Expired => return,
                Took::Nothing => return self.wait(Instant::now() + TROUBLE, News::Later).await,
            }
        }
        if self.state.is_paused() {
            self.put_back();
            return self.wait(Instant::now() + ROUND, News::Later).await;
        }
        if !has_room && self.pending.is_empty() || self.under_way.len() >= REQUESTS {
            return self.wait(Instant::now() + ROUND, News::Later).await;
        }
        if self.pending.is_empty() {
            let due = self.next_due().await;
            return self.wait(due, News::Matter).await;
        }
        let gathered = self.since + LINGER;
        if self.pending.len() < pace.largest() && Instant::now() < gathered {
            return self.wait(gathered, News::Matter).await;
        }
        let mut paced = false;
        let chosen = self.choose(integration, pace.largest());
        let wait = match pace.turn_at_once() {
            Some(_turn) if !needs_page(&self.pending[0], integration) => {
                paced = true;
                pace.take(chosen.len()).err().unwrap_or_default()
            }
            // What is looked up first keeps the pace afterwards, and so does what comes after others that wait to.
            _ => pace.held(),
        };
        if !wait.is_zero() {
            if wait > LONGEST_HELD {
                self.put_back();
            }
            let wait = wait.clamp(Duration::from_millis(1), ROUND);
            return self.wait(Instant::now() + wait, News::Later).await;
        }
        let mut batch = self.draw(&chosen);
        if paced && !self.leave_out_discarded(&mut batch).await {
            return self.wait(Instant::now() + TROUBLE, News::Later).await;
        }
        if batch.is_empty() {
            return;
        }
        let delivery = Delivery {
            shared: Arc::clone(&self.shared),
            state: Arc::clone(&self.state),
            term: self.state.term(),
            integration: Arc::clone(integration),
            pace: Arc::clone(pace),
            doubts: batch.iter().filter_map(|waiting| self.doubts.remove_entry(&waiting.key)).collect(),
        };
        self.under_way.spawn(deliver(delivery, batch, paced));
    }

    /// Leaves what an operator has discarded out of a batch; `false` if the queue does not tell, and nothing is sent.
    async fn leave_out_discarded(&mut self, batch: &mut Vec<Waiting>) -> bool {
        let told = discarded(&self.shared.queue, self.state.name(), batch).await;
        let is_told = told.is_ok();
        let gone = told.unwrap_or_else(|_| batch.drain(..).map(|waiting| waiting.key).collect());
        for key in gone {
            self.in_hand.remove(&key);
            if is_told {
                self.doubts.remove(&key);
            }
        }
        is_told
    }

    /// Takes what is due; what has become too old goes to the dead letters instead.
    async fn take(&mut self, integration: Option<&Integration>, most: usize) -> Took {
        let (queue, name) = (&self.shared.queue, self.state.name());
        let now = self.shared.clock.now();
        let bytes: usize = self.in_hand.values().sum();
        let room = (most.saturating_sub(self.in_hand.len()), BYTES_IN_HAND.saturating_sub(bytes));
        let except: BTreeSet<Key> = self.in_hand.keys().copied().collect();
        let due = match queue.due(name, now, room, &except).await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(integration = name, %error, "cannot read the queue of conversions");
                return Took::Nothing;
            }
        };
        if self.pending.is_empty() {
            self.since = Instant::now();
        }
        let mut expired = Vec::new();
        for waiting in due {
            if let Some(answer) = too_old(&waiting, integration, now, self.shared.expire_after) {
                self.doubts.remove(&waiting.key);
                let (outcome, attempt) = (Outcome::Dead, waiting.attempts);
                expired.push((waiting.key, Settled { outcome, attempt, answer, latency: Duration::ZERO }));
            } else {
                self.in_hand.insert(waiting.key, waiting.bytes);
                self.pending.push(waiting);
            }
        }
        if expired.is_empty() {
            return Took::All;
        }
        let count = expired.len();
        if queue.settle(name, expired).await.is_err() {
            return Took::Nothing;
        }
        self.state.count(Outcome::Dead, count);
        Took::Expired
    }

    /// Which of those that are pending go in the next request, in their order; the first one always does.
    fn choose(&self, integration: &Integration, largest: usize) -> Vec<usize> {
        let allowed =
            |waiting: &Waiting| self.doubts.get(&waiting.key).map_or(largest, |doubt| doubt.largest(largest));
        let Some((first, others)) = self.pending.split_first() else { return Vec::new() };
        let mut chosen = vec![0];
        let mut most = allowed(first);
        let looked_up = needs_page(first, integration);
        for (before, other) in others.iter().enumerate() {
            if chosen.len() >= most {
                break;
            }
            // Nothing waits for a page that it does not need.
            let shares = looked_up == needs_page(other, integration)
                && integration.platform.share_a_request(&first.conversion, &other.conversion);
            if shares && allowed(other) > chosen.len() {
                most = most.min(allowed(other));
                chosen.push(before + 1);
            }
        }
        chosen
    }

    /// Takes these out of what is pending.
    fn draw(&mut self, chosen: &[usize]) -> Vec<Waiting> {
        let end = chosen.last().map_or(0, |last| last + 1);
        let (mut drawn, mut left) =
            (Vec::with_capacity(chosen.len()), Vec::with_capacity(end - chosen.len()));
        for (index, waiting) in self.pending.drain(..end).enumerate() {
            // As many of them stand before this one as have been drawn.
            let is_chosen = chosen[drawn.len()] == index;
            if is_chosen { drawn.push(waiting) } else { left.push(waiting) }
        }
        self.pending.splice(..0, left);
        drawn
    }

    /// Leaves in the queue what was not sent.
    fn put_back(&mut self) {
        for waiting in self.pending.drain(..) {
            self.in_hand.remove(&waiting.key);
        }
    }

    async fn next_due(&self) -> Instant {
        let round = Instant::now() + ROUND;
        let except: BTreeSet<Key> = self.in_hand.keys().copied().collect();
        let Ok(Some(due)) = self.shared.queue.next_due(self.state.name(), &except).await else {
            return round;
        };
        let wait = due.as_millis().saturating_sub(self.shared.clock.now().as_millis());
        round.min(Instant::now() + Duration::from_millis(u64::try_from(wait).unwrap_or(0).max(1)))
    }

    /// Waits for something to happen, or for a moment.
    async fn wait(&mut self, until: Instant, news: News) {
        tokio::select! {
            () = sleep_until(until) => {}
            _ = self.arrivals.next(), if news == News::Matter => {}
            () = self.state.resumed() => {}
            // Seen here, it is still to be acted upon.
            _ = self.block.changed() => self.block.mark_changed(),
            Some(ended) = self.under_way.join_next() => {
                let (keys, doubts) = ended.unwrap_or_default();
                for key in keys {
                    self.in_hand.remove(&key);
                }
                if self.doubts.len() > MOST_DOUBTS {
                    self.doubts.clear();
                }
                self.doubts.extend(doubts);
            }
        }
    }
}

/// Whether a page is looked at before an event is sent.
fn needs_page(waiting: &Waiting, integration: &Integration) -> bool {
    Enricher::needs_page(&waiting.conversion, &integration.enrich)
}

/// Delivers a batch, whatever happens: after a defect of ours its events wait like those that failed.
async fn deliver(delivery: Delivery, batch: Vec<Waiting>, paced: bool) -> (Vec<Key>, Doubts) {
    let keys: Vec<Key> = batch.iter().map(|waiting| waiting.key).collect();
    let attempts: Vec<u32> = batch.iter().map(|waiting| waiting.attempts).collect();
    let (shared, name) = (Arc::clone(&delivery.shared), delivery.integration.name.clone());
    let mut doubts = delivery.doubts.clone();
    if let Ok(doubts) = AssertUnwindSafe(delivery.deliver(batch, paced)).catch_unwind().await {
        return (keys, doubts);
    }
    let due = shared.clock.now().shifted(i64::try_from(ROUND.as_millis()).unwrap_or(i64::MAX));
    let settled = keys.iter().zip(attempts).map(|(key, attempts)| {
        let answer = "a defect of Weir, see its log".to_owned();
        let outcome = Outcome::Retry { due };
        (*key, Settled { outcome, attempt: attempts + 1, answer, latency: Duration::ZERO })
    });
    let _ = shared.queue.settle(&name, settled.collect()).await;
    for key in &keys {
        doubts.entry(*key).or_default().fail();
    }
    (keys, doubts)
}

/// Why an event is not sent any more, if it is too old.
fn too_old(
    waiting: &Waiting,
    integration: Option<&Integration>,
    now: Timestamp,
    expire_after: Duration,
) -> Option<String> {
    let older = |moment: Timestamp, limit: Duration| {
        now.as_millis().saturating_sub(moment.as_millis())
            > i64::try_from(limit.as_millis()).unwrap_or(i64::MAX)
    };
    if older(waiting.since, expire_after) {
        return Some(format!("expired: waited for longer than {}", in_words(expire_after)));
    }
    let platform = integration?.platform;
    let limit = platform.longest_age()?;
    older(waiting.conversion.occurred_at, limit)
        .then(|| format!("expired: {} takes no event older than {}", platform.name(), in_words(limit)))
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds if seconds % 3_600 == 0 => format!("{} hours", seconds / 3_600),
        seconds => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests;
