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
use super::{Project, ProjectError, ProjectSettings, ProjectSource, SourceError, snapshot};
use crate::metrics::figures;

type Answer = Result<Arc<Project>, ProjectError>;

/// A key that no cache could answer, and who wants to know.
pub(super) struct Miss {
    pub(super) key: String,
    pub(super) answer: oneshot::Sender<Answer>,
}

pub(super) struct Gatherer<S> {
    source: Arc<S>,
    settings: ProjectSettings,
    snapshot: PathBuf,
    cache: Arc<Cache>,
    /// The fingerprint of what the known keys were last read from.
    seen: Option<u64>,
    reread_at: Instant,
    /// Lookups before this moment are refused: the last one failed.
    paused_until: Instant,
    /// Whether the source's failing has been logged.
    failing: bool,
    /// Whether the snapshot is behind the known keys.
    unsaved: bool,
}

impl<S: ProjectSource> Gatherer<S> {
    pub(super) fn new(source: S, settings: ProjectSettings, snapshot: PathBuf, cache: Arc<Cache>) -> Self {
        let now = Instant::now();
        Self {
            source: Arc::new(source),
            settings,
            snapshot,
            cache,
            seen: None,
            reread_at: now,
            paused_until: now,
            failing: false,
            unsaved: false,
        }
    }

    /// Works until every handle that can send a miss is gone.
    pub(super) async fn run(mut self, mut misses: mpsc::Receiver<Miss>) {
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
                    self.save().await;
                }
                count = misses.recv_many(&mut gathered, most) => {
                    if count == 0 {
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
    async fn answer(&mut self, misses: impl Iterator<Item = Miss>) {
        let mut askers: HashMap<String, Vec<oneshot::Sender<Answer>>> = HashMap::new();
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
        let unavailable = Err(ProjectError::Unavailable);
        if Instant::now() < self.paused_until {
            return askers.into_values().for_each(|askers| tell(askers, &unavailable));
        }
        let Ok(found) = self.lookup(askers.keys().cloned().collect()).await else {
            self.paused_until = Instant::now() + self.settings.failure_pause;
            return askers.into_values().for_each(|askers| tell(askers, &unavailable));
        };
        for (key, project) in found {
            if let Some(askers) = askers.remove(&key) {
                tell(askers, &Ok(self.learn(&key, project)));
            }
        }
        for (key, askers) in askers {
            self.unsaved |= self.cache.deny(key);
            tell(askers, &Err(ProjectError::Unknown));
        }
    }

    /// Takes in what has changed at the source; what was known stays while it cannot say.
    async fn refresh(&mut self) {
        let source = Arc::clone(&self.source);
        let Ok(fingerprint) = self.ask(async move { source.fingerprint().await }).await else { return };
        let changed = self.seen != Some(fingerprint);
        if changed {
            self.cache.forget_unknown();
        }
        if (changed || Instant::now() >= self.reread_at) && self.reread().await.is_ok() {
            self.seen = Some(fingerprint);
            self.reread_at = Instant::now() + self.settings.reread;
        }
    }

    /// Reads every known key again.
    async fn reread(&mut self) -> Result<(), SourceError> {
        let known = self.cache.known();
        for chunk in known.chunks(self.keys_per_query()) {
            let keys = || chunk.iter().map(|(key, _)| key.clone());
            let mut found: HashMap<_, _> = self.lookup(keys().collect()).await?.into_iter().collect();
            for key in keys() {
                match found.remove(&key) {
                    Some(project) => _ = self.learn(&key, project),
                    None => self.unsaved |= self.cache.deny(key),
                }
            }
        }
        Ok(())
    }

    fn learn(&mut self, key: &str, project: Project) -> Arc<Project> {
        let (project, news) = self.cache.learn(key, project);
        self.unsaved |= news;
        project
    }

    async fn lookup(&mut self, keys: Vec<String>) -> Result<Vec<(String, Project)>, SourceError> {
        let source = Arc::clone(&self.source);
        self.ask(async move { source.lookup(keys).await }).await
    }

    /// Makes one call of the source, in a task of its own: a panic there ends the call, not this task.
    async fn ask<T: Send + 'static>(
        &mut self,
        call: impl Future<Output = Result<T, SourceError>> + Send + 'static,
    ) -> Result<T, SourceError> {
        let patience = self.settings.lookup_timeout;
        figures().project_queries.increment(1);
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
            Ok(_) if self.failing => tracing::info!("project keys can be looked up again"),
            Err(error) if !self.failing => {
                tracing::warn!(%error, "project keys cannot be looked up; known ones keep working");
            }
            Ok(_) | Err(_) => {}
        }
        self.failing = outcome.is_err();
        if self.failing {
            figures().project_lookups_failed.increment(1);
        }
        outcome
    }

    /// Brings the snapshot up to date; a failure is logged, and tried again after the next refresh.
    async fn save(&mut self) {
        if !self.unsaved {
            return;
        }
        let (path, known) = (self.snapshot.clone(), self.cache.known());
        let written = tokio::task::spawn_blocking(move || snapshot::write(&path, known)).await;
        match written.map_err(std::io::Error::other).flatten() {
            Ok(()) => self.unsaved = false,
            Err(error) => {
                let path = self.snapshot.display();
                tracing::warn!(%path, %error, "the snapshot of project keys could not be written");
            }
        }
    }
}

/// Answers those who still wait.
fn tell(askers: impl IntoIterator<Item = oneshot::Sender<Answer>>, answer: &Answer) {
    for asker in askers {
        // An asker that has given up meanwhile wants no answer.
        _ = asker.send(answer.clone());
    }
}
