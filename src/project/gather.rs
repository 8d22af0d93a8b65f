//! The one task that asks the source: it gathers what the caches cannot answer and looks for changes.
//!
//! While a query runs, misses pile up in a bounded channel; when it ends, as many of them as fit make the next
//! one. So a lone miss waits for nothing, and the busier it gets the more keys share a query.
//!
//! Lookups and refreshes take turns, which is what makes them safe: a lookup's answer is in the cache before the
//! fingerprint that would replace it is even asked for.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{self, Duration, Instant, MissedTickBehavior};

use super::cache::Cache;
use super::lookup::{NotFound, Trust, millis};
use super::{KeySource, Keyed, LookupSettings, SourceError, snapshot};
use crate::event::Timestamp;

/// How often the snapshot is written within the time for which known keys are trusted, to have the moment from which
/// that counts. Each refresh would be a sync every few seconds; one that is late only ends that time early.
const SAVES_WITHIN_LIMIT: u32 = 24;

type Answer<T> = Result<Arc<T>, NotFound>;

/// A key that no cache could answer, and who wants to know.
pub(super) struct Miss<T: Keyed> {
    pub(super) key: T::Key,
    pub(super) answer: oneshot::Sender<Answer<T>>,
}

pub(super) struct Gatherer<T: Keyed, S> {
    source: Arc<S>,
    settings: LookupSettings,
    snapshot: PathBuf,
    trust: Trust,
    cache: Arc<Cache<T>>,
    /// The fingerprint of what the known keys were last read from.
    seen: Option<u64>,
    reread_at: Instant,
    /// Lookups before this moment are refused: the last one failed.
    paused_until: Instant,
    /// Whether the source's failing has been logged.
    failing: bool,
    /// Whether known keys are trusted, as far as has been logged.
    trusted: bool,
    /// Whether the snapshot is behind the known keys.
    unsaved: bool,
    /// The moment of the source's last word that the snapshot has.
    saved_confirmed: Timestamp,
}

impl<T: Keyed, S: KeySource<T>> Gatherer<T, S> {
    pub(super) fn new(
        source: S,
        settings: LookupSettings,
        snapshot: PathBuf,
        trust: Trust,
        cache: Arc<Cache<T>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            source: Arc::new(source),
            settings,
            snapshot,
            trust,
            saved_confirmed: cache.confirmed(),
            cache,
            seen: None,
            reread_at: now,
            paused_until: now,
            failing: false,
            trusted: true,
            unsaved: false,
        }
    }

    /// Works until every handle that can send a miss is gone.
    pub(super) async fn run(mut self, mut misses: mpsc::Receiver<Miss<T>>) {
        let mut refresh = time::interval(self.settings.refresh.max(Duration::from_millis(1)));
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let most = self.keys_per_query();
        let mut gathered = Vec::new();
        loop {
            tokio::select! {
                // In this order: no flood of misses may hold up a refresh.
                biased;
                _ = refresh.tick() => {
                    self.refresh().await;
                    self.warn();
                    self.unsaved |= self.is_behind(SAVES_WITHIN_LIMIT);
                    self.save().await;
                }
                count = misses.recv_many(&mut gathered, most) => {
                    if count == 0 {
                        self.unsaved |= self.is_behind(u32::MAX);
                        return self.save().await;
                    }
                    self.answer(gathered.drain(..)).await;
                }
            }
        }
    }

    fn keys_per_query(&self) -> usize {
        self.settings.keys_per_query.max(1)
    }

    /// Answers a group of misses with one query at most.
    async fn answer(&mut self, misses: impl Iterator<Item = Miss<T>>) {
        let mut askers: HashMap<T::Key, Vec<oneshot::Sender<Answer<T>>>> = HashMap::new();
        for Miss { key, answer } in misses {
            if answer.is_closed() {
                continue;
            }
            // The query before this one may have brought it.
            match self.cache.get(&key) {
                Some(known) => tell([answer], &known),
                None => askers.entry(key).or_default().push(answer),
            }
        }
        if askers.is_empty() {
            return;
        }
        let unavailable = Err(NotFound::Unavailable);
        if Instant::now() < self.paused_until {
            return askers.into_values().for_each(|askers| tell(askers, &unavailable));
        }
        let Ok(found) = self.lookup(askers.keys().cloned().collect()).await else {
            self.paused_until = Instant::now() + self.settings.failure_pause;
            return askers.into_values().for_each(|askers| tell(askers, &unavailable));
        };
        for (key, value) in found {
            if let Some(askers) = askers.remove(&key) {
                tell(askers, &Ok(self.learn(&key, value)));
            }
        }
        for (key, askers) in askers {
            self.unsaved |= self.cache.deny(key);
            tell(askers, &Err(NotFound::Unknown));
        }
    }

    /// Takes in what has changed at the source; what was known stays while it cannot say.
    async fn refresh(&mut self) {
        let begun = self.trust.clock.now();
        let source = Arc::clone(&self.source);
        let Ok(fingerprint) = self.ask(async move { source.fingerprint().await }).await else { return };
        let changed = self.seen != Some(fingerprint);
        if changed {
            self.cache.forget_unknown();
        }
        if changed || Instant::now() >= self.reread_at {
            if self.reread().await.is_err() {
                return;
            }
            self.seen = Some(fingerprint);
            self.reread_at = Instant::now() + self.settings.reread;
        }
        self.cache.confirm(begun);
    }

    /// Whether the snapshot has the moment of the source's last word wrong by more than this part of the limit.
    fn is_behind(&self, part: u32) -> bool {
        let behind = |limit: Duration| {
            let allowed = millis(limit / part);
            self.cache.confirmed() > self.saved_confirmed.shifted(allowed) && !self.cache.is_empty()
        };
        self.trust.limit.is_some_and(behind)
    }

    /// Says it once when known keys are no longer trusted.
    fn warn(&mut self) {
        let trusted = self.trust.holds(self.cache.confirmed());
        if self.trusted && !trusted {
            tracing::error!("{} are refused: for too long nothing could confirm them", T::KEYS);
        }
        self.trusted = trusted;
    }

    /// Reads every known key again.
    async fn reread(&mut self) -> Result<(), SourceError> {
        let known = self.cache.known();
        for chunk in known.chunks(self.keys_per_query()) {
            let keys = || chunk.iter().map(|(key, _)| key.clone());
            let mut found: HashMap<_, _> = self.lookup(keys().collect()).await?.into_iter().collect();
            for key in keys() {
                match found.remove(&key) {
                    Some(value) => _ = self.learn(&key, value),
                    None => self.unsaved |= self.cache.deny(key),
                }
            }
        }
        Ok(())
    }

    fn learn(&mut self, key: &T::Key, value: T) -> Arc<T> {
        let (value, news) = self.cache.learn(key, value);
        self.unsaved |= news;
        value
    }

    async fn lookup(&mut self, keys: Vec<T::Key>) -> Result<Vec<(T::Key, T)>, SourceError> {
        let source = Arc::clone(&self.source);
        self.ask(async move { source.lookup(keys).await }).await
    }

    /// Makes one call of the source, in a task of its own: a panic there ends the call, not this task.
    async fn ask<A: Send + 'static>(
        &mut self,
        call: impl Future<Output = Result<A, SourceError>> + Send + 'static,
    ) -> Result<A, SourceError> {
        let patience = self.settings.lookup_timeout;
        T::figures().queries.increment(1);
        let mut call = tokio::spawn(call);
        let outcome = match time::timeout(patience, &mut call).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(SourceError::Panicked),
            Err(_) => {
                call.abort();
                Err(SourceError::TimedOut(patience))
            }
        };
        match &outcome {
            Ok(_) if self.failing => tracing::info!("{} can be looked up again", T::KEYS),
            Err(error) if !self.failing => {
                tracing::warn!(%error, "{} cannot be looked up; known ones keep working", T::KEYS);
            }
            Ok(_) | Err(_) => {}
        }
        self.failing = outcome.is_err();
        if self.failing {
            T::figures().failed.increment(1);
        }
        outcome
    }

    /// Brings the snapshot up to date; a failure is logged, and tried again after the next refresh.
    async fn save(&mut self) {
        if !self.unsaved {
            return;
        }
        let (path, known) = (self.snapshot.clone(), self.cache.known());
        let confirmed = self.cache.confirmed();
        let told = self.trust.limit.map(|_| confirmed);
        let written = tokio::task::spawn_blocking(move || snapshot::write(&path, known, told)).await;
        match written.map_err(std::io::Error::other).flatten() {
            Ok(()) => (self.unsaved, self.saved_confirmed) = (false, confirmed),
            Err(error) => {
                let path = self.snapshot.display();
                tracing::warn!(%path, %error, "the snapshot of {} could not be written", T::KEYS);
            }
        }
    }
}

/// Answers those who still wait.
fn tell<T: Keyed>(askers: impl IntoIterator<Item = oneshot::Sender<Answer<T>>>, answer: &Answer<T>) {
    for asker in askers {
        // An asker that has given up meanwhile wants no answer.
        _ = asker.send(answer.clone());
    }
}
